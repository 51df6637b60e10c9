"""What is not available, out of range, of another unit, replayed, stuck: refused and counted by cause."""

import math

import numpy as np
import pytest

from fusion_rt.home.intake import Intake


@pytest.fixture
def intake(plan):
    return Intake(plan, stuck_s=3600)


@pytest.mark.parametrize(
    ("packet", "cause"),
    [
        (lambda make: make.reading("nobody", 1, "motion", 1), "unknown_sensor"),
        (lambda make: make.reading("pir", 1, "contact", 1), "wrong_kind"),
        (lambda make: make.reading("co2", 1, "co2", 500.0, unit="%"), "wrong_unit"),
        (lambda make: make.reading("co2", 1, "co2", math.nan), "unavailable"),
        (lambda make: make.reading("co2", 1, "co2", 1e9), "out_of_range"),
        (lambda make: make.reading("co2", 1, "co2", math.inf), "out_of_range"),
        (lambda make: make.reading("pir", 1, "motion", 0.5), "out_of_range"),
        (lambda make: make.reading("beacon", 1, "distance", -1.0), "out_of_range"),
        (lambda make: make.radar(1, [(math.nan, 0, 0, 0)]), "not_finite"),
        (lambda make: make.radar(1, [(900.0, 0, 0, 0)]), "out_of_range"),
        (lambda make: make.radar(1, sensor="camera"), "wrong_kind"),
        (lambda make: make.sight(1, size=(1920, 1080)), "wrong_size"),
        (lambda make: make.sight(1, [(10, 10, 5, 20)]), "out_of_range"),
        (lambda make: make.sound(1, {"knock": 1.5}), "out_of_range"),
        (lambda make: make.sound(1, level=math.nan), "out_of_range"),
        (lambda make: make.imu(1, math.inf), "not_finite"),
    ],
)
def test_what_cannot_be_is_refused_and_counted(intake, make, packet, cause):
    packet = packet(make)
    assert intake.take(packet) == cause
    sensor = "unknown" if cause == "unknown_sensor" else packet.header.sensor_id
    assert intake.counters == {sensor: {cause: 1}}
    assert all(history.status(make.stamp(1)) == "missing" for history in intake.histories.values())


def test_a_packet_twice_counts_once(intake, make):
    packet = make.reading("co2", 1, "co2", 500.0)
    assert [intake.take(packet), intake.take(packet)] == [None, "replayed"]
    assert intake.take(make.reading("co2", 0.5, "co2", 500.0)) == "replayed"


def test_not_available_takes_the_sensor_out_until_it_speaks_again(intake, make):
    now = make.stamp(3)
    intake.take(make.reading("co2", 1, "co2", 500.0))
    assert intake.histories["co2"].status(now) == "used"
    intake.take(make.reading("co2", 2, "co2", math.nan))
    assert intake.histories["co2"].status(now) == "missing"
    intake.take(make.reading("co2", 3, "co2", 510.0))
    assert intake.histories["co2"].status(now) == "used"


def test_staleness_is_of_the_kind_and_of_the_period(intake, make):
    intake.take(make.reading("co2", 0, "co2", 500.0))
    intake.take(make.radar(0))
    intake.take(make.reading("pir", 0, "motion", 0))
    states = {
        t: [intake.histories[s].status(make.stamp(t)) for s in ("radar", "co2", "pir")] for t in (0.4, 2, 200)
    }
    assert states == {
        0.4: ["used", "used", "used"],
        2: ["stale", "used", "used"],
        200: ["stale", "stale", "used"],
    }


def test_motion_without_a_pause_for_an_hour_is_stuck(intake, make):
    for minute in range(0, 90):
        intake.take(make.reading("pir", 60 * minute, "motion", 1))
    assert intake.histories["pir"].status(make.stamp(60 * 50)) == "used"
    assert intake.histories["pir"].status(make.stamp(60 * 89)) == "stale"


def test_equal_frames_again_and_again_are_stuck_and_empty_ones_are_not(intake, make):
    point = [(1.0, 0.0, 0.0, 0.3)]
    causes = [intake.take(make.radar(0.1 * i, point)) for i in range(40)]
    assert causes == [None] * 25 + ["stuck"] * 15
    assert intake.counters["radar"]["stuck"] == 15
    moved = [(1.0, 0.01, 0.0, 0.3)]
    assert intake.take(make.radar(5.0, moved)) is None
    assert [intake.take(make.radar(6 + 0.1 * i)) for i in range(40)] == [None] * 40


def test_unknown_sensors_take_no_memory_of_their_own(intake, make):
    for i in range(1000):
        intake.take(make.reading(f"sensor_{i}", 1, "motion", 1))
    assert intake.counters == {"unknown": {"unknown_sensor": 1000}}


def test_beacons_of_a_receiver_are_bounded(intake, make):
    causes = [intake.take(make.reading("beacon", 1, "distance", 2.0, entity=f"tag_{i}")) for i in range(40)]
    assert causes == [None] * 32 + ["too_many_beacons"] * 8


def test_radar_points_arrive_in_the_home_frame(intake, make):
    intake.take(make.radar(1, [(2.0, 0.5, -0.3, -0.7)]))
    ((_, told),) = intake.histories["radar"].frames
    np.testing.assert_allclose(told[0], [2.2, 2.0, 1.2, -0.7, 0.75], atol=1e-6)
