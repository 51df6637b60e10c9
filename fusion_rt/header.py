"""What every message carries, and how a message's arrays are checked."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import numpy as np
from msgspec import Meta, Struct

from fusion_rt.arrays import mismatch
from fusion_rt.errors import MessageError

Vec2: TypeAlias = tuple[float, float]
Vec3: TypeAlias = tuple[float, float, float]
Vec4: TypeAlias = tuple[float, float, float, float]
Index: TypeAlias = Annotated[int, Meta(ge=0)]
Stamp: TypeAlias = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]  # int64

U1, U2, I2, F4 = (np.dtype(name) for name in ("u1", "<u2", "<i2", "<f4"))


class TracePoint(Struct, frozen=True, array_like=True):
    """A message passed `stage` at `monotonic_ns` (CLOCK_MONOTONIC) on `host`."""

    stage: str
    monotonic_ns: int
    host: str = ""


class Header(Struct, frozen=True, kw_only=True):
    """What every message carries.

    sensor_id  who measured it, the key into the rig
    frame_id   the frame its numbers are in
    seq        counts up by one a message and sensor
    stamp_ns   UNIX epoch ns at which the world was measured, never the time of receipt
    trace      where it has been, oldest first
    """

    sensor_id: str
    frame_id: str
    seq: Index
    stamp_ns: Stamp
    trace: tuple[TracePoint, ...] = ()


def expect(message: Any, field: str, dtype: Any, shape: tuple[int | None, ...]) -> None:
    """Raises MessageError where the field is not an array of that dtype and shape (None: any extent)."""
    if wrong := mismatch(getattr(message, field), dtype, shape):
        raise MessageError(f"{message.header.sensor_id}: {type(message).__name__}.{field} {wrong}")
