"""Which detection is which object, by the rules of KITTI's development kit (evaluate_object.cpp).

Objects are taken in their order. Of the shown detections that overlap one enough and are free, it takes the
one that overlaps most. Ignored objects may take a detection, ignored detections may be taken: neither counts.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from fusion_rt.transforms import Array

TP, FP, FN, SHELTERED = range(4)


class FrameBoxes(Struct, frozen=True, kw_only=True):
    """One frame's objects and detections of one class, in any one frame of reference.

    truth          (n, 7) x y z l w h yaw
    truth_ignored  (n,) bool: may be found or not
    found          (m, 7)
    scores         (m,)
    found_ignored  (m,) bool: never a false positive, never a hit
    sheltered      (m,) bool: lies where nothing is labelled
    """

    truth: Array
    truth_ignored: Array
    found: Array
    scores: Array
    found_ignored: Array
    sheltered: Array


class Outcome(Struct, frozen=True, kw_only=True):
    """What the detections of a frame are worth, whatever score they must reach to be shown.

    objects      that count
    hit_scores   (h,) scores of the hits if each object takes its detection of the highest score
    scores       (k,) the distinct scores, falling
    counts       (k + 1, 4) TP, FP, FN and those of FP that are sheltered; row i: scores[:i] are shown
    judged       (j, 2) score, and 1 for a hit or 0, of each detection that is one or the other, all shown
    """

    objects: int
    hit_scores: Array
    scores: Array
    counts: Array
    judged: Array


def match(frame: FrameBoxes, overlaps: Array, min_overlap: float) -> Outcome:
    """overlaps (n, m) of objects and detections; they match above min_overlap."""
    near = [np.flatnonzero(row > min_overlap) for row in overlaps]
    wanted = {int(j) for row in near for j in row}
    counting = ~frame.found_ignored
    scores = np.unique(frame.scores)[::-1]
    counts = np.zeros((len(scores) + 1, 4), np.int64)
    counts[0, FN] = objects = int((~frame.truth_ignored).sum())
    taken: set[int] = set()
    hit: dict[int, int] = {}
    for step, score in enumerate(scores, 1):
        shown = frame.scores >= score
        counts[step] = counts[step - 1]
        if not wanted.isdisjoint(np.flatnonzero(frame.scores == score).tolist()):
            taken, hit, counts[step, FN] = _assign(frame, overlaps, near, shown)
            counts[step, TP] = len(hit)
        wrong = shown & counting
        wrong[list(taken)] = False
        counts[step, FP], counts[step, SHELTERED] = wrong.sum(), (wrong & frame.sheltered).sum()
    hits = np.array(_hit_scores(frame, near), np.float64)
    is_hit = np.isin(np.arange(len(frame.scores)), list(hit))
    sure = (
        counting
        & ~np.isin(np.arange(len(frame.scores)), list(taken - hit.keys()))
        & ~(frame.sheltered & ~is_hit)
    )
    judged = np.stack([frame.scores[sure], is_hit[sure]], axis=1)
    return Outcome(objects=objects, hit_scores=hits, scores=scores, counts=counts, judged=judged)


def which_are_found(frame: FrameBoxes, overlaps: Array, min_overlap: float, score: float) -> Array:
    """(n,) bool: the objects that count and are hit by what reaches the score. overlaps (n, m)."""
    near = [np.flatnonzero(row > min_overlap) for row in overlaps]
    _, hits, _ = _assign(frame, overlaps, near, frame.scores >= score)
    return np.isin(np.arange(len(frame.truth)), list(hits.values()))


def _assign(
    frame: FrameBoxes, overlaps: Array, near: list[Array], shown: Array
) -> tuple[set[int], dict[int, int], int]:
    """The taken detections among the shown ones, of the hits among those the object of each, and how many
    objects are missed."""
    misses = 0
    taken: set[int] = set()
    hits: dict[int, int] = {}
    for i, candidates in enumerate(near):
        chosen, most = -1, 0.0
        for j in candidates:
            if not shown[j] or j in taken:
                continue
            if frame.found_ignored[j]:
                chosen = int(j) if chosen < 0 else chosen  # for want of a better one
            elif overlaps[i, j] > most:
                chosen, most = int(j), overlaps[i, j]
        if chosen >= 0:
            taken.add(chosen)
            if not frame.truth_ignored[i] and not frame.found_ignored[chosen]:
                hits[chosen] = i
        else:
            misses += int(not frame.truth_ignored[i])
    return taken, hits, misses


def _hit_scores(frame: FrameBoxes, near: list[Array]) -> list[float]:
    hits = []
    taken: set[int] = set()
    for i, candidates in enumerate(near):
        free = [int(j) for j in candidates if j not in taken]
        if not free:
            continue
        best = max(free, key=lambda j: frame.scores[j])
        taken.add(best)
        if not frame.truth_ignored[i] and not frame.found_ignored[best]:
            hits.append(float(frame.scores[best]))
    return hits
