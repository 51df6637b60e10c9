"""Wheels: their speed holds the pose where fixes fail, and how far they are off is learned."""

import numpy as np
import pytest

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.ego.strapdown import VELOCITY, row
from fusion_rt.ego.wheel_speed import Rolled, WheelScale, speed_residual
from fusion_rt.messages import GnssFix, Header, WheelSpeed
from fusion_rt.rig import Wheels

NAN = float("nan")


def speed_packet(drive, t, scale=1.0, error=0.0, sensor="wheels", **fields):
    speed = float(np.linalg.norm(drive.truth(t)[1]))
    values = {"speed": scale * speed + error, **fields}
    return WheelSpeed(
        header=Header(sensor_id=sensor, frame_id=sensor, seq=0, stamp_ns=drive.stamp(t)), **values
    )


def with_wheels(drive, seed=1, scale=1.0, hz=20.0, duration_s=60.0, delay_s=0.0):
    rng = np.random.default_rng([seed, 5])
    stream = [(a, i, p) for i, (a, p) in enumerate(drive.packets(seed, duration_s=duration_s))]
    for t in np.arange(0.02, duration_s - 0.1, 1 / hz):
        stream.append((t + delay_s, -1, speed_packet(drive, t, scale, rng.normal(0, 0.05))))
    return [packet for _, _, packet in sorted(stream, key=lambda entry: entry[:2])]


def rolling_rig(drive):
    return type(drive.RIG)(gnss=drive.RIG.gnss, imus=drive.RIG.imus, wheels={"wheels": Wheels()})


def after_an_outage(drive, packets, rig):
    """The filter, and how far it is off after 20 s without fixes, m."""
    ego = EgoFilter(rig, EgoConfig())
    for packet in packets:
        late = packet.header.stamp_ns >= drive.stamp(38.0)
        if not (late and isinstance(packet, GnssFix)) and packet.header.stamp_ns < drive.stamp(58.0):
            ego.push(packet)
    return ego, float(np.linalg.norm(drive.errors(ego.state_at(drive.stamp(57.95)), ego.map)[0][:2]))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_wheels_hold_the_pose_without_fixes(drive, seed):
    rig, packets = rolling_rig(drive), with_wheels(drive, seed, scale=0.98)
    ego, off = after_an_outage(drive, packets, rig)
    _, without = after_an_outage(drive, [p for p in packets if not isinstance(p, WheelSpeed)], rig)
    assert off < 0.7 * without
    assert off < 5.0
    assert ego.counters["speed_gated"] < 5


def test_speeds_that_come_late_are_used_at_their_time(drive):
    rig = rolling_rig(drive)
    punctual = after_an_outage(drive, with_wheels(drive), rig)[1]
    late, off = after_an_outage(drive, with_wheels(drive, delay_s=0.15), rig)
    assert off == pytest.approx(punctual, abs=1.0)
    assert not late.counters["speed_too_late"]


def test_the_same_packets_give_the_same_pose(drive):
    rig, packets = rolling_rig(drive), with_wheels(drive, duration_s=15.0)
    states = []
    for _ in range(2):
        ego = EgoFilter(rig, EgoConfig())
        for packet in packets:
            ego.push(packet)
        states.append(ego.state_at(drive.stamp(14.5)))
    assert states[0] == states[1]


@pytest.mark.parametrize("scale", [0.97, 1.0, 1.03])
def test_the_scale_is_learned_from_fixes(scale):
    rng, learned = np.random.default_rng(3), WheelScale()
    for k in range(1200):  # two minutes at 15 m/s through a curve
        stamp, heading = k * 100_000_000, 0.002 * k
        learned.roll(stamp, 15.0 / scale * np.array([np.cos(heading), np.sin(heading), 0.0]))
        if k % 10 == 5:
            arc = 15.0 * 0.1 / 0.002 * np.array([np.sin(heading), 1 - np.cos(heading), 0.0])
            learned.fix(stamp, arc + rng.normal(0, 0.5, 3), 0.25)
    assert learned.scale == pytest.approx(scale, abs=0.004)
    assert learned.std < 0.004


def test_a_reflection_does_not_change_the_tyres():
    learned = WheelScale()
    for k in range(400):
        learned.roll(k * 100_000_000, np.array([15.0, 0, 0]))
        if k % 100 == 50:
            far = 100.0 if k == 250 else 0.0
            learned.fix(k * 100_000_000, np.array([1.5 * k + far, 0, 0]), 0.25)
    assert learned.scale == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("velocity", "speed"), [((12.0, 5.0, -0.5), 13.2), ((0.1, 0.2, 0.0), 0.4), ((0.05, 0.1, 0.0), 0.0)]
)
def test_the_jacobian_is_the_residual_s_slope(velocity, speed):
    def at(v):
        return row((0.0, 0.0, 0.0), tuple(v), (0.0, 0.0, 0.6, 0.8), (0.0,) * 6, (0.0,) * 3, (0.0,) * 3)

    told = Rolled(0, speed, 0.1, 0.01)
    residual, H = speed_residual(at(velocity), told)
    for k in range(3):
        moved = np.array(velocity) + 1e-6 * np.eye(3)[k]
        slope = (residual - speed_residual(at(moved), told)[0]) / 1e-6
        np.testing.assert_allclose(slope, H[:, 3 + k], atol=1e-5)
    assert not H[:, :3].any()
    assert not H[:, 6:].any()
    assert at(velocity)[VELOCITY] == velocity


def test_slipping_wheels_are_refused(drive):
    ego = EgoFilter(rolling_rig(drive), EgoConfig())
    for packet in with_wheels(drive, duration_s=20.0):
        spinning = isinstance(packet, WheelSpeed) and packet.header.stamp_ns > drive.stamp(10.0)
        ego.push(
            speed_packet(drive, (packet.header.stamp_ns - drive.stamp(0)) / 1e9, error=8.0)
            if spinning
            else packet
        )
    assert ego.counters["speed_gated"] > 50
    assert np.linalg.norm(drive.errors(ego.state_at(drive.stamp(19.5)), ego.map)[0]) < 1.5


def test_what_cannot_be_a_speed_is_counted(drive):
    rig = rolling_rig(drive)
    ego = EgoFilter(rig, EgoConfig())
    ego.push(speed_packet(drive, 0.0))
    assert ego.counters == {"speed_without_imu": 1}
    ego = EgoFilter(rig, EgoConfig())
    for _, packet in drive.packets(duration_s=3.0):
        ego.push(packet)
    before = ego.state_at(drive.stamp(2.9))
    for wrong in (NAN, float("inf"), 200.0):
        ego.push(speed_packet(drive, 2.8, speed=wrong))
    ego.push(speed_packet(drive, 2.8, std=NAN))
    ego.push(speed_packet(drive, 2.8, sensor="another"))
    assert ego.counters == {"speed_malformed": 4}
    assert ego.state_at(drive.stamp(2.9)) == before
    ego.push(speed_packet(drive, 2.8))
    ego.push(speed_packet(drive, 2.8))
    ego.push(speed_packet(drive, 2.5))
    assert ego.counters == {"speed_malformed": 4, "speed_duplicate": 1, "speed_out_of_order": 1}
