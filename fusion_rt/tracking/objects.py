"""Tracks as messages: in the ego frame, with forecast, time to collision and place on Earth.

C++ (objects.h) computes them and writes them as msgpack, of which msgspec makes all objects in one step:
sixty numbers each, which would take Python itself longer than all else that is done to a track."""

from __future__ import annotations

import ctypes
import functools
import struct
from collections.abc import Sequence

import msgspec

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.messages import EgoState, TrackedObject
from fusion_rt.rig import Vehicle
from fusion_rt.tracking import core
from fusion_rt.tracking.tracks import Tracks, track_dtype
from fusion_rt.transforms import Array

_OBJECT_BYTES = 1500  # of three classes and modalities with short names
_EGO = struct.Struct("25d")  # `struct Ego` of objects.h
_DECODER = msgspec.msgpack.Decoder(tuple[TrackedObject, ...])


def tracked_objects(
    tracks: Tracks,
    *,
    stamp_ns: int,
    T_map_ego: Array,
    ego: EgoState,
    local_map: LocalMap | None,
    vehicle: Vehicle,
    classes: Sequence[str],
    modalities: Sequence[str],
) -> tuple[TrackedObject, ...]:
    """One message an object, in the order given. local_map: None where the place on Earth is unknown.

    Raises ValueError where the tracks are of other numbers of classes or modalities."""
    n = len(tracks)
    if n == 0:
        return ()
    if tracks.dtype != track_dtype(len(classes), len(modalities)):
        raise ValueError(f"tracks are not of {len(classes)} classes and {len(modalities)} modalities")
    rows = tracks.tobytes()  # faster than to ask numpy where they lie
    us = _EGO.pack(
        *T_map_ego.ravel().tolist(),
        *ego.velocity[:2],
        *(vehicle.front_m, vehicle.rear_m, vehicle.width_m),
        *((0.0, 0.0, 0.0, 0.0) if local_map is None else (*local_map.origin, 1.0)),
    )
    names = _names(*classes, *modalities)
    room = n * _OBJECT_BYTES
    while True:
        out = bytearray(room)
        size = core.library().frt_objects(
            *(rows, n, len(classes), len(modalities), names),
            *(us, stamp_ns, ctypes.addressof(ctypes.c_char.from_buffer(out)), room),
        )
        if size <= room:
            objects: tuple[TrackedObject, ...] = _DECODER.decode(memoryview(out)[:size])
            return objects
        room = size


@functools.cache
def _names(*names: str) -> bytes:
    return "".join(f"{name}\0" for name in names).encode()
