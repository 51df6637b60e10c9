"""A fix, and what it says against an estimate."""

from __future__ import annotations

from typing import NamedTuple

from fusion_rt.ego.error_state import position_jacobian, skew, velocity_jacobian
from fusion_rt.ego.strapdown import POSITION, RATE, VELOCITY, Row, matrix
from fusion_rt.messages import Vec3
from fusion_rt.transforms import Array


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
