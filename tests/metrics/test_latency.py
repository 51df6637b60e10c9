import numpy as np
import pytest

from fusion_rt.messages import TracePoint
from fusion_rt.metrics.latency import Histogram, span_ms, stages_ms


def test_percentiles_agree_with_numpy_to_a_per_cent():
    values = np.random.default_rng(3).lognormal(2.0, 0.8, 20_000)
    histogram = Histogram()
    for value in values:
        histogram.add(float(value))
    got = histogram.percentiles()
    assert got.count == len(values)
    for q, ms in ((50, got.p50), (90, got.p90), (99, got.p99)):
        assert ms == pytest.approx(np.percentile(values, q, method="inverted_cdf"), rel=0.01)
    assert got.max == values.max()


def test_none_one_and_out_of_range():
    histogram = Histogram()
    assert histogram.percentiles().p50 is None
    histogram.add(7.0)
    assert histogram.percentiles().p99 == pytest.approx(7.0, rel=0.01)
    for extreme in (0.0, -1.0, 1e12):
        histogram.add(extreme)
    assert histogram.count == 4
    assert histogram.percentiles().max == 1e12


def test_spans():
    trace = (
        TracePoint("published", 1_000_000, "a"),
        TracePoint("received", 1_500_000, "a"),
        TracePoint("tracked", 9_000_000, "a"),
        TracePoint("published", 9_250_000, "a"),
        TracePoint("received", 9_000_000_000, "b"),
    )
    assert span_ms(trace) == 8.25
    assert span_ms(trace, "received", "tracked") == 7.5
    assert span_ms(trace[:1]) is None
    assert span_ms(()) is None
    assert span_ms(trace, "published", "received") is None
    assert stages_ms(trace) == {
        "published > received": 0.5,
        "received > tracked": 7.5,
        "tracked > published": 0.25,
    }


def test_a_span_across_hosts_needs_their_clocks():
    trace = (TracePoint("published", 1_000_000, "car"), TracePoint("published", 8_500_000, "desk"))
    assert span_ms(trace) is None
    ahead_ns = {"car": -2_000_000, "desk": 0}

    def known(point):
        offset = ahead_ns.get(point.host)
        return None if offset is None else point.monotonic_ns - offset

    assert span_ms(trace, local_ns=known) == pytest.approx(5.5)
    del ahead_ns["car"]
    assert span_ms(trace, local_ns=known) is None
