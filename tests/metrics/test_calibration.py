import numpy as np
import pytest

from fusion_rt.metrics.calibration import expected_calibration_error
from fusion_rt.metrics.matching import FrameBoxes, match


def test_scores_that_are_probabilities_have_no_error():
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=200_000)
    assert expected_calibration_error(scores, rng.uniform(size=len(scores)) < scores) < 0.005


def test_by_hand():
    """Two in one bin, of which one is a hit; two in another, both wrong."""
    scores, hits = np.array([0.25, 0.25, 0.95, 0.95]), np.array([1, 0, 0, 0], bool)
    assert expected_calibration_error(scores, hits) == pytest.approx((abs(0.5 - 1) + 1.9) / 4)
    assert expected_calibration_error(np.array([1.0, 0.0]), np.array([True, False])) == 0
    assert expected_calibration_error(scores[:0], hits[:0]) is None


def test_what_is_judged_are_hits_and_false_alarms():
    """Five: a hit, one on an ignored object, one that is ignored itself, one sheltered, one wrong."""
    one = np.array([0, 0, 0, 4, 2, 1.5, 0.0])
    at = [one + [20.0 * k, 0, 0, 0, 0, 0, 0] for k in range(5)]
    frame = FrameBoxes(
        truth=np.array(at[:2]),
        truth_ignored=np.array([False, True]),
        found=np.array(at),
        scores=np.array([0.9, 0.8, 0.7, 0.6, 0.5]),
        found_ignored=np.array([False, False, True, False, False]),
        sheltered=np.array([False, False, False, True, False]),
    )
    outcome = match(frame, np.eye(2, 5), 0.5)
    np.testing.assert_array_equal(outcome.judged, [[0.9, 1], [0.5, 0]])
