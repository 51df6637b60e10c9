"""A drive with known truth: curves, hills, braking; an IMU mounted askew, an antenna on the roof."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fusion_rt.ego.geodesy import LocalMap, normal_gravity
from fusion_rt.messages import GnssFix, Header, ImuSample
from fusion_rt.rig import Gnss, Imu, Pose, Rig

START_NS = 1_700_000_000_000_000_000
ORIGIN = (49.01, 8.42, 115.0)
GRAVITY = np.array([0.0, 0.0, -normal_gravity(ORIGIN[0], ORIGIN[2])])
LEVER = (-0.8, 0.3, 1.6)
RIG = Rig(
    gnss={"gnss": Gnss(lever_arm=LEVER), "second": Gnss(lever_arm=(1.2, -0.3, 1.5))},
    imus={"imu": Imu(pose=Pose(translation=(-0.5, 0.2, 0.9), rpy_deg=(2.0, -3.0, 90.0)))},
)
ACCEL_NOISE, GYRO_NOISE = 0.02, 1e-3  # densities
STD = np.array([0.5, 0.5, 1.0])  # m, of a fix
SPEED_STD = 0.1


def truth(t):
    """Position (n, 3), velocity (n, 3), rotations (n) map <- ego at times (n,) s."""
    t = np.atleast_1d(np.asarray(t, dtype=np.float64))
    p = np.stack([12 * t + 8 * np.sin(0.3 * t), 40 * np.sin(0.15 * t), 1.5 * np.sin(0.2 * t)], 1)
    v = np.stack([12 + 2.4 * np.cos(0.3 * t), 6 * np.cos(0.15 * t), 0.3 * np.cos(0.2 * t)], 1)
    yaw = np.arctan2(v[:, 1], v[:, 0])
    pitch = -np.arctan2(v[:, 2], np.hypot(v[:, 0], v[:, 1]))
    roll = 0.03 * np.sin(0.7 * t)
    return p, v, Rotation.from_euler("ZYX", np.stack([yaw, pitch, roll], 1))


@functools.cache
def felt(duration_s, rate_hz):
    """Times (n,), specific force and angular rate (n, 3) in IMU axes, by central differences of the truth."""
    times, h = np.arange(0, duration_s, 1 / rate_hz), 1e-4
    mount = RIG.imus["imu"].T_ego_imu
    positions = [truth(times + k * h)[0] + truth(times + k * h)[2].apply(mount[:3, 3]) for k in (-1, 0, 1)]
    acceleration = (positions[0] - 2 * positions[1] + positions[2]) / h**2
    before, now, after = (truth(times + k * h)[2] for k in (-1, 0, 1))
    rate = (before.inv() * after).as_rotvec() / (2 * h)
    R = mount[:3, :3]
    return times, now.inv().apply(acceleration - GRAVITY) @ R, rate @ R


def stamp(t):
    return START_NS + round(t * 1e9)


def imu_packet(t, force, rate, seq=0, sensor="imu"):
    return ImuSample(
        header=Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=stamp(t)),
        specific_force=tuple(map(float, force)),
        angular_rate=tuple(map(float, rate)),
    )


def fix_packet(t, error=(0, 0, 0), *, velocity_error=(0, 0, 0), seq=0, sensor="gnss", **fields):
    """Of the truth at t, antenna displaced by error (m, map axes); velocity_error None: without velocity."""
    p, v, R = truth(t)
    lever, h = RIG.gnss[sensor].lever_arm, 1e-4
    latitude, longitude, altitude = LocalMap(*ORIGIN).to_geodetic((p + R.apply(lever))[0] + error)
    velocity = None
    if velocity_error is not None:
        later, earlier = (truth(t + k * h) for k in (1, -1))
        swing = (later[2].apply(lever) - earlier[2].apply(lever)) / (2 * h)
        velocity = tuple((v + swing)[0] + velocity_error)
    values = {
        "latitude_deg": latitude,
        "longitude_deg": longitude,
        "altitude_m": altitude,
        "position_covariance": tuple(np.diag(STD**2).flat),
        "velocity_enu": velocity,
        "velocity_std": None if velocity is None else SPEED_STD,
    }
    return GnssFix(
        header=Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=stamp(t)), **{**values, **fields}
    )


def packets(
    seed=1,
    *,
    duration_s=20.0,
    imu_hz=100.0,
    fix_hz=5.0,
    delay_s=0.0,
    doppler=True,
    sensors=("gnss",),
    gyro_bias=0.005,
    accel_bias=0.1,
):
    """(arrival s, packet) in order of arrival, with noise and constant biases drawn by the seed."""
    rng = np.random.default_rng(seed)
    times, force, rate = felt(duration_s, imu_hz)
    force = force + rng.normal(0, accel_bias, 3) + rng.normal(0, ACCEL_NOISE * imu_hz**0.5, force.shape)
    rate = rate + rng.normal(0, gyro_bias, 3) + rng.normal(0, GYRO_NOISE * imu_hz**0.5, rate.shape)
    stream = [(t, 0, imu_packet(t, f, w, seq=i)) for i, (t, f, w) in enumerate(zip(times, force, rate))]
    for sensor in sensors:
        for i, t in enumerate(np.arange(0.013, duration_s - 0.1, 1 / fix_hz)):
            speed = rng.normal(0, SPEED_STD, 3) if doppler else None
            packet = fix_packet(t, rng.normal(0, STD), velocity_error=speed, seq=i, sensor=sensor)
            stream.append((t + delay_s, 1, packet))
    stream.sort(key=lambda entry: entry[:2])
    return [(arrival, packet) for arrival, _, packet in stream]


def errors(state, local_map):
    """Position (3,), orientation (3,, map axes) and velocity (3,) of a state minus the truth."""
    t = (state.stamp_ns - START_NS) / 1e9
    p, v, R = truth(t)
    # The filter's map begins at its first fix; the truth's at ORIGIN.
    at = LocalMap(*ORIGIN).to_enu(*local_map.to_geodetic(np.array(state.position)))
    turn = (Rotation.from_quat(state.orientation) * R[0].inv()).as_rotvec()
    return at - p[0], turn, np.array(state.velocity) - v[0]


@pytest.fixture(scope="session")
def drive():
    """The known drive: `packets`, `truth`, `errors` and what builds single packets."""
    return SimpleNamespace(
        RIG=RIG,
        STD=STD,
        LEVER=LEVER,
        truth=truth,
        stamp=stamp,
        packets=packets,
        errors=errors,
        fix=fix_packet,
        imu=imu_packet,
        noise={"accel": ACCEL_NOISE, "gyro": GYRO_NOISE, "gyro_bias": 0.005, "accel_bias": 0.1},
    )
