"""Fixes without an IMU, and an IMU that dies."""

import msgspec
import numpy as np
import pytest

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.rig import Rig


def fixes_only(drive, packets):
    ego = EgoFilter(Rig(gnss=drive.RIG.gnss), EgoConfig())
    for _, packet in packets:
        if packet.header.sensor_id != "imu":
            ego.push(packet)
    return ego


@pytest.mark.parametrize("doppler", [True, False])
@pytest.mark.parametrize("fix_hz", [1.0, 5.0])
def test_course_is_the_heading(drive, fix_hz, doppler):
    ego = EgoFilter(Rig(gnss=drive.RIG.gnss), EgoConfig())
    turns, positions = [], []
    for t, packet in drive.packets(seed=1, fix_hz=fix_hz, doppler=doppler):
        if packet.header.sensor_id == "imu":
            continue
        ego.push(packet)
        if t > 4:
            state = ego.state_at(packet.header.stamp_ns)
            position, turn, _ = drive.errors(state, ego.map)
            turns.append(turn[2])
            positions.append(position)
            assert state.source == "gnss"
    assert np.sqrt(np.mean(np.square(turns))) < (0.03 if doppler else 0.15)
    assert (np.sqrt(np.mean(np.square(positions), 0)) < 1.5 * drive.STD).all()


def test_poses_between_and_beyond_fixes(drive):
    ego = fixes_only(drive, drive.packets(seed=2, duration_s=12.0, fix_hz=2.0))
    for t, limit in ((10.2, 1.5), (10.3, 1.5), (12.0, 2.0)):
        state = ego.state_at(drive.stamp(t))
        position, turn, _ = drive.errors(state, ego.map)
        assert (np.abs(position) < limit * 2 * drive.STD).all()
        assert abs(turn[2]) < 0.1
    assert state.extrapolated_s > 0.3
    (T,) = ego.relative([drive.stamp(10.1)], drive.stamp(10.6))
    p, _, _ = drive.truth(np.array([10.1, 10.6]))
    assert np.linalg.norm(T[:3, 3]) == pytest.approx(np.linalg.norm(p[1] - p[0]), abs=1.5)
    assert ego.state_at(drive.stamp(15.0)).source == "none"


def test_standing_keeps_the_heading(drive):
    ego = fixes_only(drive, drive.packets(seed=3, duration_s=5.0))
    last = drive.fix(5.0, velocity_error=(0, 0, 0))
    rng = np.random.default_rng(0)
    heading = ego.state_at(drive.stamp(4.9)).orientation
    for k in range(1, 20):
        header = msgspec.structs.replace(last.header, stamp_ns=drive.stamp(5.0 + k / 5))
        velocity = tuple(rng.normal(0, 0.1, 3))
        ego.push(msgspec.structs.replace(last, header=header, velocity_enu=velocity))
    state = ego.state_at(header.stamp_ns)
    np.testing.assert_allclose(state.orientation, heading, atol=0.02)
    assert state.angular_rate == (0.0, 0.0, 0.0)


def test_no_heading_before_the_first_movement(drive):
    ego = EgoFilter(Rig(gnss=drive.RIG.gnss), EgoConfig())
    for t in np.arange(0, 2, 0.2):
        ego.push(drive.fix(t, velocity_enu=(0.05, -0.02, 0.0)))
    assert ego.state_at(drive.stamp(1.9)).source == "none"


def test_fixes_go_on_where_the_imu_dies_and_it_may_return(drive):
    sources, ego = {}, EgoFilter(drive.RIG, EgoConfig())
    for t, packet in drive.packets(seed=4):
        if packet.header.sensor_id == "imu" and 8 < t < 14:
            continue
        ego.push(packet)
        if packet.header.sensor_id == "gnss":
            state = ego.state_at(packet.header.stamp_ns)
            sources[round(t, 1)] = state.source
            if t > 4:
                assert np.linalg.norm(drive.errors(state, ego.map)[0]) < 3.5
    assert sources[7.8] == "imu+gnss"
    assert sources[9.0] == sources[13.8] == "gnss"
    assert sources[15.4] == sources[19.0] == "imu+gnss"
    assert ego.counters["imu_gap"] == 1
