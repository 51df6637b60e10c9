"""What is known of the vehicle at one stamp, however it was found, and the message that says so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fusion_rt.ego.error_state import THETA, P, V, position_jacobian, velocity_jacobian
from fusion_rt.ego.strapdown import POSITION, QUATERNION, RATE, VELOCITY, Row, matrices
from fusion_rt.messages import EgoState, Vec3
from fusion_rt.transforms import Array, from_rotation_translation

_ACCELERATION_MPS2 = 1.0  # what a vehicle may do while nobody looks, one standard deviation
_TURNING_RADPS = 0.1


class Estimate(NamedTuple):
    """row: of the IMU, or of the ego frame where there is none. C: covariance (15, 15) of its error state.
    beyond_s: after the newest measurement."""

    row: Row
    C: Array
    beyond_s: float


def coasted(C: Array, dt: float) -> Array:
    """Covariance (15, 15) dt seconds away (before or after) without measurements."""
    F = np.eye(15)
    F[P, V] = np.eye(3) * dt
    C = F @ C @ F.T
    diagonal = np.einsum("ii->i", C)
    diagonal[P] += (0.5 * _ACCELERATION_MPS2 * dt * dt) ** 2
    diagonal[V] += (_ACCELERATION_MPS2 * dt) ** 2
    diagonal[THETA] += (_TURNING_RADPS * dt) ** 2
    return C


def pose(row: Row, arm: Array) -> Array:
    """T_map_ego (4, 4); arm (3,): the row's point in the ego frame, m."""
    here = np.array(row)
    R = matrices(here[None, QUATERNION])[0]
    return from_rotation_translation(R, here[POSITION] - R @ arm)


def ego_state(stamp_ns: int, known: Estimate, arm: Array, *, source: str, origin: Vec3) -> EgoState:
    """The message. arm as for `pose`; origin: of the map, latitude and longitude (deg) and altitude (m)."""
    here = np.array(known.row)
    R = matrices(here[None, QUATERNION])[0]
    to_origin = -(R @ arm)
    swing = R @ np.cross(here[RATE], -arm)
    H = np.zeros((9, 15))
    H[:3], H[3:6, THETA], H[6:] = position_jacobian(to_origin), np.eye(3), velocity_jacobian(swing, R, -arm)
    covariance = H @ known.C @ H.T
    latitude, longitude, altitude = origin
    return EgoState(
        stamp_ns=stamp_ns,
        position=_vec3(here[POSITION] + to_origin),
        orientation=known.row[QUATERNION],  # type: ignore[arg-type]
        velocity=_vec3(here[VELOCITY] + swing),
        angular_rate=_vec3(here[RATE]),
        covariance=tuple(covariance[:6, :6].reshape(-1).tolist()),
        velocity_covariance=tuple(covariance[6:, 6:].reshape(-1).tolist()),
        extrapolated_s=known.beyond_s,
        source=source,
        origin_latitude_deg=latitude,
        origin_longitude_deg=longitude,
        origin_altitude_m=altitude,
    )


def unknown(stamp_ns: int) -> EgoState:
    """No pose: the identity, and `source` says so."""
    return EgoState(
        stamp_ns=stamp_ns,
        position=(0.0, 0.0, 0.0),
        orientation=(0.0, 0.0, 0.0, 1.0),
        velocity=(0.0, 0.0, 0.0),
        angular_rate=(0.0, 0.0, 0.0),
        covariance=(0.0,) * 36,
        velocity_covariance=(0.0,) * 9,
        extrapolated_s=0.0,
        source="none",
    )


def _vec3(v: Array) -> Vec3:
    x, y, z = v.tolist()
    return x, y, z
