"""What is known of the vehicle at one stamp, however it was found, and the message that says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fusion_rt.ego.core import library
from fusion_rt.ego.error_state import BG, THETA, P, V, skew
from fusion_rt.ego.strapdown import POSITION, QUATERNION, RATE, VELOCITY, Row, matrix
from fusion_rt.kernels.native import address
from fusion_rt.messages import EgoState, Vec3
from fusion_rt.transforms import Array

_ACCELERATION_MPS2 = 1.0  # what a vehicle may do while nobody looks, one standard deviation
_TURNING_RADPS = 0.1
_I3 = np.eye(3)


class Estimate(NamedTuple):
    """row: of the IMU, or of the ego frame where there is none. C: covariance (15, 15) of its error state.
    beyond_s: after the newest measurement."""

    row: Row
    C: Array
    beyond_s: float


def coasted(C: Array, dt: float) -> Array:
    """Covariance (15, 15) dt seconds away (before or after) without measurements."""
    F = np.eye(15)
    F[P, V] = _I3 * dt
    C = F @ C @ F.T
    diagonal = np.einsum("ii->i", C)
    diagonal[P] += (0.5 * _ACCELERATION_MPS2 * dt * dt) ** 2
    diagonal[V] += (_ACCELERATION_MPS2 * dt) ** 2
    diagonal[THETA] += (_TURNING_RADPS * dt) ** 2
    return C


def moved(starts: Sequence[Row], end: Row, arm: Array) -> Array:
    """T_ego(end)_ego(start) (n, 4, 4) for each start; arm (3,): the rows' point in the ego frame, m."""
    rows, T = np.array([*starts, end]), np.empty((len(starts), 4, 4))
    arm = np.ascontiguousarray(arm)
    library().frt_ego_moved(address(rows), len(starts), address(arm), address(T))
    return T


def of_ego_frame(known: Estimate, arm: Array) -> Estimate:
    """The same of the ego frame, for an estimate of the point at `arm` (3,) in it, m."""
    here, R = np.array(known.row), matrix(known.row)
    to_origin, swing = -(R @ arm), R @ (skew(arm) @ here[RATE])
    H = np.eye(15)
    H[P, THETA], H[V, THETA], H[V, BG] = -skew(to_origin), -skew(swing), -R @ skew(arm)
    row = (*(here[POSITION] + to_origin).tolist(), *(here[VELOCITY] + swing).tolist(), *known.row[6:])
    return Estimate(row, H @ known.C @ H.T, known.beyond_s)


def ego_state(stamp_ns: int, known: Estimate, arm: Array, *, source: str, origin: Vec3 | None) -> EgoState:
    """The message. arm (3,): the row's point in the ego frame, m; origin: of the map, latitude and longitude
    (deg) and altitude (m), None for a frame that is not on a map."""
    row, C, arm = np.array(known.row), np.ascontiguousarray(known.C), np.ascontiguousarray(arm)
    moving, covariance = np.empty((2, 3)), np.empty((9, 9))
    library().frt_ego_state(address(row), address(C), address(arm), address(moving), address(covariance))
    latitude, longitude, altitude = origin or (None, None, None)
    return EgoState(
        stamp_ns=stamp_ns,
        position=_vec3(moving[0]),
        orientation=known.row[QUATERNION],  # type: ignore[arg-type]
        velocity=_vec3(moving[1]),
        angular_rate=known.row[RATE],  # type: ignore[arg-type]
        covariance=tuple(covariance[:6, :6].ravel().tolist()),
        velocity_covariance=tuple(covariance[6:, 6:].ravel().tolist()),
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
