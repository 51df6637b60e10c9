"""The covariance of dead reckoning, and what a measurement does to it.

Error state (15): position and velocity (map axes), orientation theta (map axes: R = Exp(theta) R_estimated),
gyroscope and accelerometer bias (ego axes). After Solà, "Quaternion kinematics for the error-state Kalman
filter", 2017, section 7 (globally-defined angular error); a run of samples is propagated at once, with the
integrals that preintegration uses (Forster et al., "On-Manifold Preintegration", 2017).
"""

from __future__ import annotations

import numpy as np

from fusion_rt.ego.config import ImuNoise
from fusion_rt.ego.strapdown import FORCE, QUATERNION, matrices
from fusion_rt.transforms import Array

P, V, THETA, BG, BA = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12), slice(12, 15)
_I3 = np.eye(3)
_I15 = np.eye(15)
_SKEW = np.zeros((3, 9))  # v @ _SKEW is skew(v), row by row
_SKEW[0, [5, 7]], _SKEW[1, [2, 6]], _SKEW[2, [1, 3]] = (-1, 1), (1, -1), (-1, 1)


def propagate(C: Array, rows: Array, dt: Array, noise: ImuNoise) -> Array:
    """Covariance (15, 15) at the last of rows (k + 1, 16), given C at the first; dt (k,) s between them."""
    F = _transition(rows, dt)
    half_noise = _densities(noise) * (0.5 * float(dt.sum()))
    # Half of the noise before and half after: second order in the length of the run.
    C = C.copy()
    C.ravel()[::16] += half_noise  # the diagonal
    C = F @ C @ F.T
    C.ravel()[::16] += half_noise
    half: Array = 0.5 * (C + C.T)
    return half


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


def _transition(rows: Array, dt: Array) -> Array:
    """F (15, 15) over a run. Per step: theta -= R dt bg; v -= [f dt]x theta + R dt ba; p += v dt."""
    k = len(dt)
    felt = np.empty((k + 1, 12))  # rotation R and force f
    felt[:, :9], felt[:, 9:] = matrices(rows[:, QUATERNION]).reshape(k + 1, 9), rows[:, FORCE]
    steps = np.empty((k, 21))  # of the integrals A of R, S of f, and B of [f]x A
    steps[:, :12] = (felt[:-1] + felt[1:]) * (0.5 * dt)[:, None]
    A_mid = (steps[:, :9].cumsum(axis=0) - 0.5 * steps[:, :9]).reshape(k, 3, 3)
    fx = (steps[:, 9:12] @ _SKEW).reshape(k, 3, 3)
    steps[:, 12:] = (fx @ A_mid).reshape(k, 9)
    # The integrals at the end, and their integrals: what a step adds lasts from its middle on.
    passed = dt.cumsum()
    total = passed[-1]
    lasts = np.ones((2, k))
    lasts[1] = total - passed + 0.5 * dt
    once, twice = lasts @ steps
    A, A2 = once[:9].reshape(3, 3), twice[:9].reshape(3, 3)
    F = _I15.copy()
    F[P, V] = _I3 * total
    F[P, THETA], F[P, BG], F[P, BA] = -skew(twice[9:12]), twice[12:].reshape(3, 3), -A2
    F[V, THETA], F[V, BG], F[V, BA] = -skew(once[9:12]), once[12:].reshape(3, 3), -A
    F[THETA, BG] = -A
    return F


def _densities(noise: ImuNoise) -> Array:
    """(15,) variance a second."""
    blocks = np.array((0.0, noise.accel, noise.gyro, noise.gyro_walk, noise.accel_walk))
    return (blocks * blocks).repeat(3)
