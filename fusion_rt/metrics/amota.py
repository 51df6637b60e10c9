"""Average MOTA over recalls: how good tracks are whatever score they are cut at.

nuScenes' definition (Weng and Kitani 2019, and nuScenes' tracking benchmark): each of the tracks' mean scores
is a place to cut them; MOTAR = 1 - (switches + false) / found, 0 at least, is what is right at a cut whatever
its recall. Its mean over 40 recalls: each takes the highest cut that reaches it, and is 0 where none does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from fusion_rt.tracking.assignment import assign
from fusion_rt.transforms import Array

RECALLS = np.linspace(0.1, 1.0, 40)


class TrackedMoment(Struct, frozen=True):
    """One class at one time of a drive. true (n, 2) and ours (m, 2): centres, m; their numbers, which last
    for the drive; counts (n,) bool: whether missing it counts; scores (m,)."""

    true: Array
    true_ids: tuple[int, ...]
    counts: Array
    ours: Array
    our_ids: tuple[int, ...]
    scores: Array


def matched(true: Array, ours: Array, reach_m: float) -> dict[int, int]:
    """Row of `true` (n, 2) -> row of `ours` (m, 2), one to one: as many as are closer than reach_m, and of
    those the closest."""
    costs: dict[int, dict[int, float]] = {}
    away = np.hypot(*(true[:, None] - ours[None]).transpose(2, 0, 1)) if len(true) and len(ours) else []
    for i, row in enumerate(away):
        near = {j: float(d) for j, d in enumerate(row) if d < reach_m}
        if near:
            costs[i] = near
    return assign(costs)


def amota(drives: Sequence[Sequence[TrackedMoment]], reach_m: float) -> float | None:
    """0..1; None where no object counts. A match is closer than reach_m."""
    objects = sum(int(moment.counts.sum()) for drive in drives for moment in drive)
    if not objects:
        return None
    means = [_mean_scores(drive) for drive in drives]
    cuts = sorted({score for drive in means for score in drive.values()}, reverse=True)
    curve = []  # recall and MOTAR of falling cuts
    for cut in cuts:
        parts = [_at(drive, mean, cut, reach_m) for drive, mean in zip(drives, means)]
        found, wrong, switches = (sum(column) for column in zip(*parts))
        if found:
            curve.append((found / objects, max(1 - (switches + wrong) / found, 0.0)))
    reached = [next((motar for recall, motar in curve if recall >= r - 1e-9), 0.0) for r in RECALLS]
    return float(np.mean(reached))


def _mean_scores(drive: Sequence[TrackedMoment]) -> dict[int, float]:
    scores: dict[int, list[float]] = {}
    for moment in drive:
        for number, score in zip(moment.our_ids, moment.scores.tolist()):
            scores.setdefault(number, []).append(score)
    return {number: round(float(np.mean(each)), 3) for number, each in scores.items()}


def _at(
    drive: Sequence[TrackedMoment], mean: dict[int, float], cut: float, reach_m: float
) -> tuple[int, int, int]:
    """Found, wrong and switched of the tracks whose mean score reaches the cut."""
    found = wrong = switches = 0
    before: dict[int, int] = {}
    for moment in drive:
        kept = [j for j, number in enumerate(moment.our_ids) if mean[number] >= cut]
        pairs = matched(moment.true, moment.ours[kept], reach_m)
        wrong += len(kept) - len(pairs)
        for i, j in pairs.items():
            if moment.counts[i]:
                number = moment.our_ids[kept[j]]
                found += 1
                switches += before.get(moment.true_ids[i], number) != number
                before[moment.true_ids[i]] = number
    return found, wrong, switches
