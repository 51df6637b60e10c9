"""Dead reckoning from one IMU sample to the next, in plain floats: for three numbers numpy is the slower one.

A row is 16 floats of one time: position p and velocity v of the IMU in the map (m, m/s), quaternion x y z w
(map <- ego), specific force in map axes (m/s^2) and angular rate in ego axes (rad/s), both without bias.
Force and rate are taken to run straight between samples, so steps may be long (10 Hz) and uneven. The Earth's
rotation (7.3e-5 rad/s, Coriolis 4e-3 m/s^2 at 30 m/s) is far below a MEMS unit's biases, which take it up.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from fusion_rt.messages import Vec3, Vec4
from fusion_rt.transforms import Array, matrix_from_quaternion

Sample: TypeAlias = tuple[float, float, float, float, float, float]  # specific force, angular rate, ego axes
Row: TypeAlias = tuple[float, ...]
POSITION, VELOCITY, QUATERNION = slice(0, 3), slice(3, 6), slice(6, 10)
FORCE, RATE = slice(10, 13), slice(13, 16)


def row(p: Vec3, v: Vec3, q: Vec4, sample: Sample, gyro_bias: Vec3, accel_bias: Vec3) -> Row:
    """The row of a known pose and velocity."""
    return (*p, *v, *q, *_force(q, sample, accel_bias), *_rate(sample, gyro_bias))


def step(before: Row, sample: Sample, dt: float, gyro_bias: Vec3, accel_bias: Vec3, gravity: Vec3) -> Row:
    """The row dt seconds later, when `sample` was taken. gravity: the vector in map axes, m/s^2."""
    px, py, pz, vx, vy, vz, qx, qy, qz, qw, fx, fy, fz, ux, uy, uz = before
    wx, wy, wz = _rate(sample, gyro_bias)
    q = turned(qx, qy, qz, qw, 0.5 * (ux + wx) * dt, 0.5 * (uy + wy) * dt, 0.5 * (uz + wz) * dt)
    ex, ey, ez = _force(q, sample, accel_bias)
    gx, gy, gz = gravity
    # Acceleration a0 -> a1 along a line: v += (a0 + a1) dt / 2, p += v dt + (2 a0 + a1) dt^2 / 6.
    h, k = 0.5 * dt, dt * dt / 6.0
    return (
        px + vx * dt + k * (2.0 * fx + ex + 3.0 * gx),
        py + vy * dt + k * (2.0 * fy + ey + 3.0 * gy),
        pz + vz * dt + k * (2.0 * fz + ez + 3.0 * gz),
        vx + h * (fx + ex + 2.0 * gx),
        vy + h * (fy + ey + 2.0 * gy),
        vz + h * (fz + ez + 2.0 * gz),
        *q, ex, ey, ez, wx, wy, wz,
    )  # fmt: skip


def coast(before: Row, dt: float) -> Row:
    """The row dt seconds later (or earlier) without samples: speed, course in the vehicle and turn rate
    stay."""
    qx, qy, qz, qw = before[QUATERNION]
    wx, wy, wz = before[RATE]
    forward = _rotated(-qx, -qy, -qz, qw, *before[VELOCITY])
    vx, vy, vz = _rotated(*turned(qx, qy, qz, qw, 0.5 * wx * dt, 0.5 * wy * dt, 0.5 * wz * dt), *forward)
    q = turned(qx, qy, qz, qw, wx * dt, wy * dt, wz * dt)
    px, py, pz = before[POSITION]
    return (px + vx * dt, py + vy * dt, pz + vz * dt, *_rotated(*q, *forward), *q, *before[10:])


def between(first: Sample, second: Sample, u: float) -> Sample:
    """The sample at a share u of the way."""
    a, b, c, d, e, f = (x + u * (y - x) for x, y in zip(first, second))
    return a, b, c, d, e, f


def matrices(q: Array) -> Array:
    """(n, 3, 3) rotations of (n, 4) unit quaternions x y z w."""
    x, y, z, w = q.T
    R = np.empty((len(q), 3, 3))
    R[:, 0, 0], R[:, 0, 1], R[:, 0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    R[:, 1, 0], R[:, 1, 1], R[:, 1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    R[:, 2, 0], R[:, 2, 1], R[:, 2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)
    return R


def matrix(here: Row) -> Array:
    """(3, 3) rotation of a row's quaternion, map <- ego."""
    return matrix_from_quaternion(here[QUATERNION])


def _rate(sample: Sample, gyro_bias: Vec3) -> Vec3:
    return sample[3] - gyro_bias[0], sample[4] - gyro_bias[1], sample[5] - gyro_bias[2]


def _force(q: Vec4, sample: Sample, accel_bias: Vec3) -> Vec3:
    """Specific force in map axes."""
    return _rotated(*q, sample[0] - accel_bias[0], sample[1] - accel_bias[1], sample[2] - accel_bias[2])


def _rotated(x: float, y: float, z: float, w: float, a: float, b: float, c: float) -> Vec3:
    """Quaternion times vector v = (a, b, c): v + 2 w (u x v) + 2 u x (u x v), u = (x, y, z)."""
    s, t, r = 2.0 * (y * c - z * b), 2.0 * (z * a - x * c), 2.0 * (x * b - y * a)
    return a + w * s + y * r - z * t, b + w * t + z * s - x * r, c + w * r + x * t - y * s


def turned(x: float, y: float, z: float, w: float, a: float, b: float, c: float) -> Vec4:
    """q times the quaternion of the rotation vector (a, b, c), normalised. Solà 2017, eq. 101."""
    angle = math.sqrt(a * a + b * b + c * c)
    s = math.sin(0.5 * angle) / angle if angle > 1e-8 else 0.5
    k, a, b, c = math.cos(0.5 * angle), a * s, b * s, c * s
    i = x * k + w * a + y * c - z * b
    j = y * k + w * b + z * a - x * c
    l = z * k + w * c + x * b - y * a  # noqa: E741
    r = w * k - x * a - y * b - z * c
    n = 1.0 / math.sqrt(i * i + j * j + l * l + r * r)
    return i * n, j * n, l * n, r * n
