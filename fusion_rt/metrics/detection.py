"""How well one class is detected: average precision, and counts at the working point, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from fusion_rt.metrics.average_precision import Curve, average_precision, devkit_average_precision
from fusion_rt.metrics.boxes import overlaps
from fusion_rt.metrics.calibration import expected_calibration_error
from fusion_rt.metrics.matching import FN, FP, SHELTERED, TP, FrameBoxes, Outcome, match
from fusion_rt.transforms import Array

# Intersection over union from which a detection is the object, strict and loose.
MIN_OVERLAPS = {"car": (0.7, 0.5), "pedestrian": (0.5, 0.25), "cyclist": (0.5, 0.25)}
RESAMPLES, SEED = 400, 0


class Estimate(Struct, frozen=True):
    """A share, 0..1, or a difference of two, and the middle 95 % of what other frames drawn from the same
    ones would give; None where there was nothing to divide by."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Level(Struct, frozen=True, kw_only=True):
    """One class at one overlap.

    space        "bev" or "3d"
    min_overlap  intersection over union from which a detection is the object
    ap           average precision at 40 recalls, over all scores
    ap_devkit    the same as KITTI's development kit samples it; too low where there are few objects
    precision, recall, f1, tp, fp, fn
                 at the working point: what reaches the model's own threshold; fp without `sheltered`
    sheltered    unmatched detections where the data set has no labels (DontCare)
    ece          calibration error of the scores at the working point, 0..1; None where nothing is shown
    """

    space: str
    min_overlap: float
    ap: Estimate
    ap_devkit: float | None
    precision: Estimate
    recall: Estimate
    f1: Estimate
    tp: int
    fp: int
    fn: int
    sheltered: int
    ece: float | None


class Drawn(NamedTuple):
    """An AP, 0..1, and what it is each time that frames are drawn again: in the same way for all that looked
    at as many frames. None where no object counts."""

    value: float | None
    again: Sequence[float | None]

    def over(self, less: Drawn) -> Estimate:
        """How much larger it is than another, of the same frames: what is hard for both widens the interval
        of either and not that of their difference."""
        return _estimate(_minus(self.value, less.value), list(map(_minus, self.again, less.again)))


class Judged(NamedTuple):
    """One class in so many frames with so many objects that count; levels and draws are BEV strict and loose,
    then 3D strict and loose."""

    frames: int
    objects: int
    levels: tuple[Level, ...]
    draws: tuple[Drawn, ...]


def judge(frames: Sequence[FrameBoxes], *, label: str, threshold: float) -> tuple[Level, ...]:
    """BEV strict and loose, then 3D strict and loose. threshold: smallest score at the working point."""
    return judge_drawn(frames, label=label, threshold=threshold).levels


def judge_drawn(frames: Sequence[FrameBoxes], *, label: str, threshold: float) -> Judged:
    """The same, to be compared with what else looked at the frames."""
    pairs = [overlaps(f.truth, f.found) for f in frames]
    weights = resamples(len(frames))
    both = [
        _level(frames, [p[k] for p in pairs], weights, space, min_overlap, threshold)
        for k, space in enumerate(("bev", "3d"))
        for min_overlap in MIN_OVERLAPS.get(label, (0.5, 0.25))
    ]
    levels, draws = zip(*both)
    return Judged(len(frames), count_objects(frames), levels, draws)


def count_objects(frames: Sequence[FrameBoxes]) -> int:
    """Objects that count."""
    return sum(int((~f.truth_ignored).sum()) for f in frames)


def mean_overlap(frames: Sequence[FrameBoxes]) -> float | None:
    """How much the objects that count overlap the detection that overlaps each most, of any score, seen from
    above: the mean, 0..1; None where none counts. Of few objects it tells more than an AP, which one object
    can change by points."""
    most = [overlaps(f.truth, f.found)[0].max(1, initial=0.0)[~f.truth_ignored] for f in frames]
    each = np.concatenate([np.zeros(0), *most])
    return float(each.mean()) if len(each) else None


def resamples(frames: int, count: int = RESAMPLES, seed: int = SEED) -> Array:
    """(count, frames) how often each frame is drawn when as many are drawn with replacement."""
    if frames == 0:
        return np.zeros((count, 0), np.int64)
    drawn = np.random.default_rng(seed).integers(frames, size=(count, frames))
    return np.stack([np.bincount(row, minlength=frames) for row in drawn])


def _level(
    frames: Sequence[FrameBoxes],
    pairs: Sequence[Array],
    weights: Array,
    space: str,
    min_overlap: float,
    threshold: float,
) -> tuple[Level, Drawn]:
    outcomes = [match(f, p, min_overlap) for f, p in zip(frames, pairs)]
    curve = Curve(outcomes)
    judged = np.concatenate([np.zeros((0, 2)), *(o.judged for o in outcomes)])
    counts = curve.at(threshold)
    counts[:, FP] -= counts[:, SHELTERED]
    total, drawn = counts.sum(0), weights @ counts
    aps = _aps(curve, outcomes, weights)
    level = Level(
        space=space,
        min_overlap=min_overlap,
        ap=_estimate(*aps),
        ap_devkit=devkit_average_precision(curve, outcomes),
        precision=_share(total, drawn, _precision),
        recall=_share(total, drawn, _recall),
        f1=_share(total, drawn, _f1),
        tp=int(total[TP]),
        fp=int(total[FP]),
        fn=int(total[FN]),
        sheltered=int(total[SHELTERED]),
        ece=expected_calibration_error(*judged[judged[:, 0] >= threshold].T),
    )
    return level, aps


def _aps(curve: Curve, outcomes: Sequence[Outcome], weights: Array) -> Drawn:
    objects = np.array([o.objects for o in outcomes], np.int64)

    def ap(w: Array) -> float | None:
        return average_precision(curve.totals(w)) if (objects * w).sum() else None

    return Drawn(ap(np.ones(len(outcomes), np.int64)), [ap(w) for w in weights])


def _minus(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None else a - b


def _precision(n: Array) -> float | None:
    shown = n[TP] + n[FP]
    return float(n[TP] / shown) if shown else None


def _recall(n: Array) -> float | None:
    wanted = n[TP] + n[FN]
    return float(n[TP] / wanted) if wanted else None


def _f1(n: Array) -> float | None:
    total = 2 * n[TP] + n[FP] + n[FN]
    return float(2 * n[TP] / total) if total else None


def _share(total: Array, drawn: Array, share: Callable[[Array], float | None]) -> Estimate:
    return _estimate(share(total), [share(n) for n in drawn])


def _estimate(value: float | None, drawn: Sequence[float | None]) -> Estimate:
    known = [v for v in drawn if v is not None]
    if value is None or not known:
        return Estimate(value)
    low, high = np.percentile(known, (2.5, 97.5))
    return Estimate(value, float(low), float(high))
