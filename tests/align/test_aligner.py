"""What is accepted, what asks for an answer, and what an answer may use."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.align.aligner import AlignConfig, Aligner
from fusion_rt.errors import ConfigError
from fusion_rt.messages import GnssFix, Header, Image, ImuSample, PointCloud

START_NS = 1_700_000_000_000_000_000
MODALITIES = {"front": "camera", "top": "lidar", "imu": "imu", "gnss": "gnss"}


def packet(sensor, t, seq=0):
    header = Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=START_NS + round(t * 1e9))
    modality = MODALITIES.get(sensor, "imu")
    if modality == "lidar":
        n = np.zeros(0, np.float32)
        return PointCloud(header=header, xyz=n.reshape(0, 3), intensity=n, t=n, ring=np.zeros(0, np.uint16))
    if modality == "camera":
        return Image(header=header, height=1, width=1, encoding="mono8", data=np.zeros((1, 1), np.uint8))
    if modality == "gnss":
        return GnssFix(
            header=header, latitude_deg=0.0, longitude_deg=0.0, altitude_m=0.0, position_covariance=(1.0,) * 9
        )
    return ImuSample(header=header, specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0))


def stream(duration_s, *, rates, start_s=0.0):
    """(sensor, t) of sensors by their rates in Hz, in order of time."""
    order = list(rates)
    entries = [(start_s + k / hz, s) for s, hz in rates.items() for k in range(round(duration_s * hz))]
    return [(s, t) for t, s in sorted(entries, key=lambda e: (e[0], order.index(e[1])))]


def push_all(aligner, entries):
    """Sensors and times of the packets that asked for an answer."""
    asked = []
    for sensor, t in entries:
        verdict = aligner.push(packet(sensor, t))
        if verdict.trigger_ns is not None:
            assert verdict.trigger_ns == START_NS + round(t * 1e9)
            asked.append((sensor, round(t, 3)))
    return asked


def aligner(modalities=MODALITIES, **changes):
    return Aligner(AlignConfig(**changes), modalities)


def test_every_sweep_and_nothing_else_asks():
    asked = push_all(aligner(), stream(2.0, rates={"imu": 100, "front": 15, "top": 10, "gnss": 5}))
    assert asked == [("top", round(k / 10, 3)) for k in range(20)]


def test_configured_trigger_comes_first():
    asked = push_all(aligner(triggers=("front",)), stream(1.0, rates={"imu": 100, "front": 5, "top": 10}))
    assert asked == [("front", round(k / 5, 3)) for k in range(5)]


def test_unknown_trigger_is_refused():
    with pytest.raises(ConfigError, match="rear not in the rig, which has front, top, imu, gnss"):
        aligner(triggers=("rear",))


def test_deadline_beyond_age_is_refused():
    with pytest.raises(ConfigError, match="would expire unused"):
        AlignConfig(deadline_s=0.2, max_age_s=0.1)


def test_lost_trigger_hands_over():
    """Lidar until 1 s, camera until 2 s, then only the IMU: the tracks coast at coast_every_s."""
    both = stream(1.0, rates={"imu": 100, "front": 20, "top": 10})
    camera = stream(1.0, rates={"imu": 100, "front": 20}, start_s=1.0)
    imu = stream(1.0, rates={"imu": 100}, start_s=2.0)
    asked = push_all(aligner(), both + camera + imu)
    sensors = [sensor for sensor, _ in asked]
    changes = [i for i in range(1, len(sensors)) if sensors[i] != sensors[i - 1]]
    assert [sensors[0], *[sensors[i] for i in changes]] == ["top", "front", "imu"]
    # Lost is later than lost_after_s, found out by the next packet that may ask.
    assert 0.9 + 0.35 < asked[changes[0]][1] <= 0.9 + 0.35 + 0.05 + 1e-9
    assert 1.95 + 0.35 < asked[changes[1]][1] <= 1.95 + 0.35 + 0.02 + 1e-9
    coasting = [t for sensor, t in asked if sensor == "imu"]
    np.testing.assert_allclose(np.diff(coasting), 0.1, atol=1e-6)


def test_trigger_that_returns_asks_again():
    before = stream(1.0, rates={"imu": 100, "front": 20, "top": 10})
    without = stream(1.0, rates={"imu": 100, "front": 20}, start_s=1.0)
    after = stream(1.0, rates={"imu": 100, "front": 20, "top": 10}, start_s=2.0)
    asked = push_all(aligner(), before + without + after)
    assert {sensor for sensor, t in asked if 1.3 < t < 2.0} == {"front"}
    assert {sensor for sensor, t in asked if t > 2.0} == {"top"}


def test_lidar_that_never_comes_is_not_waited_for():
    asked = push_all(aligner(), stream(1.0, rates={"imu": 100, "front": 20}))
    assert asked[0][0] == "front"
    assert 0.35 < asked[0][1] <= 0.45


@pytest.mark.parametrize(
    ("sensor", "t", "cause"),
    [
        ("rear", 1.0, "unknown_sensor"),
        ("top", 1.0, "duplicate"),
        ("top", 2.5, "future"),
        ("front", -1.5, "late"),
        ("top", 0.95, "out_of_order"),
    ],
)
def test_drop_has_its_cause(sensor, t, cause):
    a = aligner()
    push_all(a, [("imu", 0.9), ("front", 0.98), ("top", 1.0), ("imu", 1.0)])
    verdict = a.push(packet(sensor, t))
    assert (verdict.accepted, verdict.cause, verdict.trigger_ns) == (False, cause, None)
    assert not verdict.restarted
    name = "?" if sensor == "rear" else sensor
    assert a.counters[name][cause] == 1
    # The newest packet is still the one before.
    assert a.snapshot(START_NS + 1_000_000_000).packets["top"].header.stamp_ns == START_NS + 1_000_000_000
    assert push_all(a, [("top", 1.1)]) == [("top", 1.1)]


def test_late_packet_of_another_sensor_is_taken_and_does_not_move_the_watermark():
    a = aligner()
    push_all(a, [("top", 2.0)])
    assert a.push(packet("front", 0.5)).accepted
    assert a.push(packet("imu", 3.0)).accepted
    assert a.push(packet("gnss", 4.1)).cause == "future"


@pytest.mark.parametrize("offset_s", [-3600.0, 3600.0])
def test_one_wild_clock_does_not_stop_the_rest(offset_s):
    rates = {"imu": 100, "front": 20, "top": 10}
    a, asked, wild = aligner(), [], 0
    for sensor, t in stream(3.0, rates=rates):
        if sensor == "imu" and t >= 1.0:
            wild += 1
            verdict = a.push(packet("imu", t + offset_s))
            assert verdict.cause == ("future" if offset_s > 0 else "late")
        else:
            asked += push_all(a, [(sensor, t)])
    assert asked == [("top", round(k / 10, 3)) for k in range(30)]
    assert sum(n for cause, n in a.counters["imu"].items() if cause != "accepted") == wild


@pytest.mark.parametrize("offset_s", [-1.5, 0.9])
def test_clock_that_is_somewhat_wrong_does_not_take_the_trigger_away(offset_s):
    rates = {"imu": 100, "front": 20, "top": 10}
    entries = [(s, t + offset_s if s == "imu" else t) for s, t in stream(2.0, rates=rates)]
    asked = push_all(aligner(), [("top", -0.1), *entries])
    assert asked == [("top", round(k / 10, 3)) for k in range(-1, 20)]


@pytest.mark.parametrize("start_s", [-3600.0, -0.95, 3600.0])
def test_time_that_begins_anew_is_followed(start_s):
    """A log played in a loop (also a short one), or a clock that was set."""
    rates = {"imu": 100, "front": 20, "top": 10}
    a = aligner()
    push_all(a, stream(1.0, rates=rates))
    restarts, asked = 0, []
    for sensor, t in stream(2.0, rates=rates, start_s=start_s):
        verdict = a.push(packet(sensor, t))
        restarts += verdict.restarted
        if verdict.trigger_ns is not None:
            asked.append((sensor, t))
    assert restarts == 1
    assert len(asked) >= 15
    assert {sensor for sensor, _ in asked} == {"top"}


def test_restart_forgets():
    a = aligner()
    push_all(a, stream(1.0, rates={"front": 20, "top": 10, "gnss": 5}))
    verdicts = [a.push(packet(s, t)) for s, t in (("front", -500.0), ("top", -499.99))]
    assert [v.restarted for v in verdicts] == [False, True]
    snapshot = a.snapshot(START_NS - 499_900_000_000)
    assert {r.sensor_id for r in snapshot.sensors if r.status != "missing"} == {"top"}


def test_single_sensor_is_followed_when_it_insists():
    a = aligner({"top": "lidar"})
    push_all(a, stream(1.0, rates={"top": 10}))
    verdicts = [a.push(packet("top", 100 + k / 10)) for k in range(6)]
    assert [v.accepted for v in verdicts] == [False] * 4 + [True] * 2
    assert [v.restarted for v in verdicts] == [False] * 4 + [True, False]


def test_scattered_stamps_are_not_followed():
    a = aligner({"top": "lidar"})
    push_all(a, stream(1.0, rates={"top": 10}))
    assert not any(a.push(packet("top", 100 * (k + 1))).accepted for k in range(20))


def test_restart_with_a_sensor_gone():
    """The lidar died with the old time: the camera alone is followed when nothing has come from the lidar."""
    a = aligner()
    push_all(a, stream(1.0, rates={"front": 20, "top": 10}))
    verdicts = [a.push(packet("front", -500 + k / 20)) for k in range(60)]
    first = next(k for k, v in enumerate(verdicts) if v.restarted)
    assert first == 20  # future_tolerance_s of silence
    assert all(v.accepted for v in verdicts[first:])


def test_packets_that_overtook_each_other_do_not_restart_time():
    a = aligner({"front": "camera", "top": "lidar"})
    push_all(a, stream(1.0, rates={"front": 20, "top": 10}))
    for k in range(10):
        verdicts = [a.push(packet("front", 0.9)), a.push(packet("top", 0.85))]
        assert [v.cause for v in verdicts] == ["out_of_order", "out_of_order"]
        assert push_all(a, [("top", 1.0 + k / 10), ("front", 1.0 + k / 10)]) == [("top", 1.0 + k / 10)]


def test_snapshot_says_used_stale_and_missing():
    a = aligner()
    push_all(a, [("gnss", -1.0), ("front", 0.0), ("top", 0.2)])
    snapshot = a.snapshot(START_NS + 200_000_000)
    reports = {r.sensor_id: r for r in snapshot.sensors}
    assert {s: r.status for s, r in reports.items()} == {
        "front": "stale",  # older than max_age_s
        "top": "used",
        "imu": "missing",
        "gnss": "used",  # fixes come seldom
    }
    assert reports["front"].age_s == pytest.approx(0.2)
    assert reports["imu"].age_s is None
    assert set(snapshot.packets) == {"top", "gnss"}


def test_refused_packet_is_counted_and_forgotten():
    a = aligner()
    image = packet("front", 0.0)
    assert a.push(image).accepted
    a.refuse(image, "malformed")
    assert a.counters["front"] == {"accepted": 0, "malformed": 1}
    (report,) = (r for r in a.snapshot(START_NS).sensors if r.sensor_id == "front")
    assert (report.status, report.dropped) == ("missing", {"malformed": 1})


TIMES = st.one_of(st.floats(0, 3), st.floats(-5, 8), st.sampled_from([-1e5, 0.0, 0.5, 1e5]))


@given(st.lists(st.tuples(st.sampled_from([*MODALITIES, "rear"]), TIMES), max_size=80))
def test_what_came_is_what_was_accepted_and_dropped(entries):
    """And the watermark, as the answers show it, never goes back unless time restarts."""
    a, accepted, newest, asked = aligner(), 0, None, None
    for sensor, t in entries:
        stamp = packet(sensor, t).header.stamp_ns
        verdict = a.push(packet(sensor, t))
        accepted += verdict.accepted
        assert verdict.accepted == (verdict.cause == "")
        assert verdict.accepted or (verdict.trigger_ns is None and not verdict.restarted)
        if verdict.restarted:
            newest = asked = None
        if verdict.accepted:
            if newest is not None:
                assert newest - 2_000_000_000 <= stamp <= newest + 1_000_000_000
            newest = stamp if newest is None else max(newest, stamp)
        if verdict.trigger_ns is not None:
            assert asked is None or verdict.trigger_ns > asked
            asked = verdict.trigger_ns
        assert a._watermark == newest
    counts = a.counters
    assert sum(c["accepted"] for c in counts.values()) == accepted
    assert sum(sum(c.values()) for c in counts.values()) == len(entries)
