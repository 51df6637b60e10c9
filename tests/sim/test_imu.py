"""The IMU against the closed form of a circular path."""

import numpy as np
import pytest

from fusion_rt.sim import imu
from fusion_rt.transforms import from_translation_rpy

RADIUS_M, SPEED_MPS = 40.0, 12.0


def circle(t_s, pitch=0.0):
    """Counter-clockwise at constant speed, nose along the path."""
    turn = SPEED_MPS / RADIUS_M * t_s
    return from_translation_rpy(
        (RADIUS_M * np.sin(turn), RADIUS_M * (1 - np.cos(turn)), 2.0), (0.0, pitch, turn)
    )


@pytest.mark.parametrize("t_s", [0.0, 3.3, 60.0])
def test_circle_equals_closed_form(t_s):
    force, rate = imu.feel(circle, t_s)
    np.testing.assert_allclose(force, [0.0, SPEED_MPS**2 / RADIUS_M, imu.GRAVITY_MPS2], atol=1e-5)
    np.testing.assert_allclose(rate, [0.0, 0.0, SPEED_MPS / RADIUS_M], atol=1e-6)


def test_slope_tilts_gravity():
    pitch = np.radians(-10.0)  # nose up
    force, rate = imu.feel(lambda t: from_translation_rpy((0, 0, 0), (0, pitch, 0)), 0.0)
    expected = imu.GRAVITY_MPS2 * np.array([np.sin(-pitch), 0.0, np.cos(pitch)])
    np.testing.assert_allclose(force, expected, atol=1e-9)
    np.testing.assert_allclose(rate, 0.0, atol=1e-12)


def test_noise_has_its_density():
    model = imu.ImuModel(accel_bias=0.0, gyro_bias=0.0, accel_bias_walk=0.0, gyro_bias_walk=0.0)
    times = np.arange(4000) / model.rate_hz
    samples = list(imu.measure(circle, times, model, np.random.default_rng(1)))
    force = np.array([f for f, _ in samples]) - [0.0, SPEED_MPS**2 / RADIUS_M, imu.GRAVITY_MPS2]
    rate = np.array([w for _, w in samples]) - [0.0, 0.0, SPEED_MPS / RADIUS_M]
    np.testing.assert_allclose(force.std(0), model.accel_noise * 10.0, rtol=0.05)
    np.testing.assert_allclose(rate.std(0), model.gyro_noise * 10.0, rtol=0.05)


def test_bias_walks():
    quiet = {"accel_noise": 0.0, "gyro_noise": 0.0, "accel_bias": 0.0, "gyro_bias": 0.0}
    model = imu.ImuModel(**quiet, accel_bias_walk=0.01, gyro_bias_walk=0.001)
    still = from_translation_rpy((0, 0, 0), (0, 0, 0))
    ends = []
    for seed in range(200):
        samples = list(
            imu.measure(lambda t: still, np.arange(0, 5.0, 0.1), model, np.random.default_rng(seed))
        )
        ends.append(samples[-1][0] - [0, 0, imu.GRAVITY_MPS2])
    np.testing.assert_allclose(np.std(ends), 0.01 * np.sqrt(4.9), rtol=0.15)
