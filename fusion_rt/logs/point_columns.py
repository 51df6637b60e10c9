"""From named columns of numbers, as ROS and PCD files hold them, to a sweep.

x y z                           metres; required
intensity, i, reflectivity      brightness, up to 1, or to 255 or more: see `full_scale`
time, t, timestamp, ...         a point's time: see `point_times`
ring, channel, line             laser number
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.messages import SWEEP_S, Header, PointCloud
from fusion_rt.transforms import Array

INTENSITY = ("intensity", "i", "reflectivity", "reflectance")
TIME = ("time", "t", "timestamp", "time_stamp", "offset_time", "time_offset")
RING = ("ring", "channel", "line", "laser_id")


def full_scale(columns: Mapping[str, Array]) -> float:
    """What stands for an intensity of 1: 1 where none is above it, 255 (an 8-bit sensor's) where some are.

    To be asked of a recording's first sweep alone, so that all its sweeps are scaled alike."""
    name = _first(columns, INTENSITY)
    if name is None:
        return 1.0
    values = columns[name]
    if values.dtype.kind in "ui":
        return 255.0
    finite = values[np.isfinite(values)]
    return 255.0 if finite.size and finite.max() > 1.0 else 1.0


def sweep(columns: Mapping[str, Array], header: Header, *, scale: float, where: str) -> PointCloud:
    """All points, also those that are not finite. columns (N,) each; `scale` from `full_scale`.

    Raises LogError where x, y or z is missing, or the points' times are far from the stamp."""
    missing = [axis for axis in "xyz" if axis not in columns]
    if missing:
        raise LogError(
            f"{where}: the points have no {', '.join(missing)};"
            f" there are: {', '.join(columns) or 'no fields'}"
        )
    n = len(columns["x"])
    xyz = np.empty((n, 3), np.float32)
    for k, axis in enumerate("xyz"):
        xyz[:, k] = columns[axis]
    intensity = np.zeros(n, np.float32)
    if (name := _first(columns, INTENSITY)) is not None:
        intensity[:] = columns[name]
        if scale != 1.0:
            np.clip(intensity / np.float32(scale), 0.0, 1.0, out=intensity)
    ring = np.zeros(n, np.uint16)
    name = _first(columns, RING)
    if name is not None and columns[name].dtype.kind in "ui":
        ring[:] = columns[name].astype(np.uint16)
    return PointCloud(
        header=header,
        xyz=xyz,
        intensity=intensity,
        t=point_times(columns, header.stamp_ns, where),
        ring=ring,
    )


def point_times(columns: Mapping[str, Array], stamp_ns: int, where: str) -> Array:
    """(N,) float32, s after the stamp; zeros where there is no such column.

    Integers are nanoseconds after the stamp (Ouster's `t`), float32 seconds after it (Velodyne's `time`),
    float64 either that or UNIX time in s or ns (Hesai's and RoboSense's `timestamp`). Raises LogError where
    most points would then be more than SWEEP_S from the stamp."""
    name = _first(columns, TIME)
    if name is None:
        return np.zeros(len(columns["x"]), np.float32)
    values = columns[name]
    if values.dtype.kind in "ui":
        if values.dtype.itemsize == 8 and values.size and int(np.median(values)) > 10**17:
            seconds = (values.astype(np.int64) - stamp_ns) * 1e-9
        else:
            seconds = values * 1e-9
    elif values.dtype.itemsize == 8 and values.size and np.nanmedian(np.nan_to_num(values)) > 1e6:
        unit_s = 1e-9 if np.nanmedian(values) > 1e15 else 1.0
        # The whole seconds first: a float64 of today's UNIX ns is 256 ns coarse, the difference need not be.
        whole_s = stamp_ns // 10**9
        seconds = (values - whole_s / unit_s) * unit_s - (stamp_ns - whole_s * 10**9) * 1e-9
    else:
        seconds = values
    t = np.asarray(seconds, np.float32)
    if t.size and np.median(np.abs(np.nan_to_num(t))) > SWEEP_S:
        raise LogError(
            f"{where}: the points' {name} is {float(np.nanmedian(t)):g} s after the stamp for half of them;"
            " is it in another unit, or the clock another? Rename the field to import without times"
        )
    return t


def _first(columns: Mapping[str, Array], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in columns), None)
