"""Memory that was freed goes back to the system: glibc keeps tens of megabytes of it for later."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> None:
    """Takes a millisecond; nothing where the C library is another one."""
    if sys.platform == "linux" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
