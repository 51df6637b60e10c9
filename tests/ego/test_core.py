"""The compiled arithmetic against the same in numpy."""

import numpy as np
import pytest

from fusion_rt.ego import error_state, estimate
from fusion_rt.ego.config import ImuNoise
from fusion_rt.ego.error_state import BA, BG, THETA, P, V, skew
from fusion_rt.ego.estimate import Estimate
from fusion_rt.ego.strapdown import FORCE, POSITION, QUATERNION, RATE, VELOCITY, matrices


def transition(rows, dt):
    """F (15, 15) over a run of rows (k + 1, 16), dt (k,) s apart: each step's middle for its whole."""
    R, f = matrices(rows[:, QUATERNION]), rows[:, FORCE]
    turned = 0.5 * (R[:-1] + R[1:]) * dt[:, None, None]
    pushed = 0.5 * (f[:-1] + f[1:]) * dt[:, None]
    before = np.cumsum(turned, axis=0) - 0.5 * turned
    both = np.stack([skew(s) @ A for s, A in zip(pushed, before)])
    lasts = dt.sum() - np.cumsum(dt) + 0.5 * dt
    F = np.eye(15)
    F[P, V] = np.eye(3) * dt.sum()
    for to, weight in ((P, lasts), (V, np.ones_like(dt))):
        F[to, THETA] = -skew(weight @ pushed)
        F[to, BG] = np.einsum("k,kij->ij", weight, both)
        F[to, BA] = -np.einsum("k,kij->ij", weight, turned)
    F[THETA, BG] = -turned.sum(axis=0)
    return F


def propagated(C, rows, dt, noise):
    densities = np.repeat([0.0, noise.accel, noise.gyro, noise.gyro_walk, noise.accel_walk], 3) ** 2
    half, F = np.diag(0.5 * dt.sum() * densities), transition(rows, dt)
    return F @ (C + half) @ F.T + half


def relative(starts, end, arm):
    """T_ego(end)_ego(start) (n, 4, 4), by the poses of the ego frame themselves."""
    poses = []
    for row in (*starts, end):
        T = np.eye(4)
        T[:3, :3] = matrices(row[None, QUATERNION])[0]
        T[:3, 3] = row[POSITION] - T[:3, :3] @ arm
        poses.append(T)
    return np.linalg.inv(poses[-1]) @ np.array(poses[:-1])


def of_ego_frame(row, C, arm):
    """Position, velocity and covariance (9, 9) of the ego frame, whose point `arm` the row is of."""
    R = matrices(row[None, QUATERNION])[0]
    swing = R @ np.cross(arm, row[RATE])
    H = np.zeros((9, 15))
    H[:3, P] = H[3:6, THETA] = H[6:, V] = np.eye(3)
    H[:3, THETA], H[6:, THETA], H[6:, BG] = skew(R @ arm), -skew(swing), -R @ skew(arm)
    return row[POSITION] - R @ arm, row[VELOCITY] + swing, H @ C @ H.T


def rows(n, rng):
    out = rng.normal(size=(n, 16)) * ([100.0] * 3 + [10.0] * 3 + [1.0] * 4 + [5.0] * 3 + [0.5] * 3)
    out[:, 6:10] /= np.linalg.norm(out[:, 6:10], axis=1, keepdims=True)
    return out


def covariance(rng):
    root = rng.normal(size=(15, 15))
    return root @ root.T


@pytest.mark.parametrize("steps", [1, 2, 10, 200])
def test_propagate(steps):
    rng = np.random.default_rng(steps)
    run, dt, C = rows(steps + 1, rng), rng.uniform(0.001, 0.02, steps), covariance(rng)
    given = C.copy()
    found = error_state.propagate(C, run, dt, ImuNoise())
    np.testing.assert_allclose(found, propagated(C, run, dt, ImuNoise()), rtol=1e-11, atol=1e-11)
    np.testing.assert_array_equal(found, found.T)
    np.testing.assert_array_equal(C, given)


def test_propagate_takes_any_layout():
    """A covariance in columns, rows from a larger array, no step at all."""
    rng = np.random.default_rng(7)
    wide, dt, C = rng.normal(size=(4, 20)), np.full(3, 0.01), covariance(rng)
    wide[:, :16] = rows(4, rng)
    found = error_state.propagate(np.asfortranarray(C), wide[:, :16], dt, ImuNoise())
    expected = propagated(C, wide[:, :16], dt, ImuNoise())
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(error_state.propagate(C, rows(1, rng), np.empty(0), ImuNoise()), C)


@pytest.mark.parametrize("n", [0, 1, 6])
def test_moved(n):
    rng = np.random.default_rng(n)
    run, T = rows(n + 1, rng), rng.normal(size=(4, 4))
    found = estimate.moved([tuple(row) for row in run[:-1]], tuple(run[-1]), T[:3, 3])  # an arm in a column
    assert found.shape == (n, 4, 4)
    if n:
        np.testing.assert_allclose(found, relative(run[:-1], run[-1], T[:3, 3]), atol=1e-10)


def test_state_of_the_ego_frame():
    rng = np.random.default_rng(5)
    (row,), C, arm = rows(1, rng), covariance(rng), np.array([-0.8, 0.3, 0.9])
    told = estimate.ego_state(17, Estimate(tuple(row.tolist()), C, 0.0), arm, source="imu", origin=None)
    position, velocity, expected = of_ego_frame(row, C, arm)
    np.testing.assert_allclose(told.position, position, atol=1e-12)
    np.testing.assert_allclose(told.velocity, velocity, atol=1e-12)
    np.testing.assert_allclose(np.reshape(told.covariance, (6, 6)), expected[:6, :6], atol=1e-11)
    np.testing.assert_allclose(np.reshape(told.velocity_covariance, (3, 3)), expected[6:, 6:], atol=1e-11)
    assert told.angular_rate == tuple(row[13:].tolist())
