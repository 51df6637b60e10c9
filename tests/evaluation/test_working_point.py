import numpy as np
import pytest

from fusion_rt.evaluation.working_point import _point, logistic_fit, logit
from fusion_rt.metrics.matching import FrameBoxes
from fusion_rt.models.package import ScoreFit
from fusion_rt.perception import sigmoid


def test_the_fit_is_what_made_the_hits():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, 20000)
    gain, offset = logistic_fit(x, rng.random(len(x)) < sigmoid(1.7 * x - 0.6))
    assert (gain, offset) == pytest.approx((1.7, -0.6), abs=0.08)


def test_what_a_threshold_parts_gives_a_finite_fit():
    gain, offset = logistic_fit(np.array([-1.0, -0.5, 0.5, 1.0]), np.array([0, 0, 1, 1]))
    assert 1 < gain < 100
    assert abs(offset) < 1


def frames(scores, hits):
    """One box a frame, on its object or far from it; every frame has an object."""
    box = np.array([[10.0, 0, 1, 4, 2, 1.5, 0]])
    return [
        FrameBoxes(
            truth=box,
            truth_ignored=np.zeros(1, bool),
            found=box + (0 if hit else 30) * np.eye(7)[:1],
            scores=np.array([score]),
            found_ignored=np.zeros(1, bool),
            sheltered=np.zeros(1, bool),
        )
        for score, hit in zip(scores, hits)
    ]


def test_scores_that_are_too_modest_are_raised():
    rng = np.random.default_rng(1)
    true = rng.uniform(0.02, 0.98, 3000)
    modest = sigmoid(0.5 * logit(true) - 1.0)
    point = _point("car", frames(modest, rng.random(3000) < true), ScoreFit(), 0.3)
    assert (point.fit.gain, point.fit.offset) == pytest.approx((2.0, 2.0), abs=0.25)
    assert point.ece < 0.03 < 0.1 < point.ece_before
    assert 0.25 < point.threshold < 0.42  # where a box is worth half an object that is missed
    # Once they are probabilities, nothing is left to do.
    again = _point("car", frames(true, rng.random(3000) < true), point.fit, point.threshold)
    assert again.fit.gain == pytest.approx(point.fit.gain, rel=0.1)
    assert again.fit.offset == pytest.approx(point.fit.offset, abs=0.1)


@pytest.mark.parametrize("hits", [[], [True, True], [False, False]])
def test_a_class_that_tells_nothing_stays_as_it_is(hits):
    before = ScoreFit(gain=1.2, offset=0.3)
    point = _point("car", frames([0.5] * len(hits), hits), before, 0.4)
    assert (point.fit, point.threshold) == (before, 0.4)
