"""What cannot be used is counted by cause, and changes nothing."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter

NAN, INF = float("nan"), float("inf")
NOW_S = 6.0


@pytest.fixture
def ego(drive):
    """Under way: the newest sample is of 5.98 s, the newest fix of 5.813 s."""
    ego = EgoFilter(drive.RIG, EgoConfig())
    for _, packet in drive.packets(seed=1, duration_s=NOW_S, imu_hz=50.0):
        ego.push(packet)
    assert not ego.counters
    return ego


def assert_refused(ego, drive, packet, cause):
    stamp = drive.stamp(NOW_S - 0.02)
    before = ego.state_at(stamp)
    ego.push(packet)
    assert ego.counters == {cause: 1}
    assert ego.state_at(stamp) == before


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"fix_type": "none"}, "fix_none"),
        ({"altitude_m": NAN}, "fix_malformed"),
        ({"latitude_deg": NAN}, "fix_malformed"),
        ({"latitude_deg": 91.0}, "fix_malformed"),
        ({"longitude_deg": INF}, "fix_malformed"),
        ({"altitude_m": 1e300}, "fix_malformed"),
        ({"velocity_enu": (0.0, NAN, 0.0)}, "fix_malformed"),
        ({"velocity_enu": (1e200, 0.0, 0.0)}, "fix_malformed"),
        ({"velocity_std": NAN}, "fix_malformed"),
        ({"position_covariance": (NAN,) * 9}, "fix_malformed"),
        ({"position_covariance": (1e300, 0, 0, 0, 1, 0, 0, 0, 1)}, "fix_malformed"),
        ({"position_covariance": (-1.0, 0, 0, 0, 1, 0, 0, 0, 1)}, "fix_malformed"),
        ({"position_covariance": (1.0, 5, 0, 5, 1, 0, 0, 0, 1)}, "fix_malformed"),
        ({"latitude_deg": 10.0}, "fix_far"),
    ],
    ids=str,
)
def test_unusable_fix(ego, drive, changes, cause):
    assert_refused(ego, drive, drive.fix(5.95, **changes), cause)


@pytest.mark.parametrize(
    ("t", "cause"),
    [(5.813, "fix_duplicate"), (5.7, "fix_out_of_order"), (60.0, "fix_future"), (5.817, "fix_too_fast")],
)
def test_fix_of_impossible_time(ego, drive, t, cause):
    assert_refused(ego, drive, drive.fix(t), cause)


def test_unknown_receiver(ego, drive):
    packet = drive.fix(5.95)
    header = msgspec.structs.replace(packet.header, sensor_id="roof")
    assert_refused(ego, drive, msgspec.structs.replace(packet, header=header), "fix_unknown_receiver")


@pytest.mark.parametrize(
    ("force", "rate"),
    [
        ((NAN, 0, 9.8), (0, 0, 0)),
        ((0, 0, 9.8), (0, INF, 0)),
        ((1e200, 0, 9.8), (0, 0, 0)),
        ((0, 0, 9.8), (0, 0, 1e3)),
    ],
)
def test_malformed_sample(ego, drive, force, rate):
    assert_refused(ego, drive, drive.imu(6.0, force, rate), "imu_malformed")


@pytest.mark.parametrize(
    ("t", "cause"),
    [(5.98, "imu_duplicate"), (5.5, "imu_out_of_order"), (90.0, "imu_future"), (5.9801, "imu_too_fast")],
)
def test_sample_of_impossible_time(ego, drive, t, cause):
    assert_refused(ego, drive, drive.imu(t, (0, 0, 9.8), (0, 0, 0)), cause)


def test_second_imu_is_not_mixed_in(ego, drive):
    before = ego.state_at(drive.stamp(6.1))
    ego.push(drive.imu(6.0, (5, 5, 5), (1, 1, 1), sensor="spare"))
    assert ego.state_at(drive.stamp(6.1)) == before
    assert not ego.counters


def test_a_wild_stamp_does_not_end_the_estimate(drive):
    ego = EgoFilter(drive.RIG, EgoConfig())
    for t, packet in drive.packets(seed=2, duration_s=10.0):
        if packet.header.seq % 40 == 39:
            wild = msgspec.structs.replace(packet.header, stamp_ns=packet.header.stamp_ns + 3_600_000_000_000)
            ego.push(msgspec.structs.replace(packet, header=wild))
        ego.push(packet)
        if t > 3:
            assert ego.state_at(drive.stamp(t)).source == "imu+gnss"
    assert ego.counters == {"imu_future": 25, "fix_future": 1}


def test_a_clock_that_was_set_is_followed(drive):
    """Both sensors jump back by an hour: after five samples that agree, all begins anew."""
    ego, hour = EgoFilter(drive.RIG, EgoConfig()), 3_600_000_000_000
    for t, packet in drive.packets(seed=3):
        if t > 8:
            header = msgspec.structs.replace(packet.header, stamp_ns=packet.header.stamp_ns - hour)
            packet = msgspec.structs.replace(packet, header=header)
        ego.push(packet)
    assert ego.state_at(drive.stamp(19.9) - hour).source == "imu+gnss"
    assert ego.counters["imu_gap"] == 1
    assert ego.counters["imu_out_of_order"] == 4


NUMBERS = st.one_of(st.floats(), st.floats(-100, 100), st.just(0.0))


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_no_input_breaks_the_filter(drive, data):
    """Whatever comes between good packets, it neither raises nor leaves numbers that are not finite."""
    ego = EgoFilter(drive.RIG, EgoConfig())
    for i, (t, packet) in enumerate(drive.packets(seed=4, duration_s=3.0, imu_hz=20.0)):
        ego.push(packet)
        if i % 12 == 11:
            stamp_s = t + data.draw(st.floats(-5, 5))
            if data.draw(st.booleans()):
                ego.push(drive.imu(stamp_s, *[data.draw(st.tuples(*[NUMBERS] * 3)) for _ in range(2)]))
            else:
                covariance = tuple(np.diag(data.draw(st.tuples(*[NUMBERS] * 3))).flat)
                velocity = data.draw(st.none() | st.tuples(*[NUMBERS] * 3))
                ego.push(
                    drive.fix(
                        stamp_s,
                        position_covariance=covariance,
                        velocity_enu=velocity,
                        velocity_std=data.draw(st.none() | NUMBERS),
                        fix_type=data.draw(st.sampled_from(["none", "2d", "3d"])),
                    )
                )
        state = ego.state_at(drive.stamp(t))
        assert np.isfinite([*state.position, *state.orientation, *state.velocity, *state.covariance]).all()
