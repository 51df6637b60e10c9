import numpy as np
import pytest
from scipy import stats

from fusion_rt.evaluation.home_recordings.figures import f1, rate_per_day, resampled, share


@pytest.mark.parametrize(("hits", "of"), [(0, 12), (12, 12), (7, 9), (480, 500)])
def test_share_has_wilsons_interval(hits, of):
    expected = stats.binomtest(hits, of).proportion_ci(method="wilson")
    found = share(hits, of)
    assert (found.value, found.low, found.high) == pytest.approx(
        (hits / of, expected.low, expected.high), abs=1e-6
    )
    assert share(0, 0).value is None


@pytest.mark.parametrize("events", [1, 3, 10])
def test_rates_have_the_exact_poisson_interval(events):
    found = rate_per_day(events, hours=2.0)
    low, high = stats.chi2.ppf(0.025, 2 * events) / 2 * 12, stats.chi2.ppf(0.975, 2 * events + 2) / 2 * 12
    assert (found.value, found.low, found.high) == pytest.approx((events * 12, low, high), rel=1e-6)


def test_no_event_in_ten_minutes_does_not_show_one_a_day():
    found = rate_per_day(0, hours=1 / 6)
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(stats.chi2.ppf(0.95, 2) / 2 * 6 * 24, rel=1e-6)
    assert rate_per_day(0, hours=0).value is None


def test_blocks_are_drawn_again():
    blocks = [np.zeros(10), np.ones(10)] * 10
    found = resampled(blocks, lambda some: float(np.mean(np.concatenate(some))))
    assert found.value == 0.5
    assert 0.2 < found.low < 0.4 < 0.6 < found.high < 0.8
    assert resampled(blocks[:1], lambda some: 1.0).low is None


def test_f1():
    assert f1(np.array([1, 1, 0, 0]) > 0, np.array([1, 0, 1, 0]) > 0) == 0.5
    assert f1(np.zeros(3, bool), np.zeros(3, bool)) is None
