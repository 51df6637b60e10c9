"""Dead reckoning against closed forms and scipy's rotations."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fusion_rt.ego import strapdown
from fusion_rt.ego.strapdown import POSITION, QUATERNION, VELOCITY

ZERO, GRAVITY = (0.0, 0.0, 0.0), (0.0, 0.0, -9.81)
LEVEL = (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("dt", [0.01, 0.1])
def test_circle_closes(dt):
    speed, turn = 12.0, 2 * np.pi / 20.0
    sample = (0.0, speed * turn, 9.81, 0.0, 0.0, turn)
    row = strapdown.row(ZERO, (speed, 0.0, 0.0), LEVEL, sample, ZERO, ZERO)
    for _ in range(round(10.0 / dt)):
        row = strapdown.step(row, sample, dt, ZERO, ZERO, GRAVITY)
    diameter = 2 * speed / turn
    np.testing.assert_allclose(row[POSITION], [0, diameter, 0], atol=0.02 * dt / 0.1)
    np.testing.assert_allclose(row[VELOCITY], [-speed, 0, 0], atol=0.01 * dt / 0.1)
    np.testing.assert_allclose(np.abs(row[QUATERNION]), [0, 0, 1, 0], atol=1e-9)


def test_biases_are_taken_off():
    sample, gyro_bias, accel_bias = (
        (0.3, -0.2, 9.91, 0.01, 0.02, -0.03),
        (0.01, 0.02, -0.03),
        (0.3, -0.2, 0.1),
    )
    row = strapdown.row((1.0, 2.0, 3.0), ZERO, LEVEL, sample, gyro_bias, accel_bias)
    for _ in range(100):
        row = strapdown.step(row, sample, 0.01, gyro_bias, accel_bias, GRAVITY)
    np.testing.assert_allclose(row[:10], [1, 2, 3, 0, 0, 0, *LEVEL], atol=1e-12)


def test_matrices_and_turned_equal_scipy():
    rng = np.random.default_rng(1)
    turns, quaternions = rng.normal(size=(20, 3)), Rotation.random(20, rng=rng).as_quat()
    np.testing.assert_allclose(
        strapdown.matrices(quaternions), Rotation.from_quat(quaternions).as_matrix(), atol=1e-14
    )
    for q, v in zip(quaternions, turns):
        one = strapdown.matrix((*[0.0] * 6, *q.tolist(), *[0.0] * 6))
        np.testing.assert_allclose(one, Rotation.from_quat(q).as_matrix(), atol=1e-14)
        expected = Rotation.from_quat(q) * Rotation.from_rotvec(v)
        found = Rotation.from_quat(strapdown.turned(*q, *v))
        assert (found * expected.inv()).magnitude() < 1e-12
    np.testing.assert_allclose(strapdown.turned(*LEVEL, 0.0, 0.0, 1e-12), [0, 0, 5e-13, 1], rtol=1e-9)


@pytest.mark.parametrize("dt", [-0.4, 0.05, 1.0])
def test_coasting_stays_on_the_circle(dt):
    speed, turn = 10.0, 0.4
    row = strapdown.row(ZERO, (speed, 0.0, 0.0), LEVEL, (0, 0, 0, 0, 0, turn), ZERO, ZERO)
    ahead = strapdown.coast(row, dt)
    radius, angle = speed / turn, turn * dt
    expected = [radius * np.sin(angle), radius * (1 - np.cos(angle)), 0]
    np.testing.assert_allclose(ahead[POSITION], expected, atol=abs(speed * dt) * angle**2 / 20)
    np.testing.assert_allclose(ahead[VELOCITY], [speed * np.cos(angle), speed * np.sin(angle), 0], atol=1e-12)


def test_sample_between_is_straight():
    assert strapdown.between((0,) * 6, (4, 8, 12, 16, 20, 24), 0.25) == (1, 2, 3, 4, 5, 6)
