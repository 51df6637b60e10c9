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


def propagate(C: Array, rows: Array, dt: Array, noise: ImuNoise) -> Array:
    """Covariance (15, 15) at the last of rows (k + 1, 16), given C at the first; dt (k,) s between them."""
    F = _transition(rows, dt)
    Q = _process_noise(float(dt.sum()), noise)
    # Half of the noise before and half after: second order in the length of the run.
    C = F @ (C + Q) @ F.T + Q
    half: Array = 0.5 * (C + C.T)
    return half


def correct(C: Array, residual: Array, H: Array, noise: Array) -> tuple[Array, Array]:
    """Error (15,) and covariance after residual (m,) = H (m, 15) error + noise (m, m). Joseph's form."""
    K = np.linalg.solve(H @ C @ H.T + noise, H @ C).T
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
    x, y, z = v
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _transition(rows: Array, dt: Array) -> Array:
    """F (15, 15) over a run. Per step: theta -= R dt bg; v -= [f dt]x theta + R dt ba; p += v dt."""
    k = len(dt)
    R, f = matrices(rows[:, QUATERNION]).reshape(k + 1, 9), rows[:, FORCE]
    h = dt[:, None]
    A = _accumulated(0.5 * (R[:-1] + R[1:]) * h)  # integral of R
    fdt = 0.5 * (f[:-1] + f[1:]) * h
    S = _accumulated(fdt)  # integral of the force
    X = np.zeros((k, 3, 3))
    X[:, 0, 1], X[:, 0, 2], X[:, 1, 2] = -fdt[:, 2], fdt[:, 1], -fdt[:, 0]
    X[:, 1, 0], X[:, 2, 0], X[:, 2, 1] = fdt[:, 2], -fdt[:, 1], fdt[:, 0]
    A_mid = 0.5 * (A[:-1] + A[1:])
    B = _accumulated((X @ A_mid.reshape(k, 3, 3)).reshape(k, 9))  # integral of [f]x A
    F = np.eye(15)
    F[P, V] = _I3 * dt.sum()
    F[P, THETA] = -skew(dt @ (0.5 * (S[:-1] + S[1:])))
    F[P, BG] = (dt @ (0.5 * (B[:-1] + B[1:]))).reshape(3, 3)
    F[P, BA] = -(dt @ A_mid).reshape(3, 3)
    F[V, THETA] = -skew(S[-1])
    F[V, BG] = B[-1].reshape(3, 3)
    F[V, BA] = F[THETA, BG] = -A[-1].reshape(3, 3)
    return F


def _accumulated(steps: Array) -> Array:
    """(k + 1, n): zero, then the sums of (k, n)."""
    sums = np.zeros((len(steps) + 1, steps.shape[1]))
    np.cumsum(steps, axis=0, out=sums[1:])
    return sums


def _process_noise(t: float, noise: ImuNoise) -> Array:
    """Half of the noise of t seconds, (15, 15) diagonal."""
    half = 0.5 * t
    Q = np.zeros((15, 15))
    for block, density in (
        (V, noise.accel),
        (THETA, noise.gyro),
        (BG, noise.gyro_walk),
        (BA, noise.accel_walk),
    ):
        Q[block, block] = _I3 * (density * density * half)
    return Q
