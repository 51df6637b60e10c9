"""The covariance of dead reckoning, and what a measurement does to it.

Error state (15): position and velocity (map axes), orientation theta (map axes: R = Exp(theta) R_estimated),
gyroscope and accelerometer bias (ego axes). After Solà, "Quaternion kinematics for the error-state Kalman
filter", 2017, section 7 (globally-defined angular error); a run of samples is propagated at once, with the
integrals that preintegration uses (Forster et al., "On-Manifold Preintegration", 2017).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from fusion_rt.ego.config import ImuNoise
from fusion_rt.ego.core import doubles, library
from fusion_rt.ego.strapdown import Row
from fusion_rt.kernels.native import address
from fusion_rt.transforms import Array

P, V, THETA, BG, BA = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12), slice(12, 15)
_I3 = np.eye(3)
_I15 = np.eye(15)


def propagate(C: Array, rows: Sequence[Row], dt: Sequence[float], noise: ImuNoise) -> Array:
    """Covariance (15, 15) at the last of k + 1 rows, given C at the first; dt (k,) s between them."""
    C, out = np.ascontiguousarray(C), np.empty((15, 15))
    library().frt_ego_propagate(
        address(C), doubles(*rows), doubles(dt), len(dt), _densities(noise), address(out)
    )
    return out


def correct(C: Array, residual: Array, H: Array, noise: Array) -> tuple[Array, Array]:
    """Error (15,) and covariance after residual (m,) = H (m, 15) error + noise (m, m). Joseph's form."""
    HC = H @ C
    K = np.linalg.solve(HC @ H.T + noise, HC).T
    I_KH = _I15 - K @ H
    C = I_KH @ C @ I_KH.T + K @ noise @ K.T
    return K @ residual, 0.5 * (C + C.T)


def distance(C: Array, residual: Array, H: Array, noise: Array) -> float:
    """Squared Mahalanobis distance of a residual: chi-square of m degrees of freedom when all is well."""
    return float(residual @ np.linalg.solve(H @ C @ H.T + noise, residual))


def position_jacobian(arm: Array) -> Array:
    """H (3, 15) of the position of a point at `arm` (map axes) from the IMU."""
    H = np.zeros((3, 15))
    H[:, P] = _I3
    H[:, THETA] = -skew(arm)
    return H


def velocity_jacobian(swing: Array, R: Array, lever: Array) -> Array:
    """H (3, 15) of the velocity of a point at `lever` (ego axes); swing = R (rate x lever)."""
    H = np.zeros((3, 15))
    H[:, V] = _I3
    H[:, THETA] = -skew(swing)
    H[:, BG] = R @ skew(lever)  # rate = measured - bias
    return H


def wheels(R: Array, velocity: Array) -> tuple[Array, Array]:
    """Residual (2,) and H (2, 15) of a car that neither slides sideways nor jumps: ego y and z velocity are
    0."""
    H = np.zeros((2, 15))
    H[:, V] = R.T[1:]
    H[:, THETA] = (R.T @ skew(velocity))[1:]
    return -(R.T @ velocity)[1:], H


def standing(velocity: Array, rate: Array) -> tuple[Array, Array]:
    """Residual (6,) and H (6, 15) of a vehicle at rest: no velocity, no turning; rate without its known
    bias."""
    H = np.zeros((6, 15))
    H[:3, V] = _I3
    H[3:, BG] = _I3
    return np.concatenate([-velocity, rate]), H


def skew(v: Array) -> Array:
    """(3, 3) with skew(v) @ u = v x u."""
    x, y, z = v.tolist()
    return np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))


@functools.cache
def _densities(noise: ImuNoise) -> bytes:
    """(15,) variance a second, as C takes them."""
    densities = (0.0, noise.accel, noise.gyro, noise.gyro_walk, noise.accel_walk)
    return doubles([density * density for density in densities for _ in range(3)])
