"""The compiled arithmetic against the same in numpy."""

import bisect

import numpy as np
import pytest

from fusion_rt.ego import error_state, estimate
from fusion_rt.ego.config import ImuNoise
from fusion_rt.ego.error_state import BA, BG, THETA, P, V, skew
from fusion_rt.ego.estimate import Estimate
from fusion_rt.ego.strapdown import (
    FORCE,
    POSITION,
    QUATERNION,
    RATE,
    VELOCITY,
    between,
    coast,
    matrices,
    step,
)


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


def stepped(stamps, samples, row, biases, wanted, within):
    """Rows at the stamps `wanted`, by the same steps in Python: each from the one before it."""
    (first, last), here_ns, found = within, stamps[0], {}

    def carried(row, here_ns, until, gyro_bias, accel_bias, gravity):
        while here_ns < until:
            i = bisect.bisect_right(stamps, here_ns)
            next_ns = min(stamps[i], until)
            u = (next_ns - stamps[i - 1]) / (stamps[i] - stamps[i - 1])
            sample = samples[i] if next_ns == stamps[i] else between(samples[i - 1], samples[i], u)
            row = step(row, sample, (next_ns - here_ns) / 1e9, gyro_bias, accel_bias, gravity)
            here_ns = next_ns
        return row

    row, here_ns = carried(row, here_ns, first, *biases[:3]), first
    for stamp in sorted(wanted):
        until = min(max(stamp, first), last)
        row, here_ns = carried(row, here_ns, until, *biases[3:]), until
        found[stamp] = row if stamp == until else coast(row, (stamp - until) / 1e9)
    return [found[stamp] for stamp in wanted]


@pytest.mark.parametrize(
    ("within", "wanted"),
    [
        ((10_000_000, 50_000_000), (10_000_000, 30_000_000, 50_000_000)),  # where samples were taken
        ((3_000_001, 47_000_003), (31_000_000, 3_000_001, 12_345_678, 31_000_000, 47_000_003, 30_000_000)),
        (
            (0, 60_000_000),
            (-40_000_000, 75_000_000, 20_000_000, 90_000_000),
        ),  # before the first, after the last
        ((15_000_000, 15_000_000), (15_000_000, 15_000_000)),
    ],
)
def test_reckoned(within, wanted):
    rng = np.random.default_rng(3)
    stamps = list(range(0, 70_000_000, 10_000_000))
    i, end = bisect.bisect_right(stamps, within[0]) - 1, bisect.bisect_left(stamps, within[1]) + 1
    stamps, samples = stamps[i:end], [tuple(s) for s in rng.normal(size=(end - i, 6)).tolist()]
    row, arm = tuple(rows(1, rng)[0].tolist()), np.array([-0.8, 0.3, 0.9])
    biases = [tuple(b) for b in rng.normal(size=(6, 3)).tolist()]
    found = estimate.reckoned(stamps, samples, row, biases, wanted=wanted, within=within, arm=arm)
    *starts, last = stepped(stamps, samples, row, biases, wanted, within)
    np.testing.assert_array_equal(found, estimate.moved(starts, last, arm))  # to the bit
