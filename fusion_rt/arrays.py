"""What an array is against what it should be, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def mismatch(array: Any, dtype: Any, shape: Sequence[int | None]) -> str:
    """ "is ..., expected ..."; empty where `array` has that dtype and shape (None: any extent)."""
    if isinstance(array, np.ndarray) and array.dtype == dtype:
        extents = array.shape
        if extents == shape:  # the usual case: every message is asked
            return ""
        if len(extents) == len(shape) and all(w is None or w == e for w, e in zip(shape, extents)):
            return ""
    got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
    wanted = "(" + ", ".join("N" if s is None else str(s) for s in shape) + ")"
    return f"is {got}, expected {np.dtype(dtype)} {wanted}"
