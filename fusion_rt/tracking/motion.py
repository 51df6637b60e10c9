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


def advance(states: Array, dt: float) -> Array:
    """The states (n, 5) dt s later, without noise."""
    return _advance(states, dt, *_heading(states, dt))


def jacobian(states: Array, dt: float) -> Array:
    """F (n, 5, 5): how `advance` changes with the states."""
    return _jacobian(states, dt, *_heading(states, dt))


def predict(
    states: Array, covariances: Array, dt: float, accel: Array, turn_accel: Array
) -> tuple[Array, Array]:
    """states (n, 5), covariances (n, 5, 5) after dt s; accel (n,) m/s^2 and turn_accel (n,) rad/s^2 are what
    an object may do unannounced, one standard deviation."""
    cos, sin = _heading(states, dt)
    F = _jacobian(states, dt, cos, sin)
    G = np.zeros((len(states), 5, 2))  # what the two accelerations do in dt
    way = 0.5 * dt**2 * accel
    G[:, X, 0], G[:, Y, 0], G[:, SPEED, 0] = way * cos, way * sin, dt * accel
    G[:, YAW, 1], G[:, TURN, 1] = 0.5 * dt**2 * turn_accel, dt * turn_accel
    P = F @ covariances @ F.transpose(0, 2, 1) + G @ G.transpose(0, 2, 1)
    # Drift that the model does not know (pedestrians, boxes that settle): a quarter of the acceleration.
    drift = (0.25 * accel * dt) ** 2 * dt + 1e-6
    P[:, X, X] += drift
    P[:, Y, Y] += drift
    P[:, YAW, YAW] += (0.1 * dt) ** 2
    return _advance(states, dt, cos, sin), P


def correct(
    states: Array, covariances: Array, measured: Sequence[int], residuals: Array, variances: Array
) -> tuple[Array, Array]:
    """states (n, 5), covariances (n, 5, 5) after measuring the m entries `measured` of each state.

    residuals (n, m): measurement minus state; variances (n, m) of its noise, positive. One number after the
    other, which is the same where their noise is independent, and needs no inverse."""
    moved, P = np.zeros(states.shape), covariances
    for k, row in enumerate(measured):
        column = P[:, :, row]
        S = column[:, row] + variances[:, k]
        K = column / S[:, None]
        moved += K * (residuals[:, k] - moved[:, row])[:, None]
        P = P - K[:, :, None] * column[:, None, :]
    # Rounding must not make it lopsided.
    return states + moved, 0.5 * (P + P.transpose(0, 2, 1))


def _heading(states: Array, dt: float) -> tuple[Array, Array]:
    """cos and sin (n,) of the yaw in the middle of the step."""
    middle = states[:, YAW] + 0.5 * dt * states[:, TURN]
    return np.cos(middle), np.sin(middle)


def _advance(states: Array, dt: float, cos: Array, sin: Array) -> Array:
    out = states.copy()
    way = states[:, SPEED] * dt
    out[:, X] += way * cos
    out[:, Y] += way * sin
    out[:, YAW] = wrap_angle(states[:, YAW] + dt * states[:, TURN])
    return out


def _jacobian(states: Array, dt: float, cos: Array, sin: Array) -> Array:
    F = np.empty((len(states), 5, 5))
    F[:] = _I5
    across, along = -states[:, SPEED] * dt * sin, states[:, SPEED] * dt * cos
    F[:, X, YAW], F[:, Y, YAW] = across, along
    F[:, X, SPEED], F[:, Y, SPEED] = dt * cos, dt * sin
    F[:, X, TURN], F[:, Y, TURN] = 0.5 * dt * across, 0.5 * dt * along
    F[:, YAW, TURN] = dt
    return F
