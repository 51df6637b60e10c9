"""Constant turn rate and velocity, for many objects at once: an extended Kalman filter's two steps.

State: x, y (m), yaw (rad), v (m/s, along yaw), w (rad/s). The turn is taken at its middle, which is exact to
the second order in dt: x += v dt cos(yaw + w dt / 2).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_rt.transforms import Array, wrap_angle

X, Y, YAW, SPEED, TURN = range(5)
_I5 = np.eye(5)
_LEFT = np.array([-1.0, 1.0])  # (cos, sin) in reverse times this is a quarter turn further


def advance(states: Array, dt: float) -> Array:
    """The states (n, 5) dt s later, without noise."""
    return _advance(states, dt, _heading(states, dt))


def jacobian(states: Array, dt: float) -> Array:
    """F (n, 5, 5): how `advance` changes with the states."""
    F = np.empty((len(states), 5, 5))
    _jacobian(states, dt, _heading(states, dt), F)
    return F


def predict(
    states: Array, covariances: Array, dt: float, accel: Array, turn_accel: Array
) -> tuple[Array, Array]:
    """states (n, 5), covariances (n, 5, 5) after dt s; accel (n,) m/s^2 and turn_accel (n,) rad/s^2 are what
    an object may do unannounced, one standard deviation."""
    along = _heading(states, dt)
    FG = np.zeros((len(states), 5, 7))  # F P F' + G G' in one product
    F, G = FG[:, :, :5], FG[:, :, 5:]
    _jacobian(states, dt, along, F)
    G[:, :2, 0], G[:, SPEED, 0] = along * (0.5 * dt**2 * accel[:, None]), dt * accel
    G[:, YAW, 1], G[:, TURN, 1] = 0.5 * dt**2 * turn_accel, dt * turn_accel
    FPG = FG.copy()
    np.matmul(F, covariances, out=FPG[:, :, :5])
    P = FPG @ FG.transpose(0, 2, 1)
    # Drift that the model does not know (pedestrians, boxes that settle): a quarter of the acceleration.
    drift = (0.25 * dt * accel) ** 2 * dt + 1e-6
    P[:, X, X] += drift
    P[:, Y, Y] += drift
    P[:, YAW, YAW] += (0.1 * dt) ** 2
    return _advance(states, dt, along), P


def correct(
    states: Array, covariances: Array, measured: Sequence[int], residuals: Array, variances: Array
) -> tuple[Array, Array]:
    """states (n, 5), covariances (n, 5, 5) after measuring the m entries `measured` of each state.

    residuals (n, m): measurement minus state; variances (n, m) of its noise, positive. One number after the
    other, which is the same where their noise is independent, and needs no inverse."""
    moved, P = np.zeros(states.shape), covariances
    for k, row in enumerate(measured):
        column = P[:, row]
        K = column / (column[:, row] + variances[:, k])[:, None]
        moved += K * (residuals[:, k] - moved[:, row])[:, None]
        P = P - K[:, :, None] * column[:, None]
    # Rounding must not make it lopsided.
    return states + moved, 0.5 * (P + P.transpose(0, 2, 1))


def _heading(states: Array, dt: float) -> Array:
    """(n, 2) cos and sin of the yaw in the middle of the step."""
    middle = states[:, YAW] + 0.5 * dt * states[:, TURN]
    along = np.empty((len(states), 2))
    np.cos(middle, out=along[:, 0])
    np.sin(middle, out=along[:, 1])
    return along


def _advance(states: Array, dt: float, along: Array) -> Array:
    out = states.copy()
    out[:, :2] += along * (states[:, SPEED, None] * dt)
    out[:, YAW] = wrap_angle(states[:, YAW] + dt * states[:, TURN])
    return out


def _jacobian(states: Array, dt: float, along: Array, F: Array) -> None:
    """Into F (n, 5, 5)."""
    F[:] = _I5
    F[:, :2, SPEED] = dt * along
    turned = along[:, ::-1] * (_LEFT * states[:, SPEED, None] * dt)
    F[:, :2, YAW], F[:, :2, TURN] = turned, 0.5 * dt * turned
    F[:, YAW, TURN] = dt
