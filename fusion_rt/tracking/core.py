"""The compiled arithmetic of the tracker, and what it is given: core.cpp says what each function does."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from ctypes import c_double, c_int, c_int64, c_void_p
from typing import Any

import numpy as np

from fusion_rt.kernels import native
from fusion_rt.kernels.native import address as address
from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.transforms import Array

_FUNCTIONS = {
    "frt_boxes_finite": (None, (c_void_p, c_int, c_int, c_void_p)),
    "frt_tracks_predict": (c_int, (c_void_p, c_void_p, c_int, c_int64, c_double)),
    "frt_tracks_take": (
        c_int,
        (
            *(c_void_p, c_void_p, c_int, c_void_p, c_int, c_void_p),
            *(c_int64, c_double, c_int64, c_void_p),
        ),
    ),
    "frt_tracks_witness": (None, (c_void_p, c_void_p, c_int, c_void_p, c_void_p, c_int64)),
    "frt_tracks_drop": (c_int, (c_void_p, c_void_p, c_int, c_int64, c_int)),
    "frt_tracks_show": (c_int, (c_void_p, c_void_p, c_int, c_void_p)),
    "frt_assign": (None, (c_void_p, c_void_p, c_void_p, c_int, c_int, c_void_p)),
    "frt_objects": (
        c_int64,
        (c_void_p, c_int, c_int, c_int, ctypes.c_char_p, c_void_p, c_int64, c_void_p, c_int64),
    ),
}

BOX_NUMBERS = 16  # of `struct Box` of tracks.h, before the scores
_CONFIGURED = (
    *("gate", "other_class", "confirm", "drop", "survival_s", "max_coast_s"),
    *("position_std_m", "common_error", "velocity_std"),
)


class Settings(ctypes.Structure):
    """`struct Settings` of tracks.h."""

    _fields_ = [
        *((name, c_int) for name in ("classes", "modalities", "confirm_hits")),
        ("motions", c_void_p),
        *((name, c_double) for name in _CONFIGURED),
    ]


@functools.cache
def library() -> ctypes.PyDLL:
    """Raises DeviceError when it was not built."""
    return load(native.built("fusion_rt.tracking._core"))


def load(path: str) -> ctypes.PyDLL:
    """A build of core.cpp."""
    # With the interpreter's lock held: the calls take microseconds, to get it back may take longer.
    lib = ctypes.PyDLL(path)
    native.declare(lib, _FUNCTIONS)
    return lib


def settings(config: TrackerConfig, motions: Array, modalities: int) -> Settings:
    """motions (classes, 6) float64: `struct Motion` of tracks.h; it must outlive the settings."""
    shared = {name: getattr(config, name) for name in ("confirm_hits", *_CONFIGURED)}
    return Settings(classes=len(motions), modalities=modalities, motions=address(motions), **shared)


def new_rows(n: int, dtype: np.dtype[Any]) -> tuple[Array, int]:
    """(n,) zeros of that dtype and their address, at less cost than to ask numpy for it."""
    memory = bytearray((n + 1) * dtype.itemsize)  # also of nothing there is an address
    return np.frombuffer(memory, dtype, n), ctypes.addressof(ctypes.c_char.from_buffer(memory))


def finite(boxes: Array) -> Array:
    """(n,) bool: of boxes as `Detections.pack` writes them, those of finite numbers and positive sizes."""
    good = np.empty(len(boxes), bool)
    library().frt_boxes_finite(address(boxes), len(boxes), boxes.shape[1] - BOX_NUMBERS, address(good))
    return good


def assign(rows: Sequence[int], columns: Sequence[int], costs: Sequence[float]) -> Array:
    """(rows,) int32: the column of each row, or -1. The pairs come by row, then by column."""
    i, j = np.array(rows, np.int32), np.array(columns, np.int32)
    cost = np.array(costs, np.float64)
    partner = np.empty(rows[-1] + 1, np.int32)
    library().frt_assign(address(i), address(j), address(cost), len(i), len(partner), address(partner))
    return partner
