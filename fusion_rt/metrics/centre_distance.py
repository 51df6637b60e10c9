"""Detection scores by the distance between centres, as nuScenes defines them (Caesar et al., CVPR 2020, and
the benchmark's rules): they say how far off what is found is, not only whether it overlaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from fusion_rt.transforms import Array, wrap_angle

DISTANCES_M = (0.5, 1.0, 2.0, 4.0)
_ERRORS_AT_M = 2.0
_RECALLS = np.linspace(0, 1, 101)
_FIRST = 11  # recalls up to 10 % do not count
_LEAST_PRECISION = 0.1


class Moment(Struct, frozen=True, kw_only=True):
    """Objects and detections of one class in one frame of reference.

    truth, found  (n, 9), (m, 9) x y z l w h yaw vx vy
    ignored       (n,) bool: a detection that is nearest to one does not count
    scores        (m,)
    """

    truth: Array
    ignored: Array
    found: Array
    scores: Array


class CentreScores(Struct, frozen=True, kw_only=True):
    """ap: mean over DISTANCES_M, 0..1. The others are means over recalls of the matches within 2 m: distance
    of the centres seen from above (m), 1 - IoU of the aligned sizes, heading (rad), velocity (m/s); None
    where recall stays below 10 %."""

    objects: int
    ap: float | None
    translation_m: float | None
    scale: float | None
    orientation_rad: float | None
    velocity_mps: float | None


def judge(moments: Sequence[Moment]) -> CentreScores:
    """One class over all moments."""
    objects = sum(int((~m.ignored).sum()) for m in moments)
    if objects == 0:
        return CentreScores(
            objects=0, ap=None, translation_m=None, scale=None, orientation_rad=None, velocity_mps=None
        )
    matches = {distance: _match(moments, distance) for distance in DISTANCES_M}
    errors = _errors(*matches[_ERRORS_AT_M], objects)
    return CentreScores(
        objects=objects,
        ap=float(np.mean([_average_precision(hits, objects) for hits, _, _ in matches.values()])),
        translation_m=errors[0],
        scale=errors[1],
        orientation_rad=errors[2],
        velocity_mps=errors[3],
    )


def _match(moments: Sequence[Moment], distance: float) -> tuple[Array, Array, Array]:
    """Of all detections that count, by falling score: hits (k,) bool and scores (k,); and of the hits the
    four errors (h, 4). Each takes the nearest free object, if that is nearer than `distance`."""
    order = sorted((-score, k, j) for k, m in enumerate(moments) for j, score in enumerate(m.scores.tolist()))
    free = [np.ones(len(m.truth), bool) for m in moments]
    hits, scores, errors = [], [], []
    for score, k, j in order:
        truth, found = moments[k].truth, moments[k].found[j]
        away = np.where(free[k], np.hypot(*(truth[:, :2] - found[:2]).T), np.inf)
        i = int(away.argmin()) if len(away) else -1
        hit = i >= 0 and away[i] < distance
        if hit:
            free[k][i] = False
            if moments[k].ignored[i]:
                continue
            errors.append(_compared(truth[i], found))
        hits.append(hit)
        scores.append(-score)
    return np.array(hits, bool), np.array(scores), np.array(errors).reshape(-1, 4)


def _compared(truth: Array, found: Array) -> tuple[float, float, float, float]:
    common = np.minimum(truth[3:6], found[3:6]).prod()
    return (
        float(np.hypot(*(truth[:2] - found[:2]))),
        float(1 - common / (truth[3:6].prod() + found[3:6].prod() - common)),
        float(abs(wrap_angle(truth[6] - found[6]))),
        float(np.hypot(*(truth[7:9] - found[7:9]))),
    )


def _average_precision(hits: Array, objects: int) -> float:
    """The mean precision above 10 % at recalls above 10 %, scaled to 0..1."""
    if not hits.any():
        return 0.0
    found = np.cumsum(hits)
    precision = np.interp(_RECALLS, found / objects, found / np.arange(1, len(hits) + 1), right=0)
    clipped = np.maximum(precision[_FIRST:] - _LEAST_PRECISION, 0)
    return min(float(clipped.mean() / (1 - _LEAST_PRECISION)), 1.0)


def _errors(hits: Array, scores: Array, errors: Array, objects: int) -> list[float | None]:
    """Each error's running mean as the score falls; of that the mean over the recalls that are reached."""
    if not hits.any():
        return [None] * 4
    score_at = np.interp(_RECALLS, np.cumsum(hits) / objects, scores, right=0)
    reached = np.flatnonzero(score_at > 0)
    last = int(reached[-1]) if len(reached) else 0
    if last < _FIRST:
        return [None] * 4
    running = np.cumsum(errors, axis=0) / np.arange(1, len(errors) + 1)[:, None]
    means: list[float | None] = []
    for column in running.T:
        at_recall = np.interp(score_at[::-1], scores[hits][::-1], column[::-1])[::-1]
        means.append(float(at_recall[_FIRST : last + 1].mean()))
    return means
