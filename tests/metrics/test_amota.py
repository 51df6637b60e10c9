"""Average MOTA, by hand."""

import numpy as np
import pytest

from fusion_rt.metrics.amota import RECALLS, TrackedMoment, amota, matched


def moment(true, ours, counts=None):
    """true, ours: number -> x; ours with a score, too."""
    return TrackedMoment(
        true=np.array([(x, 0.0) for x in true.values()]).reshape(-1, 2),
        true_ids=tuple(true),
        counts=np.ones(len(true), bool) if counts is None else np.array(counts),
        ours=np.array([(x, 0.0) for x, _ in ours.values()]).reshape(-1, 2),
        our_ids=tuple(ours),
        scores=np.array([score for _, score in ours.values()]),
    )


def test_perfect_tracks():
    drive = [moment({1: 0.0, 2: 10.0}, {5: (0.1, 0.9), 6: (10.2, 0.8)})] * 4
    assert amota([drive], 2.0) == pytest.approx(1.0)


def test_half_of_the_objects_are_never_found():
    """Recalls to one half are perfect, those beyond are never reached."""
    drive = [moment({1: 0.0, 2: 10.0}, {5: (0.0, 0.9)})] * 4
    assert amota([drive], 2.0) == pytest.approx(np.mean(RECALLS <= 0.5))


def test_a_sure_false_track_costs_at_every_recall():
    """A false box for every two that are found: 1 - 4 / 8."""
    drive = [moment({1: 0.0, 2: 10.0}, {5: (0.0, 0.5), 6: (10.0, 0.5), 7: (30.0, 0.9)})] * 4
    assert amota([drive], 2.0) == pytest.approx(0.5)


def test_an_unsure_false_track_costs_nothing_before_it_is_taken_in():
    drive = [moment({1: 0.0}, {5: (0.0, 0.9), 7: (30.0, 0.2)})] * 4
    assert amota([drive], 2.0) == pytest.approx(1.0)


def test_a_switch_is_an_error():
    drive = [moment({1: 0.0}, {5: (0.0, 0.9)})] * 2 + [moment({1: 0.0}, {6: (0.0, 0.9)})] * 2
    assert amota([drive], 2.0) == pytest.approx(0.75)
    # Numbers of different drives are not each other's.
    assert amota([drive[:2], drive[2:]], 2.0) == pytest.approx(1.0)


def test_what_does_not_count():
    drive = [moment({1: 0.0}, {}, counts=[False])] * 3
    assert amota([drive], 2.0) is None
    assert amota([], 2.0) is None
    # It may be found without being wrong.
    drive = [moment({1: 0.0, 2: 10.0}, {5: (0.0, 0.9), 6: (10.0, 0.9)}, counts=[True, False])] * 3
    assert amota([drive], 2.0) == pytest.approx(1.0)


def test_as_many_as_can_be_matched():
    true, ours = np.array([(0.0, 0), (1.0, 0)]), np.array([(1.1, 0), (2.5, 0)])
    assert matched(true, ours, 2.0) == {0: 0, 1: 1}
    assert matched(true, ours[:0], 2.0) == {}
