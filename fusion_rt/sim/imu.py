"""An inertial measurement unit on a known path: what it would feel, plus the errors of a MEMS part.

The Earth's rotation (7e-5 rad/s) is left out: it lies far below a MEMS gyro's bias.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from msgspec import Struct

from fusion_rt.transforms import Array, rotation_vector

GRAVITY_MPS2 = 9.81
_STEP_S = 2e-3


class ImuModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Errors of an inertial unit: `imus.<sensor_id>` of a simulated drive.

    Defaults are those of an automotive MEMS unit: white noise by its density, a bias drawn at start that
    then walks.
    """

    rate_hz: float = 100.0
    latency_s: float = 0.0
    accel_noise: float = 1.5e-3  # m/s^2 / sqrt(Hz)
    gyro_noise: float = 1.2e-4  # rad/s / sqrt(Hz)
    accel_bias: float = 0.04  # m/s^2, one standard deviation at start
    gyro_bias: float = 1.5e-3  # rad/s
    accel_bias_walk: float = 3e-4  # m/s^2 / sqrt(s)
    gyro_bias_walk: float = 1e-5  # rad/s / sqrt(s)


def feel(pose_at: Callable[[float], Array], t_s: float) -> tuple[Array, Array]:
    """Specific force (3,) m/s^2 and angular rate (3,) rad/s in the unit's axes, free of errors.

    pose_at: T_map_imu (4, 4) at a time, map z up, twice differentiable; central differences of 2 ms.
    """
    before, now, after = pose_at(t_s - _STEP_S), pose_at(t_s), pose_at(t_s + _STEP_S)
    acceleration = (before[:3, 3] - 2.0 * now[:3, 3] + after[:3, 3]) / _STEP_S**2
    force: Array = now[:3, :3].T @ (acceleration + np.array([0.0, 0.0, GRAVITY_MPS2]))
    rate: Array = rotation_vector(before[:3, :3].T @ after[:3, :3]) / (2.0 * _STEP_S)
    return force, rate


def measure(
    pose_at: Callable[[float], Array], times_s: Array, model: ImuModel, rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """What the unit reports at each of times_s (increasing): specific force and angular rate, (3,) each."""
    accel_bias, gyro_bias = rng.normal(0, model.accel_bias, 3), rng.normal(0, model.gyro_bias, 3)
    # White noise of a density, averaged over one sample.
    band = math.sqrt(model.rate_hz)
    last = None
    for t in times_s:
        if last is not None:
            root = math.sqrt(float(t) - last)
            accel_bias = accel_bias + rng.normal(0, model.accel_bias_walk * root, 3)
            gyro_bias = gyro_bias + rng.normal(0, model.gyro_bias_walk * root, 3)
        last = float(t)
        force, rate = feel(pose_at, last)
        yield (
            force + accel_bias + rng.normal(0, model.accel_noise * band, 3),
            rate + gyro_bias + rng.normal(0, model.gyro_noise * band, 3),
        )
