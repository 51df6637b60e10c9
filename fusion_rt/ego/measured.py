"""A fix, or a motion between two sweeps, and what it says against an estimate."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fusion_rt.ego.error_state import BG, THETA, V, position_jacobian, skew, velocity_jacobian
from fusion_rt.ego.strapdown import POSITION, RATE, VELOCITY, Row, matrix
from fusion_rt.messages import Vec3
from fusion_rt.transforms import Array, from_rotation_vector, rotation_vector


class Measured(NamedTuple):
    """A fix in map axes. position, velocity (3,) of the antenna; noise (3, 3); lever (3,) in ego axes from
    the IMU; gravity: the vector there, m/s^2."""

    stamp_ns: int
    position: Array
    position_noise: Array
    velocity: Array | None
    velocity_noise: Array
    lever: Array
    gravity: Vec3


def position_residual(here: Row, fix: Measured) -> tuple[Array, Array]:
    """Residual (3,) and H (3, 15) of the antenna's position."""
    arm = matrix(here) @ fix.lever
    return fix.position - here[POSITION] - arm, position_jacobian(arm)


def velocity_residual(here: Row, fix: Measured) -> tuple[Array, Array]:
    """Residual (3,) and H (3, 15) of the antenna's velocity."""
    assert fix.velocity is not None
    R = matrix(here)
    swing = -R @ (skew(fix.lever) @ here[RATE])  # R (rate x lever)
    return fix.velocity - here[VELOCITY] - swing, velocity_jacobian(swing, R, fix.lever)


class Travel(NamedTuple):
    """How the ego frame moved between two sweeps: T_from_to (4, 4) = T_ego(from)_ego(to). The standard
    deviations are of one sweep's place: m, rad.

    It measures the mean velocity and turn rate between them, as if at the middle: no pose of the past enters.
    Errors of neighbours cancel, since a sweep is registered against a map and not against the one before; to
    take them for independent is to believe a little too little."""

    from_ns: int
    to_ns: int
    T_from_to: Array
    position_std: float
    rotation_std: float

    @property
    def stamp_ns(self) -> int:
        """The middle."""
        return (self.from_ns + self.to_ns) // 2

    @property
    def seconds(self) -> float:
        return (self.to_ns - self.from_ns) / 1e9

    @property
    def velocity(self) -> Array:
        """(3,) m/s in the ego axes of the middle."""
        half = from_rotation_vector(0.5 * rotation_vector(self.T_from_to[:3, :3]))
        velocity: Array = half.T @ self.T_from_to[:3, 3] / self.seconds
        return velocity

    @property
    def rate(self) -> Array:
        """(3,) rad/s, ego axes."""
        return rotation_vector(self.T_from_to[:3, :3]) / self.seconds

    @property
    def velocity_variance(self) -> float:
        """(m/s)^2 of each component: two sweeps err."""
        return 2.0 * (self.position_std / self.seconds) ** 2

    @property
    def rate_variance(self) -> float:
        """(rad/s)^2 likewise."""
        return 2.0 * (self.rotation_std / self.seconds) ** 2


class Travelled(NamedTuple):
    """A travel, and the gyroscope's mean over it: (3,) rad/s, with its bias."""

    travel: Travel
    gyro: Array

    @property
    def stamp_ns(self) -> int:
        return self.travel.stamp_ns


def travel_residuals(
    here: Row, travel: Travel, rate: Array, arm: Array
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """Residual (3,) and H (3, 15) of the ego frame's velocity in its own axes, and of the turn rate.

    here: of the IMU, at `arm` (ego axes), in the middle of the travel. rate (3,): of the gyroscope, mean over
    the travel, without its known bias."""
    R = matrix(here)
    mean = np.array(here[VELOCITY])
    H_velocity, H_rate = np.zeros((3, 15)), np.zeros((3, 15))
    H_velocity[:, V], H_velocity[:, THETA] = R.T, R.T @ skew(mean)
    H_velocity[:, BG] = -skew(arm)  # rate = measured - bias
    H_rate[:, BG] = -np.eye(3)
    velocity = R.T @ mean - np.cross(rate, arm)
    return (travel.velocity - velocity, H_velocity), (travel.rate - rate, H_rate)
