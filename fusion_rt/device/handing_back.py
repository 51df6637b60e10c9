"""What is to be given back to a driver, whichever thread lets go of it last."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable


class HandingBack:
    """`free`, in threads that have the card's context: the one that this is made in, and whoever calls
    `settle`.

    Python's collector runs in any thread, and frees there what lay in a circle; a driver refuses that where
    there is no context, and the memory would be gone for good. So it waits for the next `settle`."""

    def __init__(self, free: Callable[[int], object]) -> None:
        self._free, self._thread = free, threading.get_ident()
        self._waiting: deque[int] = deque()

    def __call__(self, pointer: int) -> None:
        if threading.get_ident() == self._thread:
            self._free(pointer)
        else:
            self._waiting.append(pointer)

    def settle(self) -> None:
        """Give back what has waited. To be called before more is asked for."""
        while self._waiting:
            self._free(self._waiting.popleft())
