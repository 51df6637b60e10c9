"""What is known of the vehicle at one stamp, however it was found, and the message that says so."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fusion_rt.ego.core import doubles, library, stamps
from fusion_rt.ego.error_state import BG, THETA, P, V, skew
from fusion_rt.ego.strapdown import POSITION, QUATERNION, RATE, VELOCITY, Row, Sample, matrix
from fusion_rt.kernels.native import address
from fusion_rt.messages import EgoState, Vec3
from fusion_rt.transforms import Array

_ACCELERATION_MPS2 = 1.0  # what a vehicle may do while nobody looks, one standard deviation
_TURNING_RADPS = 0.1
_I3 = np.eye(3)
_State = ctypes.c_double * 51  # what frt_ego_state tells


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
    T = np.empty((len(starts), 4, 4))
    library().frt_ego_moved(doubles(*starts, end), len(starts), doubles(arm.tolist()), address(T))
    return T


def reckoned(
    stamps_ns: Sequence[int],
    samples: Sequence[Sample],
    row: Row,
    biases: Sequence[Vec3],
    *,
    wanted: Sequence[int],
    within: tuple[int, int],
    arm: Array,
) -> Array:
    """T_ego(end)_ego(start) (n, 4, 4) for n + 1 stamps `wanted`, of which the last is the end, by the samples
    alone.

    stamps_ns, samples: of the history from the last one not after within[0] to the first not before
    within[1]; row: at the first of them. biases of the gyroscope, of the accelerometer, and gravity: for the
    way to within[0], and again for all that follows. Outside of `within` the motion goes on as it was. arm as
    above."""
    T = np.empty((len(wanted) - 1, 4, 4))
    library().frt_ego_relative(
        *(stamps(stamps_ns), doubles(*samples), len(stamps_ns), doubles(row), doubles(*biases)),
        *(stamps(wanted), len(wanted) - 1, *within, doubles(arm.tolist()), address(T)),
    )
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
    C, out = np.ascontiguousarray(known.C), _State()
    library().frt_ego_state(doubles(known.row), address(C), doubles(arm.tolist()), ctypes.addressof(out))
    told = tuple(out)
    latitude, longitude, altitude = origin or (None, None, None)
    return EgoState(
        stamp_ns=stamp_ns,
        position=told[:3],
        orientation=known.row[QUATERNION],  # type: ignore[arg-type]
        velocity=told[3:6],
        angular_rate=known.row[RATE],  # type: ignore[arg-type]
        covariance=told[6:42],
        velocity_covariance=told[42:],
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
