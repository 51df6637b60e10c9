"""The filter with the lidar's odometry on the known drive: what that holds up, and what it carries."""

import numpy as np
import pytest

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.ego.measured import Travel
from fusion_rt.rig import Rig
from fusion_rt.transforms import from_rotation_translation, from_rotation_vector, inverse

STD_M, STD_RAD = 0.02, 0.001


def pose(drive, t):
    p, _, R = drive.truth(t)
    return from_rotation_translation(R[0].as_matrix(), p[0])


def travels(drive, first_s, last_s, *, seed=5, wrong=None):
    """(arrival s, travel) ten times a second, each sweep's place with noise; wrong(T, t): what it says
    instead of T_from_to = T."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(10 * first_s), round(10 * last_s) + 1) / 10
    placed = [
        pose(drive, t)
        @ from_rotation_translation(from_rotation_vector(rng.normal(0, STD_RAD, 3)), rng.normal(0, STD_M, 3))
        for t in times
    ]
    found = []
    for before, after, T0, T1 in zip(times, times[1:], placed, placed[1:]):
        T = inverse(T0) @ T1
        T = T if wrong is None else wrong(T, after)
        found.append((after, Travel(drive.stamp(before), drive.stamp(after), T, STD_M, STD_RAD)))
    return found


def run(drive, packets, told, *, config=EgoConfig(), rig=None):  # noqa: B008
    """The filter after all, and its states every 0.1 s: t -> state."""
    ego = EgoFilter(rig or drive.RIG, config)
    states = {}
    for t, item in sorted([*packets, *told], key=lambda entry: entry[0]):
        if isinstance(item, Travel):
            ego.travel(item)
            states[round(t, 1)] = ego.state_at(item.to_ns)
        else:
            ego.push(item)
    return ego, states


def without(packets, sensors, first_s, last_s):
    return [(t, p) for t, p in packets if p.header.sensor_id not in sensors or not first_s <= t < last_s]


def test_an_outage_of_the_fixes_drifts_less(drive):
    """Ten seconds by the IMU, and with the odometry: the end of them."""
    packets = without(drive.packets(seed=3), ("gnss",), 8, 20)
    ego, states = run(drive, packets, travels(drive, 0.5, 18))
    alone = EgoFilter(drive.RIG, EgoConfig())
    for t, packet in packets:
        if t <= 18:
            alone.push(packet)
    end, (far, _, slow) = states[18.0], drive.errors(alone.state_at(drive.stamp(18)), alone.map)
    position, turn, velocity = drive.errors(end, ego.map)
    assert end.source == "imu+odometry"
    assert np.linalg.norm(position[:2]) < 0.5 * np.linalg.norm(far[:2])
    assert np.linalg.norm(velocity) < 0.3 < np.linalg.norm(slow)
    assert np.abs(turn).max() < 0.03
    assert not ego.counters


def test_its_covariance_is_honest(drive):
    """Velocity errors of many seeds, by the filter's own measure: 3 where it knows itself."""
    distances = []
    for seed in range(6):
        _, states = run(
            drive, drive.packets(seed=seed, duration_s=10.0), travels(drive, 0.5, 9.8, seed=40 + seed)
        )
        for t in np.arange(5, 9.5, 0.5):
            state = states[round(t, 1)]
            error = np.array(state.velocity) - drive.truth(t)[1][0]
            spread = np.array(state.velocity_covariance).reshape(3, 3)
            distances.append(error @ np.linalg.solve(spread, error))
    assert 0.8 < np.mean(distances) < 5


def test_imu_and_fixes_lost(drive):
    """For four seconds in a curve the lidar carries the pose; the IMU takes over where that has come to."""
    packets = without(drive.packets(seed=4), ("imu", "gnss"), 8, 12)
    _, states = run(drive, packets, travels(drive, 0.5, 19.5))
    ego, _ = run(drive, packets, travels(drive, 0.5, 11.9))
    alone, _ = run(drive, [(t, p) for t, p in packets if t < 12], [])
    assert [states[t].source for t in (7.9, 8.5, 11.9)] == ["imu+gnss", "gnss+odometry", "odometry"]
    assert states[15.0].source == "imu+gnss"
    position, turn, velocity = drive.errors(states[11.9], ego.map)
    at_loss = drive.errors(states[7.9], ego.map)[0]
    assert np.linalg.norm(position - at_loss) < 0.5  # in 48 m
    assert np.abs(turn).max() < 0.03
    assert np.linalg.norm(velocity) < 0.5
    coasted = alone.state_at(drive.stamp(9.9))
    assert np.linalg.norm(drive.errors(coasted, alone.map)[2]) > 3 * np.linalg.norm(
        drive.errors(states[9.9], ego.map)[2]
    )
    steps = [
        np.linalg.norm(np.array(states[round(t + 0.1, 1)].position) - states[round(t, 1)].position)
        for t in np.arange(7.5, 14, 0.1)
    ]
    assert max(steps) < 2.0  # 1.5 m by the speed: the pose does not jump where the IMU returns


def test_fixes_and_odometry_without_an_imu(drive):
    rig = Rig(gnss={"gnss": drive.RIG.gnss["gnss"]})
    packets = [(t, p) for t, p in drive.packets(seed=6, doppler=False) if p.header.sensor_id == "gnss"]
    ego, states = run(drive, packets, travels(drive, 0.5, 19.5), rig=rig)
    course = EgoFilter(rig, EgoConfig())
    ours, plain = [], []
    for t, packet in packets:
        course.push(packet)
        at = round(t, 1)
        if t > 8 and at in states:
            assert states[at].source == "gnss+odometry"
            ours.append(drive.errors(states[at], ego.map))
            plain.append(drive.errors(course.state_at(drive.stamp(at)), course.map))
    for i, share in ((0, 0.8), (1, 0.5), (2, 0.5)):  # position, orientation, velocity
        rms = [np.sqrt(np.mean([np.sum(e[i] ** 2) for e in errors])) for errors in (ours, plain)]
        assert rms[0] < share * rms[1]


def test_odometry_alone(drive):
    """No place on Earth and no north, but nothing moves with us."""
    rig = Rig()
    told = travels(drive, 0.0, 10.0)
    ego, states = run(drive, [], told, rig=rig)
    assert ego.map is None
    for t in (0.1, 3.0, 10.0):
        state = states[t]
        assert (state.source, state.origin_latitude_deg) == ("odometry", None)
    T_odom = from_rotation_translation(np.eye(3), np.zeros(3))
    true = inverse(pose(drive, 0.0)) @ pose(drive, 10.0)
    assert np.linalg.norm(np.array(states[10.0].position) - (T_odom @ true)[:3, 3]) < 1.0  # of 130 m
    speed = np.linalg.norm(states[10.0].velocity)
    assert speed == pytest.approx(np.linalg.norm(drive.truth(10.0)[1]), abs=0.4)
    (T,) = ego.relative([drive.stamp(9.45)], drive.stamp(9.95))
    off = inverse(inverse(pose(drive, 9.95)) @ pose(drive, 9.45)) @ T
    assert np.linalg.norm(off[:3, 3]) < 0.1
    assert [ego.frame_at(drive.stamp(t)) for t in (10.0, 11.9, 12.1)] == [1, 1, None]
    assert ego.state_at(drive.stamp(12.1)).source == "none"


@pytest.mark.parametrize(("gap_s", "frame"), [(1.0, 1), (4.0, 2)])
def test_a_gap_of_sweeps(drive, gap_s, frame):
    """A short one is coasted over; after a long one nobody knows where the vehicle is: a new frame."""
    again_s = 5.0 + gap_s
    ego, states = run(drive, [], [*travels(drive, 0, 5), *travels(drive, again_s, again_s + 2)], rig=Rig())
    assert ego.frame_at(drive.stamp(again_s + 2)) == frame
    true = inverse(pose(drive, again_s)) @ pose(drive, again_s + 2)
    if frame == 2:
        assert np.linalg.norm(np.array(states[again_s + 2].position) - true[:3, 3]) < 0.3
    else:
        whole = inverse(pose(drive, 0)) @ pose(drive, again_s + 2)
        assert np.linalg.norm(np.array(states[again_s + 2].position) - whole[:3, 3]) < 2.5


def test_fixes_come_after_the_odometry(drive):
    """From then on its pose is on the map: the frame is another one."""
    packets = without(drive.packets(seed=7), ("imu", "gnss"), 0, 5)
    ego, states = run(drive, packets, travels(drive, 0, 12))
    assert states[4.0].source == "odometry"
    assert states[4.0].origin_latitude_deg is None
    assert states[11.0].source == "imu+gnss"
    assert states[11.0].origin_latitude_deg == ego.map.origin[0]
    assert ego.frame_at(drive.stamp(12.0)) == 0


def test_a_wild_travel_is_refused(drive):
    def wrong(T, t):
        aside = from_rotation_translation(np.eye(3), np.array([0.0, 0.5, 0.0]))
        return T @ aside if t in (8.0, 9.0) else T

    packets = drive.packets(seed=8, duration_s=12.0)
    ego, states = run(drive, packets, travels(drive, 0.5, 11.5, wrong=wrong))
    assert ego.counters["odometry_gated"] == 2
    assert np.linalg.norm(drive.errors(states[9.0], ego.map)[2]) < 0.3


@pytest.mark.parametrize("fixes", [True, False])
def test_who_is_wrong_the_imu_or_the_odometry(drive, fixes):
    """From 8 s on the sweeps tell that we stand. With fixes the IMU is believed; without, after some seconds,
    the odometry: an IMU that drifts contradicts it likewise."""

    def wrong(T, t):
        return T if t < 8 else np.eye(4)

    packets = drive.packets(seed=9)
    if not fixes:
        packets = without(packets, ("gnss",), 8, 20)
    ego, states = run(drive, packets, travels(drive, 0.5, 19.0, wrong=wrong))
    assert ego.counters["odometry_gated"] > 40
    assert ego.counters["odometry_reset"] == (0 if fixes else 1)
    assert states[10.0].source == "imu+gnss"
    assert states[19.0].source == ("imu+gnss" if fixes else "odometry")
    if fixes:
        assert np.linalg.norm(drive.errors(states[19.0], ego.map)[2]) < 0.3


def test_fixes_that_contradict_the_odometry_begin_anew(drive):
    """It took its place from fixes that stood 40 m off."""
    rig = Rig(gnss={"gnss": drive.RIG.gnss["gnss"]})
    packets = [
        (t, drive.fix(t, (40.0, 0.0, 0.0) if t < 5 else (0.0, 0.0, 0.0), velocity_error=None))
        for t in np.arange(0.2, 19, 0.2)
    ]
    ego, states = run(drive, packets, travels(drive, 0.5, 19), rig=rig)
    assert ego.counters["fix_gated"] >= 20
    assert ego.counters["reset"] == 1
    assert np.linalg.norm(drive.errors(states[19.0], ego.map)[0]) < 3


def test_late_samples_do_not_lose_a_travel(drive):
    """Samples that arrive after the sweep: the travel waits for them."""
    packets = drive.packets(seed=10, duration_s=10.0)
    late = [(t + 0.2, p) for t, p in packets]
    told = travels(drive, 0.5, 9.0)
    ego, _ = run(drive, late, told)
    punctual, _ = run(drive, packets, told)
    at = drive.stamp(9.0)
    a, b = ego.state_at(at), punctual.state_at(at)
    np.testing.assert_allclose(a.velocity, b.velocity, atol=0.05)
    assert not ego.counters["odometry_gated"]


def test_equal_packets_give_equal_poses(drive):
    packets = without(drive.packets(seed=11, duration_s=12.0), ("imu", "gnss"), 6, 8)
    told = travels(drive, 0.5, 11)
    first, second = (run(drive, packets, told)[1] for _ in range(2))
    assert first == second
