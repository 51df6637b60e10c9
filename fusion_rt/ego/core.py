"""The compiled arithmetic of the filter, and what it is given: core.cpp says what each function does."""

from __future__ import annotations

import ctypes
import functools
from ctypes import c_int, c_void_p

from fusion_rt.kernels import native

_FUNCTIONS = {
    "frt_ego_propagate": (None, (c_void_p, c_void_p, c_void_p, c_int, c_void_p, c_void_p)),
    "frt_ego_moved": (None, (c_void_p, c_int, c_void_p, c_void_p)),
    "frt_ego_state": (None, (c_void_p, c_void_p, c_void_p, c_void_p, c_void_p)),
}


@functools.cache
def library() -> ctypes.PyDLL:
    """Raises DeviceError when it was not built."""
    # With the interpreter's lock held: the calls take microseconds, to get it back may take longer.
    lib = ctypes.PyDLL(native.built("fusion_rt.ego._core"))
    native.declare(lib, _FUNCTIONS)
    return lib
