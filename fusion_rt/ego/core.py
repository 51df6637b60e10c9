"""The compiled arithmetic of the filter, and what it is given: core.cpp says what each function does."""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_int, c_void_p

from fusion_rt.kernels import native
from fusion_rt.transforms import Array

_FUNCTIONS = {
    "frt_ego_propagate": (c_void_p, c_void_p, c_void_p, c_int, c_void_p, c_void_p),
    "frt_ego_moved": (c_void_p, c_int, c_void_p, c_void_p),
    "frt_ego_state": (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p),
}


@functools.cache
def library() -> ctypes.PyDLL:
    """Raises DeviceError when it was not built."""
    # With the interpreter's lock held: the calls take microseconds, to get it back may take longer.
    lib = ctypes.PyDLL(native.built("fusion_rt.ego._core"))
    for name, arguments in _FUNCTIONS.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = None, arguments
    return lib


def address(array: Array) -> int:
    """Of the array's data, float64 and contiguous."""
    return array.ctypes.data
