"""ROS messages as packets, one by one. Each function raises LogError where a message cannot be used."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.messages import GnssFix, Header, ImuSample

# NavSatStatus: -1 no fix, 0 fix, 1 satellite-based, 2 ground-based augmentation (with which RTK is told).
FIX_TYPES = {-1: "none", 0: "3d", 1: "dgps", 2: "rtk_fixed"}
STATUS = {"none": -1, "2d": 0, "3d": 0, "dgps": 1, "rtk_float": 2, "rtk_fixed": 2}
UNKNOWN_VARIANCE_M2 = (25.0, 25.0, 100.0)  # where a receiver gives no covariance: 5 m, in height 10 m


def frame_of(message: Any) -> str:
    """The frame that a message's numbers are in; Foxglove's messages have no header."""
    return str(message.header.frame_id if hasattr(message, "header") else message.frame_id).lstrip("/")


def stamp_of(message: Any, came_ns: int) -> int:
    """The header's stamp; where it was never set, when the message was recorded."""
    stamp = message.header.stamp if hasattr(message, "header") else message.timestamp
    stamp_ns = int(stamp.sec) * 10**9 + int(stamp.nanosec)
    return stamp_ns if stamp_ns > 0 else came_ns


def fix(message: Any, header: Header, where: str, velocity: tuple[Any, float] | None = None) -> GnssFix:
    """velocity: ((east, north, up) m/s, its standard deviation), where another topic gives it."""
    latitude, longitude, altitude = (
        float(v) for v in (message.latitude, message.longitude, message.altitude)
    )
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # also where one is NaN
        raise LogError(
            f"{where}: latitude {latitude:g}, longitude {longitude:g}: no position;"
            " drivers send that while they have no fix"
        )
    covariance = np.array(message.position_covariance, np.float64)
    known = int(message.position_covariance_type) != 0 and np.isfinite(covariance).all() and covariance.any()
    if not known:
        covariance = np.diag(UNKNOWN_VARIANCE_M2).reshape(-1)
    speed, std = velocity or (None, None)
    return GnssFix(
        header=header,
        latitude_deg=latitude,
        longitude_deg=longitude,
        altitude_m=altitude if math.isfinite(altitude) else 0.0,
        position_covariance=tuple(covariance.tolist()),
        fix_type=FIX_TYPES.get(int(message.status.status), "3d"),
        velocity_enu=speed,
        velocity_std=std,
    )


def imu(message: Any, header: Header, where: str) -> ImuSample:
    """REP 145: at rest, level, the acceleration is 0, 0, +9.81, as ours."""
    for name in ("linear_acceleration", "angular_velocity"):
        if getattr(message, f"{name}_covariance")[0] == -1:
            raise LogError(f"{where}: says that it measures no {name} (its covariance begins with -1)")
    a, w = message.linear_acceleration, message.angular_velocity
    return ImuSample(
        header=header,
        specific_force=(float(a.x), float(a.y), float(a.z)),
        angular_rate=(float(w.x), float(w.y), float(w.z)),
    )
