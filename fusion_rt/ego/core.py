"""The compiled arithmetic of the filter, and what it is given: core.cpp says what each function does."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Iterable, Sequence
from ctypes import c_int, c_int64, c_void_p
from itertools import chain

from fusion_rt.kernels import native

_FUNCTIONS = {
    "frt_ego_propagate": (None, (c_void_p, c_void_p, c_void_p, c_int, c_void_p, c_void_p)),
    "frt_ego_moved": (None, (c_void_p, c_int, c_void_p, c_void_p)),
    "frt_ego_relative": (
        None,
        (
            *(c_void_p, c_void_p, c_int, c_void_p, c_void_p),
            *(c_void_p, c_int, c_int64, c_int64, c_void_p, c_void_p),
        ),
    ),
    "frt_ego_state": (None, (c_void_p, c_void_p, c_void_p, c_void_p)),
}


@functools.cache
def library() -> ctypes.PyDLL:
    """Raises DeviceError when it was not built."""
    # With the interpreter's lock held: the calls take microseconds, to get it back may take longer.
    lib = ctypes.PyDLL(native.built("fusion_rt.ego._core"))
    native.declare(lib, _FUNCTIONS)
    return lib


def doubles(*rows: Iterable[float]) -> bytes:
    """Rows of floats one after the other, for C: in a third of the time that numpy takes for some dozens."""
    numbers = [*chain.from_iterable(rows)]
    return struct.pack(f"{len(numbers)}d", *numbers)


def stamps(stamps_ns: Sequence[int]) -> bytes:
    """As int64."""
    return struct.pack(f"{len(stamps_ns)}q", *stamps_ns)
