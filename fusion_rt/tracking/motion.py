"""Constant turn rate and velocity, for many objects at once: an extended Kalman filter's two steps.

State: x, y (m), yaw (rad), v (m/s, along yaw), w (rad/s). The turn is taken at its middle, which is exact to
the second order in dt: x += v dt cos(yaw + w dt / 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_rt.transforms import Array, wrap_angle

X, Y, YAW, SPEED, TURN = range(5)


def advance(states: Array, dt: float) -> Array:
    """The states (n, 5) dt s later, without noise."""
    out = states.copy()
    middle = states[:, YAW] + 0.5 * dt * states[:, TURN]
    out[:, X] += states[:, SPEED] * dt * np.cos(middle)
    out[:, Y] += states[:, SPEED] * dt * np.sin(middle)
    out[:, YAW] = wrap_angle(states[:, YAW] + dt * states[:, TURN])
    return out


def jacobian(states: Array, dt: float) -> Array:
    """F (n, 5, 5): how `advance` changes with the states."""
    middle = states[:, YAW] + 0.5 * dt * states[:, TURN]
    cos, sin, v = np.cos(middle), np.sin(middle), states[:, SPEED]
    F = np.broadcast_to(np.eye(5), (len(states), 5, 5)).copy()
    F[:, X, YAW], F[:, Y, YAW] = -v * dt * sin, v * dt * cos
    F[:, X, SPEED], F[:, Y, SPEED] = dt * cos, dt * sin
    F[:, X, TURN], F[:, Y, TURN] = -0.5 * v * dt**2 * sin, 0.5 * v * dt**2 * cos
    F[:, YAW, TURN] = dt
    return F


def predict(
    states: Array, covariances: Array, dt: float, accel: Array, turn_accel: Array
) -> tuple[Array, Array]:
    """states (n, 5), covariances (n, 5, 5) after dt s; accel (n,) m/s^2 and turn_accel (n,) rad/s^2 are what
    an object may do unannounced, one standard deviation."""
    F = jacobian(states, dt)
    along, turning = np.zeros((2, len(states), 5))
    along[:, X], along[:, Y], along[:, SPEED] = 0.5 * dt * F[:, X, SPEED], 0.5 * dt * F[:, Y, SPEED], dt
    turning[:, YAW], turning[:, TURN] = 0.5 * dt**2, dt
    Q = _outer(along) * accel[:, None, None] ** 2 + _outer(turning) * turn_accel[:, None, None] ** 2
    # Drift that the model does not know (pedestrians, boxes that settle): a quarter of the acceleration.
    drift = (0.25 * accel * dt) ** 2 * dt + 1e-6
    Q[:, X, X] += drift
    Q[:, Y, Y] += drift
    Q[:, YAW, YAW] += (0.1 * dt) ** 2
    return advance(states, dt), F @ covariances @ F.transpose(0, 2, 1) + Q


def correct(
    states: Array, covariances: Array, measured: Sequence[int], residuals: Array, variances: Array
) -> tuple[Array, Array]:
    """states (n, 5), covariances (n, 5, 5) after measuring the m entries `measured` of each state.

    residuals (n, m): measurement minus state; variances (n, m) of its noise, positive."""
    rows = list(measured)
    P_Ht = covariances[:, :, rows]
    S = P_Ht[:, rows]
    diagonal = np.arange(len(rows))
    S[:, diagonal, diagonal] += variances
    K = P_Ht @ np.linalg.inv(S)
    P = covariances - K @ S @ K.transpose(0, 2, 1)
    # Rounding must not make it lopsided.
    return states + (K @ residuals[:, :, None])[:, :, 0], 0.5 * (P + P.transpose(0, 2, 1))


def _outer(v: Array) -> Array:
    product: Array = v[:, :, None] * v[:, None, :]
    return product
