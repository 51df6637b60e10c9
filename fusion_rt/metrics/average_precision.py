"""Precision over recall, and its mean at 40 recalls.

AP|R40 = 1/40 sum over r in {1/40, ..., 1} of the best precision at a recall of r or more (Simonelli et al.,
Disentangling Monocular 3D Object Detection, 2019; KITTI's benchmark since then). KITTI's development kit
samples that curve at no more scores than it has hits, which for fewer than a hundred objects or so comes out
far too low: ten objects, all found, nothing else: 22.5 %. `devkit_average_precision` is that number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_rt.metrics.matching import FN, FP, TP, Outcome
from fusion_rt.transforms import Array

RECALLS = np.arange(1, 41) / 40


class Curve:
    """Counts over all frames as the smallest score shown goes down."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self._outcomes = outcomes
        self._first = np.array([o.counts[0] for o in outcomes], np.int64).reshape(-1, 4)
        scores = np.concatenate([np.zeros(0), *(o.scores for o in outcomes)])
        steps = np.concatenate([np.zeros((0, 4), np.int64), *(np.diff(o.counts, axis=0) for o in outcomes)])
        frame = np.repeat(np.arange(len(outcomes)), [len(o.scores) for o in outcomes])
        order = np.argsort(-scores, kind="stable")
        self._steps, self._frame = steps[order], frame[order]
        # One score of several frames is one point of the curve: its last step.
        self._ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
        self.scores = scores[order][self._ends]

    def totals(self, weights: Array | None = None) -> Array:
        """(k, 4) counts with each of `scores` (k,) as the smallest shown; weights (frames,) repeat frames."""
        if weights is None:
            weights = np.ones(len(self._outcomes), np.int64)
        summed = np.cumsum(self._steps * weights[self._frame, None], axis=0)
        totals: Array = summed[self._ends] + weights @ self._first
        return totals

    def at(self, score: float) -> Array:
        """(frames, 4) counts of each frame with what reaches the score."""
        shown = [int((o.scores >= score).sum()) for o in self._outcomes]
        counts = [o.counts[n] for o, n in zip(self._outcomes, shown)]
        return np.array(counts, np.int64).reshape(-1, 4)


def average_precision(totals: Array) -> float:
    """AP|R40, 0..1, of a curve's totals (k, 4)."""
    found, relevant = totals[:, TP], totals[:, TP] + totals[:, FN]
    recall = found / np.maximum(relevant, 1)
    precision = found / np.maximum(found + totals[:, FP], 1)
    order = np.argsort(-recall, kind="stable")
    best = np.maximum.accumulate(np.concatenate([[0.0], precision[order]]))
    reached = np.searchsorted(-recall[order], -RECALLS + 1e-9, side="right")  # points at recall r or more
    return float(best[reached].mean())


def devkit_average_precision(curve: Curve, outcomes: Sequence[Outcome]) -> float | None:
    """The mean as KITTI's development kit samples it, 0..1; None where there are no objects."""
    objects = sum(o.objects for o in outcomes)
    if objects == 0:
        return None
    hits = np.sort(np.concatenate([np.zeros(0), *(o.hit_scores for o in outcomes)]))[::-1]
    wanted = np.array(recall_scores(hits, objects))
    totals = curve.totals()[np.searchsorted(-curve.scores, -wanted, side="right") - 1]
    precision = np.zeros(len(RECALLS) + 1)
    precision[: len(wanted)] = totals[:, TP] / np.maximum(totals[:, TP] + totals[:, FP], 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best[1:].mean())


def recall_scores(hits: Array, objects: int) -> list[float]:
    """The scores, 41 at most, at which recall comes nearest to 0, 1/40, ..., 1; hits (h,) fall."""
    chosen: list[float] = []
    recall, last = 0.0, len(hits) - 1
    for i, score in enumerate(hits):
        here = (i + 1) / objects
        following = (i + 2) / objects if i < last else here
        if following - recall < recall - here and i < last:
            continue
        chosen.append(float(score))
        recall += 1 / len(RECALLS)
    return chosen[: len(RECALLS) + 1]
