"""How dead reckoning begins: level by gravity, heading by the course over ground; or where the lidar's
odometry has carried the pose."""

from __future__ import annotations

import bisect
from collections import Counter

import numpy as np

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.course import Motion
from fusion_rt.ego.error_state import BA, BG, THETA, P, V, skew
from fusion_rt.ego.estimate import Estimate
from fusion_rt.ego.measured import Measured
from fusion_rt.ego.navigation import Navigation
from fusion_rt.ego.strapdown import POSITION, QUATERNION, RATE, VELOCITY, Sample, between, matrix, row
from fusion_rt.messages import Vec3
from fusion_rt.transforms import Array, from_translation_rpy, quaternion_from_matrix

_COURSE_STD_RAD = 0.03  # the nose does not point quite along the motion
_LEVEL_STD_RAD = 0.03
_MAX_COURSE_STD_RAD = 0.35  # a worse heading is beyond what a linear filter mends
_ZERO = (0.0, 0.0, 0.0)


def begin(
    fix: Measured,
    motion: Motion,
    recent: list[tuple[int, Sample]],
    config: EgoConfig,
    counters: Counter[str],
    arm: Array,
) -> Navigation | None:
    """Navigation from a fix on, through the samples after it; None while the heading cannot be told.

    motion: at the fix. recent: stamps and samples (ego axes), around the fix and window_s before it.
    arm (3,): the IMU in the ego frame."""
    speed = float(np.hypot(*motion.velocity[:2]))
    stamps, samples = [stamp for stamp, _ in recent], [sample for _, sample in recent]
    last = bisect.bisect_right(stamps, fix.stamp_ns) - 1
    first = bisect.bisect_left(stamps, fix.stamp_ns - int(motion.window_s * 1e9))
    vague = motion.velocity_std > _MAX_COURSE_STD_RAD * speed
    if speed < config.align_speed_mps or vague or last - first < 2:
        return None
    mean = np.mean(samples[first : last + 1], axis=0)
    rate = mean[3:]
    # What the accelerometer feels beside gravity: braking, and the curve.
    x, y, z = mean[:3] - [motion.acceleration, 0.0, 0.0] - np.cross(rate, [speed, 0.0, 0.0])
    swing = np.cross(rate, fix.lever)
    yaw = np.arctan2(motion.velocity[1], motion.velocity[0]) - np.arctan2(swing[1], speed)
    R = from_translation_rpy(_ZERO, (np.arctan2(y, z), np.arctan2(-x, np.hypot(y, z)), yaw))[:3, :3]
    sample = _sample(recent, fix.stamp_ns)
    qx, qy, qz, qw = quaternion_from_matrix(R).tolist()
    position, velocity = _vec3(fix.position - R @ fix.lever), _vec3(motion.velocity - R @ swing)
    navigation = Navigation(
        config,
        counters,
        start=(fix.stamp_ns, row(position, velocity, (qx, qy, qz, qw), sample, _ZERO, _ZERO), sample),
        C=_covariance(fix, motion, speed, config),
        gravity=fix.gravity,
        arm=arm,
    )
    for stamp, later in recent[last + 1 :]:
        navigation.add(stamp, later)
    return navigation


def resume(
    fix: Measured,
    known: Estimate,
    recent: list[tuple[int, Sample]],
    config: EgoConfig,
    counters: Counter[str],
    arm: Array,
) -> Navigation | None:
    """Navigation from where the odometry has carried the ego frame at a fix's stamp, which knows of the fix
    already; None without samples around it. As in `begin`."""
    stamps = [stamp for stamp, _ in recent]
    last = bisect.bisect_right(stamps, fix.stamp_ns) - 1
    if last < 0:
        return None
    here, R, sample = np.array(known.row), matrix(known.row), _sample(recent, fix.stamp_ns)
    rate = here[RATE]
    qx, qy, qz, qw = known.row[QUATERNION]
    at, swing = R @ arm, R @ np.cross(rate, arm)
    moved = np.eye(15)  # the IMU's error from the ego frame's
    moved[P, THETA], moved[V, THETA] = -skew(at), -skew(swing)
    C = moved @ known.C @ moved.T
    C[BG, BG], C[BA, BA] = np.eye(3) * config.imu.gyro_bias**2, np.eye(3) * config.imu.accel_bias**2
    position, velocity = _vec3(here[POSITION] + at), _vec3(here[VELOCITY] + swing)
    navigation = Navigation(
        config,
        counters,
        start=(fix.stamp_ns, row(position, velocity, (qx, qy, qz, qw), sample, _ZERO, _ZERO), sample),
        C=C,
        gravity=fix.gravity,
        arm=arm,
    )
    for stamp, later in recent[last + 1 :]:
        navigation.add(stamp, later)
    return navigation


def _sample(recent: list[tuple[int, Sample]], stamp_ns: int) -> Sample:
    """The sample at a stamp that is not before the first nor, without being it, after the last."""
    i = bisect.bisect_right(recent, stamp_ns, key=lambda timed: timed[0]) - 1
    (before_ns, before) = recent[i]
    if before_ns == stamp_ns:
        return before
    after_ns, after = recent[i + 1]
    return between(before, after, (stamp_ns - before_ns) / (after_ns - before_ns))


def _covariance(fix: Measured, motion: Motion, speed: float, config: EgoConfig) -> Array:
    """(15, 15) of the error state."""
    tilt = np.hypot(_LEVEL_STD_RAD, motion.acceleration_std / 9.81)
    yaw = np.hypot(_COURSE_STD_RAD, motion.velocity_std / speed)
    C = np.zeros((15, 15))
    C[P, P], C[V, V] = fix.position_noise, np.eye(3) * motion.velocity_std**2
    C[THETA, THETA] = np.diag([tilt**2, tilt**2, yaw**2])
    C[BG, BG], C[BA, BA] = np.eye(3) * config.imu.gyro_bias**2, np.eye(3) * config.imu.accel_bias**2
    return C


def _vec3(v: Array) -> Vec3:
    x, y, z = v.tolist()
    return x, y, z
