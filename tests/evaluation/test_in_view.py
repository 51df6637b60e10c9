"""Objects sorted by how much of each the image shows."""

import numpy as np

from fusion_rt.evaluation.in_view import by_share
from fusion_rt.metrics.matching import FrameBoxes


def frame(xs, *, ignored, found, scores):
    def boxes(places):
        return np.array([(x, 0, 0.8, 4.0, 1.8, 1.6, 0.0) for x in places], np.float64).reshape(-1, 7)

    return FrameBoxes(
        truth=boxes(xs),
        truth_ignored=np.array(ignored, bool),
        found=boxes(found),
        scores=np.array(scores),
        found_ignored=np.zeros(len(found), bool),
        sheltered=np.zeros(len(found), bool),
    )


def test_each_object_is_in_the_band_of_its_share():
    first = frame(
        [10, 20, 30, 40], ignored=[False, False, True, False], found=[10, 20.1, 30], scores=[0.9, 0.2, 0.9]
    )
    second = frame([15, 25], ignored=[False, False], found=[25, 25.2, 60], scores=[0.5, 0.6, 0.9])
    bands = by_share(
        [first, second],
        [np.array([0.0, 0.3, 0.7, 1.0]), np.array([0.04, 0.6])],
        label="car",
        threshold=0.4,
    )
    # Ignored: the object at 30. Below the threshold: what is at 20.
    assert [(b.objects, b.found) for b in bands] == [(2, 1), (0, 0), (1, 0), (2, 1)]
    assert bands[-1].high is None


def test_no_frames_have_no_objects():
    assert [(b.objects, b.found) for b in by_share([], [], label="car", threshold=0.4)] == [(0, 0)] * 4
