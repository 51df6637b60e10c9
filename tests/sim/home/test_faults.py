"""Each way in which a household sensor fails."""

import math

import msgspec
import numpy as np
import pytest

from fusion_rt.home_packets import HomeReading, RadarPoints
from fusion_rt.sim.home.config import HomeSimConfig, Routine
from fusion_rt.sim.home.faults import Fault, drawn
from fusion_rt.sim.home.home import simulate

PLAIN = HomeSimConfig(
    hours=0.03, start="2026-03-02T18:00:00Z", routine=Routine(people=2, pace=20),
    sensors_off=("living_camera", "microphone", "distance", "bedroom_radar", "living_radar"),
)  # fmt: skip
FROM_S, TO_S = 20.0, 80.0


@pytest.fixture(scope="module")
def world(flat):
    """A home without faults; only its faults are changed, since nothing else depends on them."""
    return simulate(flat, PLAIN, 1)


def sent(world, sensor, kind, **more):
    """(what comes without the fault, what comes with it) of one sensor."""
    fault = Fault(sensor=sensor, kind=kind, from_s=FROM_S, to_s=TO_S, **more)
    world.faults = ()
    before = [p for p in world.packets() if p.header.sensor_id == sensor]
    world.faults = (fault,)
    after = [(at, p) for at, p in world.arrivals() if p.header.sensor_id == sensor]
    world.faults = ()
    return before, after


def within(world, packet):
    since_s = (packet.header.stamp_ns - world.config.start_ns) * 1e-9
    return FROM_S <= since_s < TO_S


@pytest.mark.parametrize("sensor", ["cooker_power", "kitchen_radar"])
def test_lost(world, sensor):
    before, after = sent(world, sensor, "lost")
    assert [p.header.seq for _, p in after] == [p.header.seq for p in before if not within(world, p)]
    assert len(after) < len(before)


def test_unavailable_is_nan_of_a_reading_and_nothing_of_others(world):
    before, after = sent(world, "cooker_power", "unavailable")
    assert len(before) == len(after)
    for plain, (_, packet) in zip(before, after):
        assert math.isnan(packet.value) == within(world, plain)
    before, after = sent(world, "kitchen_radar", "unavailable")
    assert len(after) == sum(not within(world, p) for p in before)


def test_stuck_says_again_what_it_said(world):
    before, after = sent(world, "kitchen_radar", "stuck")
    last = [p for p in before if not within(world, p) and p.header.stamp_ns < world.config.start_ns + 20e9][
        -1
    ]
    for plain, (_, packet) in zip(before, after, strict=True):
        assert packet.header == plain.header
        expected = last if within(world, plain) else plain
        np.testing.assert_array_equal(packet.xyz, expected.xyz)


def test_noisy_keeps_shapes_and_stamps(world):
    for sensor in ("kitchen_radar", "cooker_power", "bedroom_air_co2"):
        before, after = sent(world, sensor, "noisy")
        changed = 0
        for plain, (_, packet) in zip(before, after, strict=True):
            assert packet.header == plain.header
            if isinstance(packet, RadarPoints):
                assert packet.xyz.shape == plain.xyz.shape
                changed += not np.array_equal(packet.xyz, plain.xyz)
            else:
                assert isinstance(packet, HomeReading)
                changed += packet.value != plain.value
        assert changed > 0


def test_late_comes_later_with_its_old_stamp(world):
    before, after = sent(world, "cooker_power", "late", delay_s=7.0)
    assert sorted(p.header.seq for _, p in after) == [p.header.seq for p in before]
    for at_ns, packet in after:
        assert at_ns - packet.header.stamp_ns == (7 * 10**9 if within(world, packet) else 0)
    assert [at for at, _ in after] == sorted(at for at, _ in after)


def test_replayed_comes_twice(world):
    before, after = sent(world, "cooker_power", "replayed", delay_s=30.0)
    twice = sum(within(world, p) for p in before)
    assert twice > 0
    assert len(after) == len(before) + twice


def test_the_future_is_ahead(world):
    before, after = sent(world, "kitchen_radar", "future", delay_s=100.0)
    for plain, (at_ns, packet) in zip(before, after, strict=True):
        ahead = 100 * 10**9 if within(world, plain) else 0
        assert packet.header.stamp_ns == plain.header.stamp_ns + ahead
        assert at_ns == plain.header.stamp_ns


def test_faults_are_drawn_by_their_rate(flat):
    sensors, rng = list(flat.sensors), np.random.default_rng(0)
    spells = drawn(sensors, ("stuck", "lost"), 2.0, 86400.0, rng)
    assert len(spells) == pytest.approx(2 * len(sensors), rel=0.35)
    assert {spell.kind for spell in spells} == {"stuck", "lost"}
    assert all(60 <= spell.to_s - spell.from_s <= 3600 for spell in spells)
    config = msgspec.structs.replace(PLAIN, random_faults_per_day=200.0, random_faults=("lost",))
    assert {fault.kind for fault in simulate(flat, config, 1).faults} == {"lost"}
