import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.bus.clocks import Clock, ClockEstimator, local_ns

OFFSET_NS = 123_456_789_012_345


def exchanges(rng, *, seconds, period_s=1.0, offset_ns=OFFSET_NS, drift_ppm=0.0, least_s=2e-4, queue_s=2e-3):
    """What two hosts would stamp: each way takes `least_s`, and an exponential time in queues."""
    for k in range(int(seconds / period_s)):
        t1 = round(k * period_s * 1e9) + 10**12
        there, back = least_s + rng.exponential(queue_s, 2)
        theirs = lambda t: round(t + offset_ns + (t - 10**12) * drift_ppm * 1e-6)  # noqa: E731
        t2 = t1 + there * 1e9
        t3 = t2 + 50_000
        yield t1, theirs(t2), theirs(t3), round(t3 + back * 1e9), 0


def truth(now_ns, offset_ns, drift_ppm):
    return offset_ns + (now_ns - 10**12) * drift_ppm * 1e-6


@given(st.integers(0, 10_000), st.floats(-100, 100), st.integers(-(10**15), 10**15), st.integers(1, 130))
def test_the_error_is_within_what_is_told(seed, drift_ppm, offset_ns, seconds):
    estimator = ClockEstimator()
    rng = np.random.default_rng(seed)
    for exchange in exchanges(rng, seconds=seconds, drift_ppm=drift_ppm, offset_ns=offset_ns):
        estimator.add(*exchange)
    now = exchange[3]
    clock = estimator.clock(now)
    assert abs(clock.offset_ns - truth(now, offset_ns, drift_ppm)) / 1e9 <= clock.uncertainty_s
    assert clock.exchanges == seconds


def test_the_line_finds_the_drift_through_queues():
    """30 ppm, of which a minute makes 1.8 ms; half of all round trips are longer than that."""
    estimator = ClockEstimator()
    for exchange in exchanges(np.random.default_rng(3), seconds=128, drift_ppm=30.0):
        estimator.add(*exchange)
    now = exchange[3]
    clock = estimator.clock(now)
    assert clock.drift_ppm == pytest.approx(30.0, abs=3.0)
    error_s = abs(clock.offset_ns - truth(now, OFFSET_NS, 30.0)) / 1e9
    assert error_s < 2e-4  # the mean of all would be wrong by milliseconds
    assert clock.uncertainty_s < 1.5e-3
    assert clock.round_trip_s < 2e-3


def test_one_way_is_longer():
    """Nothing can see that; but half the round trip covers it."""
    estimator = ClockEstimator()
    for k in range(60):
        t1 = k * 10**9
        estimator.add(t1, t1 + 8_000_000, t1 + 8_000_000, t1 + 8_000_000, 0)  # all 8 ms on the way there
    clock = estimator.clock(60 * 10**9)
    assert clock.offset_ns == 4_000_000
    assert clock.uncertainty_s >= 4e-3


def test_a_host_that_is_away_grows_less_certain():
    estimator = ClockEstimator()
    for exchange in exchanges(np.random.default_rng(1), seconds=60):
        estimator.add(*exchange)
    soon, late = estimator.clock(exchange[3]), estimator.clock(exchange[3] + 3600 * 10**9)
    assert late.uncertainty_s > 2 * soon.uncertainty_s


def test_exchanges_that_cannot_be_are_left_out():
    estimator = ClockEstimator()
    estimator.add(100, 1000, 900, 200, 0)
    estimator.add(200, 1000, 1000, 100, 0)
    estimator.add(100, 1000, 9000, 200, 0)
    assert estimator.clock(1000) is None


def test_their_time_as_ours():
    clock = Clock(at_ns=10**12, offset_ns=OFFSET_NS, drift_ppm=50.0)
    ours = 10**12 + 60 * 10**9
    theirs = ours + OFFSET_NS + round(60e9 * 50e-6)
    assert abs(clock.local_ns(theirs) - ours) < 1000
    assert local_ns({}, "nowhere", 5) is None
    assert local_ns({"car": clock}, "car", theirs) == clock.local_ns(theirs)
