"""The bus's compiled part: copying.cpp and receiving.cpp say what it does, and why."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_int, c_int64, c_size_t, c_void_p

from fusion_rt.kernels import native

MAX_ARRAYS = 8  # of a message that is received here


class Expected(ctypes.Structure):
    """`struct Expected` of receiving.cpp: the message that is usual now. seq -1: none is.

    lock  a description of the segment without a lock; -1: none"""

    _fields_ = [
        *((name, c_int64) for name in ("lock", "protocol", "instance", "seq", "slots", "slot_bytes")),
        ("generations", c_void_p),
        *((name, c_int64) for name in ("prefix_size", "host_size", "segment_size")),
        ("prefix", ctypes.c_uint8 * 72),
        ("host", ctypes.c_uint8 * 256),
        ("segment", ctypes.c_uint8 * 64),
    ]

    def put(self, name: str, text: bytes) -> None:
        """One of prefix, host, segment."""
        ctypes.memmove(getattr(self, name), text, len(text))
        setattr(self, f"{name}_size", len(text))


Arrived = c_int64 * (6 + 2 * MAX_ARRAYS)
"""`struct Arrived`: usual, published_ns, slot (-1: none), where the header begins, its bytes, number of
arrays, then offset and bytes of each in the slot."""


_FUNCTIONS = {
    "frt_copy": (None, (c_void_p, c_void_p, c_size_t)),
    "frt_receive": (c_int64, (c_int, c_int, c_void_p, c_size_t, c_void_p, c_void_p)),
}


@functools.cache
def library() -> ctypes.CDLL:
    """Raises DeviceError when it was not built."""
    lib = ctypes.CDLL(native.built("fusion_rt.bus._native"))
    native.declare(lib, _FUNCTIONS)
    return lib


def copy(to: int, pieces: Sequence[int]) -> None:
    """To an address, for each piece: where it goes counted from there, where it is, its bytes. Without the
    interpreter's lock."""
    library().frt_copy(to, (c_int64 * len(pieces))(*pieces), len(pieces) // 3)
