"""The linear model against differences of the real one, and Kalman's equations against the information
form."""

import numpy as np
import pytest
from scipy.linalg import block_diag
from scipy.spatial.transform import Rotation

from fusion_rt.ego import error_state, strapdown
from fusion_rt.ego.config import ImuNoise
from fusion_rt.ego.error_state import BA, BG, THETA, P, V
from fusion_rt.ego.strapdown import POSITION, QUATERNION, RATE, VELOCITY

GRAVITY = (0.0, 0.0, -9.81)
QUIET = ImuNoise(gyro=1e-12, accel=1e-12, gyro_walk=1e-12, accel_walk=1e-12)


def random_run(k=10, dt=0.01, seed=3):
    rng = np.random.default_rng(seed)
    samples = [tuple(s) for s in rng.normal(0, 1, (k + 1, 6)) * ([2] * 3 + [0.3] * 3) + [0, 0, 9.81, 0, 0, 0]]
    return samples, np.full(k, dt), Rotation.random(rng=rng).as_quat()


def dead_reckon(error, samples, dt, q):
    """Rows with an error (15,) in the start and in the biases."""
    turn = Rotation.from_rotvec(error[THETA]) * Rotation.from_quat(q)
    gyro, accel = tuple(error[BG]), tuple(error[BA])
    start = np.array([1.0, 2.0, 3.0, 8.0, -3.0, 0.5]) + error[:6]
    rows = [strapdown.row(tuple(start[:3]), tuple(start[3:]), tuple(turn.as_quat()), samples[0], gyro, accel)]
    for sample, step in zip(samples[1:], dt):
        rows.append(strapdown.step(rows[-1], sample, step, gyro, accel, GRAVITY))
    return np.array(rows)


def difference(found, reference):
    turn = Rotation.from_quat(found[QUATERNION]) * Rotation.from_quat(reference[QUATERNION]).inv()
    return np.concatenate(
        [found[POSITION] - reference[POSITION], found[VELOCITY] - reference[VELOCITY], turn.as_rotvec()]
    )


def test_transition_equals_differences():
    samples, dt, q = random_run()
    rows, h = dead_reckon(np.zeros(15), samples, dt, q), 1e-6
    F = np.eye(15)
    for i in range(15):
        ends = [dead_reckon(sign * h * np.eye(15)[i], samples, dt, q)[-1] for sign in (1, -1)]
        F[:9, i] = (difference(ends[0], rows[-1]) - difference(ends[1], rows[-1])) / (2 * h)
    rng = np.random.default_rng(1)
    root = rng.normal(size=(15, 15)) * 0.1
    C = root @ root.T
    np.testing.assert_allclose(error_state.propagate(C, rows, dt, QUIET), F @ C @ F.T, atol=5e-5)


def test_noise_grows_as_that_of_an_integrator():
    noise = ImuNoise(gyro=1e-3, accel=0.05, gyro_walk=1e-9, accel_walk=1e-9)
    sample, n, dt = (0.0, 0.0, 9.81, 0.0, 0.0, 0.0), 100, 0.01
    row = strapdown.row((0, 0, 0), (0, 0, 0), (0, 0, 0, 1), sample, (0, 0, 0), (0, 0, 0))
    C = np.zeros((15, 15))
    for _ in range(10):
        C = error_state.propagate(C, np.array([row] * 11), np.full(10, dt), noise)
    t = n * dt
    np.testing.assert_allclose(np.diag(C)[V][2], 0.05**2 * t, rtol=1e-9)
    np.testing.assert_allclose(np.diag(C)[P][2], 0.05**2 * t**3 / 3, rtol=0.01)
    np.testing.assert_allclose(np.diag(C)[THETA], 1e-6 * t, rtol=1e-9)


def test_correction_equals_information_form():
    rng = np.random.default_rng(4)
    root, H, noise = rng.normal(size=(15, 15)), rng.normal(size=(3, 15)), np.diag([0.5, 1.0, 2.0])
    C, residual = root @ root.T, rng.normal(size=3)
    error, corrected = error_state.correct(C, residual, H, noise)
    information = np.linalg.inv(C) + H.T @ np.linalg.inv(noise) @ H
    np.testing.assert_allclose(corrected @ information, np.eye(15), atol=1e-8)
    np.testing.assert_allclose(error, corrected @ H.T @ np.linalg.inv(noise) @ residual, atol=1e-8)
    S = H @ C @ H.T + noise
    assert error_state.distance(C, residual, H, noise) == pytest.approx(
        residual @ np.linalg.inv(S) @ residual
    )


def test_measurement_jacobians_equal_differences():
    samples, dt, q = random_run(k=1)
    lever, rate = np.array([-0.8, 0.3, 1.6]), np.array(samples[0][3:])

    def measure(error):
        start = dead_reckon(error, samples, dt, q)[0]
        R = strapdown.matrices(start[None, QUATERNION])[0]
        position = start[POSITION] + R @ lever
        velocity = start[VELOCITY] + R @ np.cross(start[RATE], lever)
        return np.concatenate(
            [position, velocity, (R.T @ start[VELOCITY])[1:], start[VELOCITY], -start[RATE]]
        )

    h = 1e-6
    expected = np.stack([(measure(h * e) - measure(-h * e)) / (2 * h) for e in np.eye(15)], 1)
    start = dead_reckon(np.zeros(15), samples, dt, q)[0]
    R = strapdown.matrices(start[None, QUATERNION])[0]
    sideways, H_wheels = error_state.wheels(R, start[VELOCITY])
    still, H_still = error_state.standing(start[VELOCITY], start[RATE])
    found = [
        error_state.position_jacobian(R @ lever),
        error_state.velocity_jacobian(R @ np.cross(rate, lever), R, lever),
        H_wheels,
        H_still,
    ]
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-7)
    zero = measure(np.zeros(15))
    # A residual is what was measured (nothing) minus what was expected.
    np.testing.assert_allclose(sideways, -zero[6:8], atol=1e-12)
    np.testing.assert_allclose(still, -zero[8:], atol=1e-12)


def test_covariance_stays_positive():
    samples, dt, q = random_run()
    rows = dead_reckon(np.zeros(15), samples, dt, q)
    C = block_diag(np.eye(3) * 1e8, np.eye(3) * 1e-8, np.eye(9))
    for _ in range(50):
        C = error_state.propagate(C, rows, dt, ImuNoise())
        _, C = error_state.correct(
            C, np.zeros(3), error_state.position_jacobian(np.ones(3)), np.eye(3) * 1e-4
        )
        assert np.linalg.eigvalsh(C)[0] > -1e-12
        np.testing.assert_array_equal(C, C.T)
