"""Rigid transforms. `T_target_source` is (4, 4) float64; compose with `@`, read right to left.

Quaternions are x, y, z, w (scalar last), Hamilton, unit; they rotate source axes into target axes.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def transform_points(T_target_source: Array, points_source: Array) -> Array:
    """Points in the target frame, `R p + t`.

    T_target_source: (4, 4) float64, rigid, |t| < 10 km (float32 keeps 1 mm).
    points_source: (N, 3) float, metres; N may be 0. Returns the same shape and dtype.
    """
    # Cast T, not the points: float32 @ float64 would upcast the whole cloud.
    T = np.asarray(T_target_source, points_source.dtype)
    moved: Array = points_source @ T[:3, :3].T + T[:3, 3]
    return moved


def inverse(T_target_source: Array) -> Array:
    """`T_source_target`, by transposing the rotation: exact for rigid T. (4, 4) float64."""
    R_source_target, t = T_target_source[:3, :3].T, T_target_source[:3, 3]
    return from_rotation_translation(R_source_target, -(R_source_target @ t))


def from_rotation_translation(R: Array, t: Array) -> Array:
    """(4, 4) float64 of a rotation (3, 3) and a translation (3,), metres."""
    T = np.zeros((4, 4))
    T[:3, :3] = R
    T[:3, 3] = t
    T[3, 3] = 1.0
    return T


def from_translation_rpy(translation: Any, rpy: Any) -> Array:
    """(4, 4) float64: translation (m), then intrinsic yaw, pitch, roll: R = Rz(y) Ry(p) Rx(r), rad."""
    roll, pitch, yaw = rpy
    cr, sr, cp, sp, cy, sy = (f(a) for a in (roll, pitch, yaw) for f in (np.cos, np.sin))
    R = np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )
    return from_rotation_translation(R, np.asarray(translation, dtype=np.float64))


def rpy_from_matrix(R: Array) -> Array:
    """(3,) roll, pitch, yaw in rad of R = Rz Ry Rx; pitch in [-pi/2, pi/2]."""
    pitch = np.arcsin(np.clip(-R[2, 0], -1.0, 1.0))
    return np.array([np.arctan2(R[2, 1], R[2, 2]), pitch, np.arctan2(R[1, 0], R[0, 0])])


def from_rotation_vector(v: Any) -> Array:
    """(3, 3) rotation by |v| rad about v (3,): Rodrigues' formula, exact near zero."""
    v = np.asarray(v, dtype=np.float64)
    angle = float(np.sqrt(v @ v))
    K = np.array([[0.0, -v[2], v[1]], [v[2], 0.0, -v[0]], [-v[1], v[0], 0.0]])
    if angle < 1e-6:  # second order: the error is below 1e-18
        return np.eye(3) + K + 0.5 * (K @ K)
    return np.eye(3) + (np.sin(angle) / angle) * K + ((1.0 - np.cos(angle)) / angle**2) * (K @ K)


def rotation_vector(R: Array) -> Array:
    """(3,) rotation vector in rad of R (3, 3), |v| <= pi; by the quaternion, stable near pi."""
    x, y, z, w = quaternion_from_matrix(R)
    axis = np.array([x, y, z])
    norm = float(np.sqrt(axis @ axis))
    if norm < 1e-12:
        return 2.0 * axis
    if w < 0.0:
        axis, w = -axis, -w
    return axis * (2.0 * np.arctan2(norm, w) / norm)


def quaternion_from_matrix(R: Array) -> Array:
    """(4,) x, y, z, w of R (3, 3), w >= 0. Shepperd 1978: divides by the largest component."""
    diagonal = (R[0, 0], R[1, 1], R[2, 2])
    trace = sum(diagonal)
    i = int(np.argmax((*diagonal, trace)))
    q = np.empty(4)
    if i == 3:
        q[:] = R[2, 1] - R[1, 2], R[0, 2] - R[2, 0], R[1, 0] - R[0, 1], 1.0 + trace
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        q[i] = 1.0 + 2.0 * R[i, i] - trace
        q[j] = R[i, j] + R[j, i]
        q[k] = R[i, k] + R[k, i]
        q[3] = R[k, j] - R[j, k]
    q /= np.sqrt(q @ q)
    return -q if q[3] < 0 else q


def matrix_from_quaternion(q: Any) -> Array:
    """(3, 3) of x, y, z, w; the quaternion is normalised first."""
    q = np.asarray(q, dtype=np.float64)
    x, y, z, w = (q / np.sqrt(q @ q)).tolist()  # plain floats: numpy's scalars are slow
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def interpolate(T0: Array, T1: Array, u: float) -> Array:
    """From T0 (u = 0) to T1 (u = 1): straight in translation, constant rate in rotation. (4, 4)."""
    R0 = T0[:3, :3]
    R = R0 @ from_rotation_vector(u * rotation_vector(R0.T @ T1[:3, :3]))
    return from_rotation_translation(R, (1.0 - u) * T0[:3, 3] + u * T1[:3, 3])


def wrap_angle(angle: Any) -> Any:
    """The same angle in [-pi, pi), rad."""
    return (angle + np.pi) % (2.0 * np.pi) - np.pi


def yaw_of(T_target_source: Array) -> float:
    """Rotation about z in rad, of the source's x axis seen in the target frame."""
    return math.atan2(T_target_source[1, 0], T_target_source[0, 0])
