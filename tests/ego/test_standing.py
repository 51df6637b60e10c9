"""A car that drives, brakes and stands, while the fixes end: it must not creep away."""

import numpy as np
import pytest

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.ego.geodesy import LocalMap, normal_gravity
from fusion_rt.messages import GnssFix, Header, ImuSample
from fusion_rt.rig import Gnss, Imu, Rig

RIG = Rig(gnss={"gnss": Gnss()}, imus={"imu": Imu()})
PLACE = (47.0, 8.0, 400.0)
BRAKE_S, STOP_S, END_S = 5.0, 9.0, 30.0


def motion(t):
    """East position, speed and acceleration of 10 m/s, braked to a stand."""
    brake = np.clip(t - BRAKE_S, 0, STOP_S - BRAKE_S)
    x = 10 * min(t, BRAKE_S) + 10 * brake - 1.25 * brake**2
    return x, 10 - 2.5 * brake, -2.5 if BRAKE_S <= t < STOP_S else 0.0


def drift(config, seed):
    """Metres off at the end, 20 s after the last fix; and the turn rate said to be left, rad/s."""
    rng, local_map, ego = np.random.default_rng(seed), LocalMap(*PLACE), EgoFilter(RIG, config)
    gyro_bias, accel_bias = rng.normal(0, 0.005, 3), rng.normal(0, 0.05, 3)
    for k in range(round(END_S * 50)):
        t = k / 50
        x, speed, acceleration = motion(t)
        force = np.array([acceleration, 0, normal_gravity(PLACE[0], PLACE[2])]) + accel_bias
        force, rate = force + rng.normal(0, 0.03, 3), gyro_bias + rng.normal(0, 0.002, 3)
        header = Header(sensor_id="imu", frame_id="imu", seq=k, stamp_ns=k * 20_000_000)
        ego.push(ImuSample(header=header, specific_force=tuple(force), angular_rate=tuple(rate)))
        if k % 10 == 0 and t < STOP_S + 1:
            latitude, longitude, altitude = local_map.to_geodetic(np.array([x, 0, 0]) + rng.normal(0, 0.3, 3))
            fix = GnssFix(
                header=Header(sensor_id="gnss", frame_id="gnss", seq=k, stamp_ns=k * 20_000_000),
                latitude_deg=latitude,
                longitude_deg=longitude,
                altitude_m=altitude,
                position_covariance=(0.09, 0, 0, 0, 0.09, 0, 0, 0, 0.09),
                velocity_enu=tuple(np.array([speed, 0, 0]) + rng.normal(0, 0.05, 3)),
                velocity_std=0.05,
            )
            ego.push(fix)
    state = ego.state_at(round(END_S * 1e9) - 20_000_000)
    assert ego.map is not None
    at = local_map.to_enu(*ego.map.to_geodetic(np.array(state.position)))
    return np.linalg.norm(at - [motion(END_S)[0], 0, 0]), np.linalg.norm(state.angular_rate)


@pytest.mark.parametrize("seed", [1, 2])
def test_standing_vehicle_stays(seed):
    offset, rate = drift(EgoConfig(), seed)
    assert offset < 0.8
    assert rate < 0.008  # noise alone
    loose, _ = drift(EgoConfig(still_mps=0.0, nonholonomic_mps=0.0), seed)
    assert loose > 3 * offset
