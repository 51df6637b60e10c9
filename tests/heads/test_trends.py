import numpy as np
import pytest

from fusion_rt.heads.hysteresis import Hysteresis
from fusion_rt.heads.trends import AVERAGES_S, CONTINUOUS, KINDS, SWITCHED, Trend

MINUTE = 60.0


def course(kind, values, dt_s=MINUTE):
    trend = Trend(KINDS[kind], (1,))
    return np.array([trend.step([v], dt_s if i else 0.0)[0] for i, v in enumerate(values)])


def test_a_shifted_sensor_says_the_same():
    values = 20 + np.sin(np.arange(200) / 9)
    shifted = course("temperature", values + 4)
    np.testing.assert_allclose(course("temperature", values), shifted, atol=1e-4)


def test_outside_air_and_darkness_are_known_from_the_start():
    """A sensor that is switched on among people does not take them for an empty room."""
    above = CONTINUOUS.index("above_minimum")
    assert course("co2", [900.0])[0, above] == pytest.approx(((900 - 420) / 30) ** 0.5)
    assert course("illuminance", [400.0])[0, above] == pytest.approx(np.log1p(400) ** 0.5)
    assert course("temperature", [23.0])[0, above] == 0


def test_running_averages_are_those_of_a_first_order_filter():
    values = np.random.default_rng(0).normal(20, 1, 100)
    averages, expected = np.full(len(AVERAGES_S), values[0]), []
    for value in values:
        keep = np.exp(-MINUTE / np.array(AVERAGES_S))
        averages = keep * averages + (1 - keep) * value
        change = (value - averages) / KINDS["temperature"].scale
        expected.append(np.sign(change) * np.sqrt(np.abs(change)))
    found = course("temperature", values)[:, 1 : 1 + len(AVERAGES_S)]
    np.testing.assert_allclose(found[1:], np.clip(expected, -6, 6)[1:], atol=1e-5)


def test_nothing_looks_into_the_future():
    values = np.random.default_rng(1).normal(50, 5, 60)
    np.testing.assert_array_equal(course("humidity", values)[:40], course("humidity", values[:40]))


def test_many_readings_at_once_are_each_alone():
    values = np.random.default_rng(2).normal(400, 30, (50, 3, 2))
    together = Trend(KINDS["co2"], (3, 2))
    rows = np.array([together.step(v, MINUTE) for v in values])
    alone = Trend(KINDS["co2"], (1,))
    np.testing.assert_array_equal(rows[:, 1, 0], [alone.step([v[1, 0]], MINUTE)[0] for v in values])


def test_a_reading_that_is_missing_says_nothing_and_the_time_passes():
    trend, other = Trend(KINDS["co2"], (1,)), Trend(KINDS["co2"], (1,))
    for value in (400.0, 410.0):
        trend.step([value], MINUTE), other.step([value], MINUTE)
    np.testing.assert_array_equal(trend.step([np.nan], MINUTE), np.zeros((1, len(CONTINUOUS)), np.float32))
    np.testing.assert_allclose(trend.step([420.0], MINUTE), other.step([420.0], 2 * MINUTE), atol=1e-6)


def test_a_motion_sensor_fades():
    rows = course("motion", [0, 1, 0, 0, 0], 30.0)
    assert rows.shape == (5, len(SWITCHED))
    assert rows[:, 0].tolist() == [0, 1, 0, 0, 0]
    since = rows[1:, -1]
    assert since[0] == 1
    assert (np.diff(since) < 0).all()
    assert rows[0, -1] == pytest.approx(0, abs=1e-6)


def test_a_sensor_that_comes_later_starts_without_a_past():
    grown = Trend(KINDS["co2"], (0,))
    grown.grow()
    first = [grown.step(np.array([v]), MINUTE) for v in (400.0, 450.0)]
    grown.grow()
    both = grown.step(np.array([470.0, 600.0]), MINUTE)
    alone, fresh = Trend(KINDS["co2"], (1,)), Trend(KINDS["co2"], (1,))
    expected = [alone.step([v], MINUTE)[0] for v in (400.0, 450.0, 470.0)]
    np.testing.assert_array_equal(first[1][0], expected[1])
    np.testing.assert_array_equal(both, [expected[2], fresh.step([600.0], MINUTE)[0]])


def test_a_decision_does_not_flap():
    decision = Hysteresis(0.6, 0.4)
    assert [decision.step(p) for p in (0.55, 0.45, 0.41, 0.4, 0.59, 0.6, 0.45)] == [
        *(True, True, True),
        *(False, False, True, True),
    ]
    with pytest.raises(ValueError, match="expected 0 <= off <= on"):
        Hysteresis(0.3, 0.4)
