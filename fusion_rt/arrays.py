"""What an array is against what it should be, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def mismatch(array: Any, dtype: Any, shape: Sequence[int | None]) -> str:
    """ "is ..., expected ..."; empty where `array` has that dtype and shape (None: any extent)."""
    fits = (
        isinstance(array, np.ndarray)
        and array.dtype == dtype
        and array.ndim == len(shape)
        and all(want is None or want == got for want, got in zip(shape, array.shape))
    )
    if fits:
        return ""
    got = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
    wanted = "(" + ", ".join("N" if s is None else str(s) for s in shape) + ")"
    return f"is {got}, expected {np.dtype(dtype)} {wanted}"
