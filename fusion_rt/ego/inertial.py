"""Strapdown navigation with an error-state Kalman filter.

Nominal state: position p and velocity v of the IMU in the map (m, m/s), rotation R map <- ego, gyroscope bias
bg (rad/s) and accelerometer bias ba (m/s^2) in ego axes. Error state: dp, dv, theta (map axes, R = Exp(theta) R),
dbg, dba. After Solà, "Quaternion kinematics for the error-state Kalman filter", 2017, with the global angular
error. The Earth's rotation (7e-5 rad/s) is left to the gyroscope bias.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from fusion_rt.transforms import Array, from_rotation_vector

Positive = Annotated[float, Meta(gt=0)]
P, V, THETA, BG, BA = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12), slice(12, 15)


class ImuNoise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Densities of a consumer MEMS unit in a vibrating car.

    gyro          rad/s/sqrt(Hz)
    accel         m/s^2/sqrt(Hz)
    gyro_walk     rad/s^2/sqrt(Hz): how the bias wanders
    accel_walk    m/s^3/sqrt(Hz)
    """

    gyro: Positive = 2e-3
    accel: Positive = 5e-2
    gyro_walk: Positive = 2e-5
    accel_walk: Positive = 5e-4


class Navigation:
    """The filter at one time. `copy` makes the snapshots that late fixes return to."""

    def __init__(self, p: Array, v: Array, R: Array, covariance: Array, *, gravity: float, noise: ImuNoise) -> None:
        self.p, self.v, self.R = p, v, R
        self.bg, self.ba = np.zeros(3), np.zeros(3)
        self.covariance = covariance
        self.angular_rate = np.zeros(3)
        self._g, self._noise = np.array([0.0, 0.0, -gravity]), noise

    def copy(self) -> Navigation:
        """An independent snapshot."""
        twin = object.__new__(Navigation)
        twin.p, twin.v, twin.R = self.p.copy(), self.v.copy(), self.R.copy()
        twin.bg, twin.ba = self.bg.copy(), self.ba.copy()
        twin.covariance, twin.angular_rate = self.covariance.copy(), self.angular_rate.copy()
        twin._g, twin._noise = self._g, self._noise
        return twin

    def propagate(self, specific_force: Array, angular_rate: Array, dt: float) -> None:
        """One IMU sample in ego axes (m/s^2, rad/s) over dt seconds."""
        rate, n = angular_rate - self.bg, self._noise
        R_mid = self.R @ from_rotation_vector(0.5 * dt * rate)
        force = R_mid @ (specific_force - self.ba)
        acceleration = force + self._g
        self.p = self.p + self.v * dt + 0.5 * dt * dt * acceleration
        self.v = self.v + acceleration * dt
        self.R = self.R @ from_rotation_vector(dt * rate)
        self.angular_rate = rate
        F = np.eye(15)
        F[P, V] = np.eye(3) * dt
        F[V, THETA] = -skew(force) * dt
        F[V, BA] = -R_mid * dt
        F[THETA, BG] = -R_mid * dt
        C = F @ self.covariance @ F.T
        diagonal = np.einsum("ii->i", C)
        diagonal[V] += n.accel**2 * dt
        diagonal[THETA] += n.gyro**2 * dt
        diagonal[BG] += n.gyro_walk**2 * dt
        diagonal[BA] += n.accel_walk**2 * dt
        self.covariance = C

    def update(self, residual: Array, H: Array, noise: Array, gate: float | None) -> bool:
        """Kalman update with residual (m,), H (m, 15), noise (m, m); False when the squared Mahalanobis distance
        exceeds the gate, and nothing changes. Joseph form: the covariance stays positive."""
        C = self.covariance
        S = H @ C @ H.T + noise
        S_inverse = np.linalg.inv(S)
        if gate is not None and float(residual @ S_inverse @ residual) > gate:
            return False
        K = C @ H.T @ S_inverse
        dx = K @ residual
        I_KH = np.eye(15) - K @ H
        C = I_KH @ C @ I_KH.T + K @ noise @ K.T
        self.covariance = 0.5 * (C + C.T)
        self.p = self.p + dx[P]
        self.v = self.v + dx[V]
        self.R = from_rotation_vector(dx[THETA]) @ self.R
        self.bg = self.bg + dx[BG]
        self.ba = self.ba + dx[BA]
        return True

    def update_position(self, position: Array, lever: Array, noise: Array, gate: float | None) -> bool:
        """A measured map position (3,) of a point at `lever` (ego axes, from the IMU)."""
        arm = self.R @ lever
        H = np.zeros((3, 15))
        H[:, P] = np.eye(3)
        H[:, THETA] = -skew(arm)
        return self.update(position - (self.p + arm), H, noise, gate)

    def update_velocity(self, velocity: Array, lever: Array, noise: Array, gate: float | None) -> bool:
        """A measured map velocity (3,) of that point."""
        swing = self.R @ np.cross(self.angular_rate, lever)
        H = np.zeros((3, 15))
        H[:, V] = np.eye(3)
        H[:, THETA] = -skew(swing)
        return self.update(velocity - (self.v + swing), H, noise, gate)

    def update_wheels(self, std: float) -> bool:
        """A car neither slides sideways nor jumps: ego y and z velocity are zero, with one std in m/s."""
        body = self.R.T @ self.v
        H = np.zeros((2, 15))
        H[:, V] = self.R.T[1:]
        H[:, THETA] = (self.R.T @ skew(self.v))[1:]
        return self.update(-body[1:], H, np.eye(2) * std**2, None)


def skew(v: Array) -> Array:
    """(3, 3) with skew(v) @ u = v x u."""
    return np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])


def level_rotation(specific_force: Array, yaw: float) -> Array:
    """R map <- ego of a vehicle at rest whose accelerometer reads (3,), heading yaw (rad, 0 = east)."""
    x, y, z = specific_force / np.linalg.norm(specific_force)
    roll, pitch = np.arctan2(y, z), np.arctan2(-x, np.hypot(y, z))
    cr, sr, cp, sp, cy, sy = np.cos(roll), np.sin(roll), np.cos(pitch), np.sin(pitch), np.cos(yaw), np.sin(yaw)
    Rz = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    Ry = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    Rx = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    return Rz @ Ry @ Rx
