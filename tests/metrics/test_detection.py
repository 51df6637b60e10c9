"""Average precision: by hand, and against the development kit's matching written down once more, plainly."""

import numpy as np
import pytest

from fusion_rt.logs.kitti_object import Label
from fusion_rt.metrics.average_precision import (
    Curve,
    average_precision,
    devkit_average_precision,
    recall_scores,
)
from fusion_rt.metrics.boxes import overlaps
from fusion_rt.metrics.detection import count_objects, judge, judge_drawn, mean_overlap
from fusion_rt.metrics.kitti import DIFFICULTIES, boxes, frame_boxes
from fusion_rt.metrics.matching import FN, FP, TP, FrameBoxes, match

MODERATE = DIFFICULTIES[1]


def at(*xs):
    """Boxes of a car in a row, 10 m apart."""
    return np.array([[10.0 * x, 0, 0, 4, 2, 1.5, 0] for x in xs], float).reshape(-1, 7)


def frame(truth, found, scores, *, ignored=None, found_ignored=None, sheltered=None):
    n, m = len(truth), len(found)
    return FrameBoxes(
        truth=truth,
        truth_ignored=np.zeros(n, bool) if ignored is None else np.array(ignored, bool),
        found=found,
        scores=np.array(scores, float),
        found_ignored=np.zeros(m, bool) if found_ignored is None else np.array(found_ignored, bool),
        sheltered=np.zeros(m, bool) if sheltered is None else np.array(sheltered, bool),
    )


def ap(*frames, threshold=0.5):
    return judge(frames, label="car", threshold=threshold)[0]


def test_all_found_and_nothing_else():
    level = ap(frame(at(1, 2, 3), at(1, 2, 3), [0.9, 0.8, 0.7]), frame(at(5), at(5), [0.6]))
    assert level.ap.value == 1.0
    assert (level.tp, level.fp, level.fn) == (4, 0, 0)
    assert level.precision.value == level.recall.value == level.f1.value == 1.0


def test_half_found():
    level = ap(frame(at(1, 2, 3, 4), at(1, 2), [0.9, 0.8]))
    assert level.ap.value == pytest.approx(0.5)  # precision 1 up to a recall of a half
    assert (level.recall.value, level.precision.value) == (0.5, 1.0)
    assert level.f1.value == pytest.approx(2 / 3)


def test_a_false_alarm_above_and_one_below():
    above = ap(frame(at(1, 2), at(7, 1, 2), [0.95, 0.9, 0.8]))
    # Recall 1/2 at precision 1/2, recall 1 at 2/3: the better one counts for all smaller recalls.
    assert above.ap.value == pytest.approx(2 / 3)
    below = ap(frame(at(1, 2), at(1, 2, 7), [0.9, 0.8, 0.3]))
    assert below.ap.value == 1.0
    assert (below.tp, below.fp, below.fn) == (2, 0, 0)  # it does not reach the working point


def test_a_second_detection_of_one_object_is_a_false_alarm():
    assert (lambda level: (level.tp, level.fp))(ap(frame(at(1), at(1, 1), [0.9, 0.8]))) == (1, 1)


def test_what_is_ignored_counts_neither_way():
    level = ap(frame(at(1, 2), at(1, 2), [0.9, 0.8], ignored=[False, True]))
    assert (level.tp, level.fp, level.fn, level.ap.value) == (1, 0, 0, 1.0)
    level = ap(frame(at(1), at(1, 7), [0.9, 0.8], found_ignored=[False, True]))
    assert (level.tp, level.fp, level.fn) == (1, 0, 0)
    level = ap(frame(at(1), at(1, 7), [0.9, 0.8], sheltered=[False, True]))
    assert (level.fp, level.sheltered) == (0, 1)


def test_nothing_at_all():
    level = ap(frame(at(), at(), []))
    assert level.ap.value is None
    assert level.precision.value is None
    missed = ap(frame(at(1), at(), []))
    assert (missed.ap.value, missed.recall.value, missed.fn) == (0.0, 0.0, 1)
    assert count_objects([frame(at(1, 2), at(), [], ignored=[True, False])]) == 1


def test_the_mean_overlap_is_of_the_objects_that_count():
    # Cars of 4 m: found exactly, found a metre aside (3 of 5 m are shared), missed, and ignored.
    some = frame(at(0, 2), at(0, 2.1), [0.9, 0.1])
    others = frame(at(4, 6), at(6), [0.9], ignored=[False, True])
    assert mean_overlap([some, others]) == pytest.approx((1 + 3 / 5 + 0) / 3)
    assert mean_overlap([frame(at(), at(3), [0.9])]) is None


def test_intervals_hold_the_value_and_are_seeded():
    rng = np.random.default_rng(2)
    frames = [frame(at(1, 2), at(1, 7), [0.9, rng.random()]) for _ in range(12)]
    one, two = ap(*frames), ap(*frames)
    assert one == two
    assert one.ap.low <= one.ap.value <= one.ap.high


def gains(more, less):
    mine, theirs = (judge_drawn(frames, label="car", threshold=0.5).draws for frames in (more, less))
    return [a.over(b) for a, b in zip(mine, theirs, strict=True)]


def test_gains_by_hand():
    some = [frame(at(1, 2), at(1), [0.9]), frame(at(3, 4), at(3), [0.8])]
    all_found = [frame(at(1, 2), at(1, 2), [0.9, 0.7]), frame(at(3, 4), at(3, 4), [0.8, 0.6])]
    for gain in gains(all_found, some):
        # Half of the objects of each frame, whichever are drawn.
        assert (gain.value, gain.low, gain.high) == pytest.approx((0.5, 0.5, 0.5))
    assert [g.value for g in gains(some, all_found)] == [-0.5] * 4
    nothing = [frame(at(), at(), [])]
    assert [g.value for g in gains(nothing, nothing)] == [None] * 4


def test_what_is_hard_for_both_widens_no_gain():
    """Six objects that neither finds, in half of the frames; in all one that only the first finds."""
    rng = np.random.default_rng(3)
    truths = [at(1, 2, 3, *range(20, 20 + 6 * int(rng.integers(2)))) for _ in range(60)]
    less = [frame(truth, at(1, 2), [0.9, 0.8]) for truth in truths]
    more = [frame(truth, at(1, 2, 3), [0.9, 0.8, 0.7]) for truth in truths]
    gain, alone = gains(more, less)[0], ap(*more).ap
    assert gain.value == pytest.approx(alone.value - ap(*less).ap.value)
    assert 0 < gain.low <= gain.value <= gain.high
    assert gain.high - gain.low < 0.6 * (alone.high - alone.low)


def test_recall_scores_by_hand():
    # Four objects, all hit: each hit moves recall by ten fortieths, so each is taken once.
    assert recall_scores(np.array([0.9, 0.8, 0.7, 0.6]), 4) == [0.9, 0.8, 0.7, 0.6]
    many = recall_scores(np.linspace(1, 0, 400), 400)
    assert len(many) == 41
    assert many == sorted(many, reverse=True)


def plain_counts(f, iou, least, threshold):
    """evaluate_object.cpp, computeStatistics, for one threshold: TP, FP, FN."""
    taken = [False] * len(f.found)
    tp = fp = fn = 0
    for i in range(len(f.truth)):
        best, found_ignored, overlap = -1, False, 0.0
        for j in range(len(f.found)):
            if taken[j] or f.scores[j] < threshold or iou[i, j] <= least:
                continue
            if not f.found_ignored[j] and (iou[i, j] > overlap or found_ignored):
                best, overlap, found_ignored = j, iou[i, j], False
            elif f.found_ignored[j] and best < 0:
                best, found_ignored = j, True
        if best < 0:
            fn += not f.truth_ignored[i]
        else:
            taken[best] = True
            tp += not f.truth_ignored[i] and not f.found_ignored[best]
    for j in range(len(f.found)):
        fp += not taken[j] and not f.found_ignored[j] and f.scores[j] >= threshold
    return tp, fp, fn


def test_matching_against_the_plain_one():
    rng = np.random.default_rng(11)
    frames = []
    for _ in range(40):
        n, m = rng.integers(0, 6), rng.integers(0, 9)
        truth = at(*rng.integers(0, 3, n)) + np.pad(rng.normal(0, 0.6, (n, 2)), ((0, 0), (0, 5)))
        found = at(*rng.integers(0, 3, m)) + np.pad(rng.normal(0, 0.6, (m, 2)), ((0, 0), (0, 5)))
        scores = rng.integers(1, 6, m) / 5  # with ties
        frames.append(
            frame(truth, found, scores, ignored=rng.random(n) < 0.3, found_ignored=rng.random(m) < 0.2)
        )
    outcomes = [match(f, overlaps(f.truth, f.found)[0], 0.3) for f in frames]
    curve = Curve(outcomes)
    for score, total in zip(curve.scores, curve.totals()):
        plain = np.sum([plain_counts(f, overlaps(f.truth, f.found)[0], 0.3, score) for f in frames], axis=0)
        assert total[[TP, FP, FN]].tolist() == plain.tolist()
    # The mean over 40 recalls, as its formula says.
    totals = curve.totals()
    recall = totals[:, TP] / (totals[:, TP] + totals[:, FN])
    precision = totals[:, TP] / np.maximum(totals[:, TP] + totals[:, FP], 1)
    by_formula = np.mean([max(precision[recall >= r - 1e-9], default=0.0) for r in np.arange(1, 41) / 40])
    assert average_precision(totals) == pytest.approx(by_formula)
    assert 0 < by_formula < 1


def plain_development_kit(frames, least):
    """evaluate_object.cpp, eval_class: thresholds from the hits' scores, precision at each, made monotone."""
    hits, objects = [], 0
    for f in frames:
        iou, taken = overlaps(f.truth, f.found)[0], set()
        for i in range(len(f.truth)):
            objects += not f.truth_ignored[i]
            best, highest = -1, -np.inf  # here the highest score is taken, not the largest overlap
            for j in range(len(f.found)):
                if j not in taken and iou[i, j] > least and f.scores[j] > highest:
                    best, highest = j, f.scores[j]
            if best >= 0:
                taken.add(best)
                if not f.truth_ignored[i] and not f.found_ignored[best]:
                    hits.append(highest)
    hits.sort(reverse=True)
    thresholds, recall = [], 0.0
    for k, score in enumerate(hits):
        left = (k + 1) / objects
        right = (k + 2) / objects if k < len(hits) - 1 else left
        if right - recall < recall - left and k < len(hits) - 1:
            continue
        thresholds.append(score)
        recall += 1 / 40
    precision = [0.0] * 41
    for k, threshold in enumerate(thresholds[:41]):
        counts = [plain_counts(f, overlaps(f.truth, f.found)[0], least, threshold) for f in frames]
        tp, fp, _ = np.sum(counts, axis=0)
        precision[k] = tp / max(tp + fp, 1)
    return sum(max(precision[k:]) for k in range(1, 41)) / 40


def test_the_development_kits_own_number_by_hand():
    # Ten objects, all found, nothing else: ten thresholds, the first of which is recall 0.
    assert ap(frame(at(*range(10)), at(*range(10)), np.linspace(0.9, 0.5, 10))).ap_devkit == 9 / 40
    assert ap(frame(at(), at(3), [0.5])).ap_devkit is None
    assert ap(frame(at(3), at(), [])).ap_devkit == 0.0


@pytest.mark.parametrize("count", [8, 60])  # fewer and more objects than there are recalls
def test_the_development_kits_own_number_against_the_plain_one(count):
    rng = np.random.default_rng(count)
    frames = []
    for _ in range(count):
        n, m = rng.integers(1, 5), rng.integers(2, 9)
        truth = at(*rng.integers(0, 3, n)) + np.pad(rng.normal(0, 0.5, (n, 2)), ((0, 0), (0, 5)))
        found = at(*rng.integers(0, 3, m)) + np.pad(rng.normal(0, 0.5, (m, 2)), ((0, 0), (0, 5)))
        frames.append(
            frame(
                truth,
                found,
                rng.integers(1, 200, m) / 200,
                ignored=rng.random(n) < 0.2,
                found_ignored=rng.random(m) < 0.2,
            )
        )
    outcomes = [match(f, overlaps(f.truth, f.found)[0], 0.3) for f in frames]
    expected = plain_development_kit(frames, 0.3)
    assert devkit_average_precision(Curve(outcomes), outcomes) == pytest.approx(expected)
    assert 0 < expected < 1


def label(kind="Car", *, x=0.0, z=20.0, height_px=60.0, occluded=0, truncated=0.0, score=None, ry=0.0):
    return Label(
        type=kind,
        truncated=truncated,
        occluded=occluded,
        alpha=0.0,
        bbox=(100.0, 100.0, 200.0, 100.0 + height_px),
        size=(1.5, 1.6, 4.0),
        location=(x, 1.7, z),
        rotation_y=ry,
        score=score,
    )


def test_camera_axes_become_ours():
    row = boxes([label(x=2.0, z=20.0, ry=-np.pi / 2)])[0]  # driving away from us, 2 m to the right
    np.testing.assert_allclose(row, [20, -2, 0.75 - 1.7, 4.0, 1.6, 1.5, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("truth", "ignored"),
    [
        (label(), False),
        (label("Van"), True),
        (label(height_px=24.0), True),
        (label(occluded=2), True),
        (label(truncated=0.4), True),
    ],
)
def test_what_counts_as_an_object(truth, ignored):
    f = frame_boxes([truth], [label(score=0.9)], label="car", difficulty=MODERATE)
    assert f.truth_ignored.tolist() == [ignored]


def test_other_classes_small_detections_and_regions_without_labels():
    region = label("DontCare")
    found = [label(score=0.9), label("Cyclist", score=0.8), label(score=0.7, height_px=10.0)]
    f = frame_boxes([label("Cyclist"), region], found, label="car", difficulty=MODERATE)
    assert len(f.truth) == 0
    assert f.scores.tolist() == [0.9, 0.7]
    assert f.found_ignored.tolist() == [False, True]
    assert f.sheltered.tolist() == [True, True]
