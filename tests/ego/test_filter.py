"""The filter on a drive whose truth is known."""

import numpy as np
import pytest
from scipy.stats import chi2

from fusion_rt.ego.config import EgoConfig, ImuNoise
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.transforms import from_rotation_translation, inverse, matrix_from_quaternion


def run(drive, packets, config=EgoConfig(), rig=None):  # noqa: B008
    ego = EgoFilter(rig or drive.RIG, config)
    for _, packet in packets:
        ego.push(packet)
    return ego


def history(drive, packets, config=EgoConfig(), *, after_s=5.0):  # noqa: B008
    """The filter, and its errors every 0.1 s at the newest sample: position, orientation, velocity (n, 3)."""
    ego, found = EgoFilter(drive.RIG, config), []
    for arrival, packet in packets:
        ego.push(packet)
        if packet.header.sensor_id == "imu" and packet.header.seq % 10 == 5 and arrival > after_s:
            found.append(drive.errors(ego.state_at(packet.header.stamp_ns), ego.map))
    return ego, [np.array(e) for e in zip(*found)]


def rms(errors):
    return np.sqrt(np.mean(np.square(errors), axis=0))


def honest(drive, **changes):
    """A configuration that describes the simulated errors exactly."""
    plain = {"position_correlation_s": 0.0, "nonholonomic_mps": 0.0, "still_mps": 0.0}
    return EgoConfig(imu=ImuNoise(**drive.noise), **{**plain, **changes})


def without_fixes(packets, first_s, last_s):
    return [(t, p) for t, p in packets if p.header.sensor_id == "imu" or not first_s <= t <= last_s]


@pytest.mark.parametrize("delay_s", [0.0, 0.3])
@pytest.mark.parametrize("imu_hz", [100.0, 20.0])
def test_estimate_beats_fixes(drive, imu_hz, delay_s):
    ego = EgoFilter(drive.RIG, EgoConfig())
    positions, turns, speeds = [], [], []
    for arrival, packet in drive.packets(seed=2, duration_s=15.0, delay_s=delay_s, imu_hz=imu_hz):
        ego.push(packet)
        if arrival > 5 and packet.header.sensor_id == "imu" and packet.header.seq % 4 == 0:
            for kept, e in zip(
                (positions, turns, speeds), drive.errors(ego.state_at(packet.header.stamp_ns), ego.map)
            ):
                kept.append(e)
    assert (rms(positions) < 0.5 * drive.STD).all()
    assert (rms(turns) < np.radians(1.0)).all()
    assert (rms(speeds) < 0.15).all()
    assert not ego.counters


def test_lever_arms_matter(drive):
    """With the antenna and the IMU taken to sit at the ego frame's origin, the offset would show."""
    _, (positions, _, _) = history(drive, drive.packets(seed=3, imu_hz=50.0))
    assert np.abs(positions.mean(0)[2]) < 0.5  # the antenna is 1.6 m up


def test_covariance_is_consistent(drive):
    """NEES over independent runs lies within the chi-square bounds of 99.9 %."""
    runs, normalised = 12, {5.0: [], 9.0: []}
    for seed in range(runs):
        ego = EgoFilter(drive.RIG, honest(drive))
        for arrival, packet in drive.packets(
            seed=100 + seed, duration_s=9.05, imu_hz=50.0, delay_s=0.1 * (seed % 3)
        ):
            ego.push(packet)
            if packet.header.sensor_id == "imu" and any(abs(arrival - t) < 1e-6 for t in normalised):
                state = ego.state_at(packet.header.stamp_ns)
                position, turn, velocity = drive.errors(state, ego.map)
                C, error = np.array(state.covariance).reshape(6, 6), np.concatenate([position, turn])
                V = np.array(state.velocity_covariance).reshape(3, 3)
                normalised[round(arrival, 1)].append(
                    (error @ np.linalg.solve(C, error), velocity @ np.linalg.solve(V, velocity))
                )
    for found in normalised.values():
        assert len(found) == runs
        for total, freedom in zip(np.sum(found, 0), (6 * runs, 3 * runs)):
            assert chi2.ppf(0.0005, freedom) < total < chi2.ppf(0.9995, freedom)


def test_biases_are_found(drive):
    """The angular rate is reported without the gyroscope's bias, which is 0.03 rad/s here."""
    ego = EgoFilter(drive.RIG, EgoConfig(imu=ImuNoise(gyro_bias=0.05, accel_bias=0.3)))
    found = []
    for arrival, packet in drive.packets(seed=5, gyro_bias=0.03, accel_bias=0.3):
        ego.push(packet)
        if arrival > 15 and packet.header.sensor_id == "imu":
            t, h = (packet.header.stamp_ns - drive.stamp(0)) / 1e9, 1e-3
            turn = (drive.truth(t - h)[2].inv() * drive.truth(t + h)[2]).as_rotvec()[0] / (2 * h)
            found.append(np.array(ego.state_at(packet.header.stamp_ns).angular_rate) - turn)
    assert (np.abs(np.mean(found, 0)) < 0.004).all()


def test_late_fixes_give_what_punctual_ones_give(drive):
    """A fix that comes 0.4 s late, after newer ones of another receiver, ends in the same state."""
    punctual = drive.packets(seed=6, duration_s=12.0, sensors=("gnss", "second"), fix_hz=3.0)
    late = sorted(
        ((t + (0.4 if p.header.sensor_id == "second" and t > 4 else 0.0), p) for t, p in punctual),
        key=lambda entry: entry[0],
    )
    stamp = drive.stamp(11.3)
    a, b = (run(drive, packets).state_at(stamp) for packets in (punctual, late))
    np.testing.assert_allclose(a.position, b.position, atol=1e-6)
    np.testing.assert_allclose(a.orientation, b.orientation, atol=1e-8)
    np.testing.assert_allclose(a.covariance, b.covariance, atol=1e-8)


def test_late_fix_changes_nothing_before_its_time(drive):
    ego = run(drive, drive.packets(seed=7, duration_s=10.0))
    times = [drive.stamp(t) for t in (9.0, 9.3, 9.5, 9.9)]
    before = [ego.state_at(t) for t in times]
    ego.push(drive.fix(9.45, (1.0, -1.0, 0.5), sensor="second"))
    after = [ego.state_at(t) for t in times]
    assert before[:2] == after[:2]
    assert all(b.position != a.position for b, a in zip(before[2:], after[2:]))


def test_fix_waits_for_samples(drive):
    """A fix 0.1 s ahead of the IMU is used when the samples have come, at its own time."""
    stream = drive.packets(seed=8, duration_s=8.0)
    ahead = sorted(
        ((t - (0.1 if p.header.sensor_id == "gnss" else 0.0), p) for t, p in stream), key=lambda e: e[0]
    )
    a, b = (run(drive, packets).state_at(drive.stamp(7.5)) for packets in (stream, ahead))
    np.testing.assert_allclose(a.position, b.position, atol=1e-6)


def test_outliers_are_gated(drive):
    clean = drive.packets(seed=9)
    hurt, wrong, rng = [], 0, np.random.default_rng(1)
    for t, packet in clean:
        if packet.header.sensor_id == "gnss" and t > 5 and packet.header.seq % 7 == 0:
            wrong += 1
            packet = drive.fix(t, rng.choice([-1, 1], 3) * [60.0, 40.0, 30.0])
        hurt.append((t, packet))
    ego, (positions, _, _) = history(drive, hurt)
    assert wrong > 5
    assert ego.counters == {"fix_gated": wrong}
    assert (rms(positions) < 0.5 * drive.STD).all()


def test_wrong_velocity_is_gated_and_its_position_used(drive):
    ego = run(drive, drive.packets(seed=10, duration_s=10.0))
    before = ego.state_at(drive.stamp(9.99))
    ego.push(drive.fix(9.96, velocity_error=(0.0, 30.0, 0.0)))
    after = ego.state_at(drive.stamp(9.99))
    assert ego.counters == {"velocity_gated": 1}
    assert before.position != after.position
    np.testing.assert_allclose(before.velocity, after.velocity, atol=0.1)


def test_filter_that_was_wrong_is_reset(drive):
    """All fixes move by 300 m: after reset_after_s they are believed."""
    moved = [
        (t, drive.fix(t, (300.0, 0, 0)) if p.header.sensor_id == "gnss" and t > 8 else p)
        for t, p in drive.packets(seed=11)
    ]
    ego = run(drive, moved)
    position, turn, _ = drive.errors(ego.state_at(drive.stamp(19.9)), ego.map)
    np.testing.assert_allclose(position, [300, 0, 0], atol=2.0)
    assert np.linalg.norm(turn) < 0.1
    assert ego.counters["reset"] == 1
    fixes = [t for t, p in moved if p.header.sensor_id == "gnss"]
    late = 8 + EgoConfig().reset_after_s
    assert ego.counters["fix_gated"] == pytest.approx(sum(8 < t <= late for t in fixes), abs=1)


def test_a_reflection_of_some_seconds_is_not_believed(drive):
    """Fixes that stand 20 m off for 3 s: our way goes on between them."""
    reflected = [
        (t, drive.fix(t, (12.0, 16.0, 0)) if p.header.sensor_id == "gnss" and 8 < t < 11 else p)
        for t, p in drive.packets(seed=11)
    ]
    ego = EgoFilter(drive.RIG, EgoConfig())
    worst = 0.0
    for t, packet in reflected:
        ego.push(packet)
        if packet.header.sensor_id == "imu" and t > 7:
            position, _, _ = drive.errors(ego.state_at(packet.header.stamp_ns), ego.map)
            worst = max(worst, float(np.linalg.norm(position)))
    assert worst < 3.0
    assert set(ego.counters) == {"fix_gated"}


def test_wrong_first_fix_does_not_hold_the_map(drive):
    null_island = drive.fix(0.001, latitude_deg=0.0, longitude_deg=0.0)
    ego = run(drive, [(0.001, null_island), *drive.packets(seed=12)])
    assert set(ego.counters) == {"fix_far"}
    position, _, _ = drive.errors(ego.state_at(drive.stamp(19.9)), ego.map)
    assert np.linalg.norm(position) < 2.0


def test_outage_is_coasted_and_said(drive):
    packets = without_fixes(drive.packets(seed=13), 12.0, 17.0)
    ego, sources = EgoFilter(drive.RIG, EgoConfig()), {}
    for arrival, packet in packets:
        ego.push(packet)
        if packet.header.sensor_id == "imu" and packet.header.seq % 50 == 0:
            state = ego.state_at(packet.header.stamp_ns)
            sources[round(arrival, 1)] = state.source
            if arrival == pytest.approx(17.0):
                position, turn, _ = drive.errors(state, ego.map)
                C = np.array(state.covariance).reshape(6, 6)
                assert np.linalg.norm(position) < 3.0
                assert np.linalg.norm(turn) < 0.03
                assert position @ np.linalg.solve(C[:3, :3], position) < chi2.ppf(0.9999, 3)
    assert sources[0.0] == "none"
    assert sources[11.5] == sources[14.5] == sources[19.0] == "imu+gnss"
    assert sources[15.5] == sources[17.0] == "imu"


def test_wheels_hold_the_course_in_an_outage(drive):
    ends = {}
    for std in (0.0, 0.4):
        for seed in range(3):
            packets = without_fixes(drive.packets(seed=20 + seed, imu_hz=50.0), 10.0, 30.0)
            ego = run(drive, packets, EgoConfig(nonholonomic_mps=std))
            position, _, _ = drive.errors(ego.state_at(drive.stamp(19.9)), ego.map)
            ends.setdefault(std, []).append(np.linalg.norm(position))
    assert np.mean(ends[0.4]) < 0.75 * np.mean(ends[0.0])


def test_any_stamp_in_the_history_has_a_pose(drive):
    ego = run(drive, drive.packets(seed=14, duration_s=12.0))
    for t in (10.7, 11.0051, 11.5, 11.98):
        state = ego.state_at(drive.stamp(t))
        assert state.extrapolated_s == 0.0
        assert (np.abs(drive.errors(state, ego.map)[0]) < 3 * drive.STD).all()
        assert np.linalg.eigvalsh(np.array(state.covariance).reshape(6, 6))[0] > 0
    ahead = ego.state_at(drive.stamp(12.49))
    assert ahead.extrapolated_s == pytest.approx(0.5)
    assert (np.abs(drive.errors(ahead, ego.map)[0]) < 3 * drive.STD).all()
    assert ahead.covariance[0] > state.covariance[0]
    assert ego.state_at(drive.stamp(20.0)).source == "none"


@pytest.mark.parametrize(
    "times", [(11.02, 11.93), (11.93, 11.02), (11.5, 11.995), (12.1, 11.9), (10.3, 11.5)]
)
def test_relative_pose(drive, times):
    ego = run(drive, drive.packets(seed=15, duration_s=12.0))
    start, end = map(drive.stamp, times)
    (T,) = ego.relative([start], end)
    p, _, R = drive.truth(np.array(times))
    poses = [from_rotation_translation(R[i].as_matrix(), p[i]) for i in (0, 1)]
    expected = inverse(poses[1]) @ poses[0]
    np.testing.assert_allclose(T[:3, :3], expected[:3, :3], atol=0.01)
    np.testing.assert_allclose(T[:3, 3], expected[:3, 3], atol=0.15 + 0.02 * abs(times[1] - times[0]) * 14)
    (back,) = ego.relative([end], start)
    np.testing.assert_allclose(back @ T, np.eye(4), atol=1e-9)
    np.testing.assert_allclose(ego.relative([end], end)[0], np.eye(4), atol=1e-12)


def test_relative_poses_of_a_sweep(drive):
    """Many stamps at once, in any order, some of them twice, before and beyond the history: as one by one."""
    ego = run(drive, drive.packets(seed=15, duration_s=12.0))
    stamps = [drive.stamp(t) for t in (11.93, 11.98, 12.03, 11.88, 11.93, 12.2, 11.905)]
    to = drive.stamp(11.93)
    together = ego.relative(stamps, to)
    assert together.shape == (7, 4, 4)
    for T, stamp in zip(together, stamps):
        np.testing.assert_allclose(T, ego.relative([stamp], to)[0], atol=3e-3)
    np.testing.assert_array_equal(together[0], together[4])


def test_relative_pose_does_not_jump_with_a_fix(drive):
    """A fix that is off pulls the estimate; points seen before it are still moved by what the IMU felt."""
    ego = run(drive, drive.packets(seed=16, duration_s=12.0), EgoConfig(position_correlation_s=0.0))
    ego.push(drive.fix(11.95, (0.25, 0.25, 0.0), position_covariance=(0.01, 0, 0, 0, 0.01, 0, 0, 0, 0.01)))
    early, late = drive.stamp(11.945), drive.stamp(11.955)
    poses = []
    for state in map(ego.state_at, (early, late)):
        R = matrix_from_quaternion(state.orientation)
        poses.append(from_rotation_translation(R, np.array(state.position)))
    p, _, R = drive.truth(np.array([11.945, 11.955]))
    moved = R[1].inv().apply(p[0] - p[1])
    assert np.linalg.norm((inverse(poses[1]) @ poses[0])[:3, 3] - moved) > 0.05
    np.testing.assert_allclose(ego.relative([early], late)[0, :3, 3], moved, atol=0.005)


def test_equal_packets_give_equal_poses(drive):
    packets = drive.packets(seed=17, duration_s=5.0, delay_s=0.2)
    a, b = (run(drive, packets) for _ in range(2))
    stamp = drive.stamp(4.9)
    assert a.state_at(stamp).source == "imu+gnss"
    assert a.state_at(stamp) == b.state_at(stamp)
    # Looking does not change anything.
    c = EgoFilter(drive.RIG, EgoConfig())
    for _, packet in packets:
        c.push(packet)
        c.state_at(packet.header.stamp_ns + 1)
        c.relative([packet.header.stamp_ns], packet.header.stamp_ns - 50_000_000)
    assert c.state_at(stamp) == a.state_at(stamp)


def test_nothing_is_known_before_the_first_fix(drive):
    ego = run(drive, [(t, p) for t, p in drive.packets(duration_s=3.0) if p.header.sensor_id == "imu"])
    state = ego.state_at(drive.stamp(2.0))
    assert (state.source, state.position, state.orientation) == ("none", (0, 0, 0), (0, 0, 0, 1))
    assert ego.map is None
    np.testing.assert_array_equal(ego.relative([drive.stamp(1.0)], drive.stamp(2.0))[0], np.eye(4))


def test_history_is_bounded(drive):
    """What a fix can still reach is what is kept: history_s and the step between two anchors."""
    ego = run(drive, drive.packets(seed=18, duration_s=12.0))
    ego.push(drive.fix(10.2, sensor="second"))
    assert ego.counters == {"fix_too_late": 1}
    ego.push(drive.fix(10.6, sensor="second"))
    assert ego.counters == {"fix_too_late": 1}
