"""How far a lidar sees, in numbers that real and simulated frames can be compared by: how near the first
obstacle is, what answers from behind it, how many beams free ground sends back, and how bright echoes are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct

from fusion_rt.transforms import Array

AHEAD_DEG = 40  # to either side; directions are counted by the degree
STANDS_M, OVERHEAD_M = 0.4, 3.0  # what ends higher and lower than this is an obstacle
NEAREST_M = (10.0, 20.0, 40.0)
GROUND_M, GROUND_EDGES_M = 0.3, (10.0, 20.0, 30.0, 40.0)  # z below which a point is of the ground
ROAD_M = 3.0  # aside: the road
BRIGHT_EDGES_M = (5.0, 10.0, 20.0, 30.0, 50.0)
BEHIND_AHEAD_M, BEHIND_ASIDE_M = 20.0, (12.0, 36.0)


class Sight(Struct, frozen=True):
    """Of one frame.

    blocked  (3,) share of the directions ahead with an obstacle nearer than NEAREST_M
    behind   points above the ground farther ahead than 20 m and 12 to 36 m aside
    ground   (3, 2) between GROUND_EDGES_M: points of the ground, and the directions that are free up to there
    road, standing  (4, 2) between BRIGHT_EDGES_M: the sum of the intensities, 0..1 each, and how many
    """

    blocked: Array
    behind: int
    ground: Array
    road: Array
    standing: Array


def sight(points: Array, intensity: Array) -> Sight:
    """points (N, 3) m in the ego frame, intensity (N,) 0..1."""
    x, y, z = points.T
    away = np.hypot(x, y)
    column = np.floor(np.degrees(np.arctan2(y, x)) + AHEAD_DEG).astype(int)
    ahead = (column >= 0) & (column < 2 * AHEAD_DEG)
    nearest = np.full(2 * AHEAD_DEG, np.inf)
    stands = (z > STANDS_M) & (z < OVERHEAD_M)
    np.minimum.at(nearest, column[ahead & stands], away[ahead & stands])
    ground = []
    for near, far in pairwise(GROUND_EDGES_M):
        free = nearest > far
        mine = ahead & (z < GROUND_M) & (away >= near) & (away < far)
        ground.append((free[column[mine]].sum(), free.sum()))
    aside = np.abs(y)
    behind = (x > BEHIND_AHEAD_M) & (aside > BEHIND_ASIDE_M[0]) & (aside < BEHIND_ASIDE_M[1])
    return Sight(
        blocked=np.array([(nearest < m).mean() for m in NEAREST_M]),
        behind=int((behind & (z > GROUND_M)).sum()),
        ground=np.array(ground, np.int64),
        road=_bright(away, intensity, (z < GROUND_M) & (aside < ROAD_M)),
        standing=_bright(away, intensity, stands),
    )


def _bright(away: Array, intensity: Array, mine: Array) -> Array:
    sums = np.histogram(away[mine], BRIGHT_EDGES_M, weights=intensity[mine])[0]
    return np.stack([sums, np.histogram(away[mine], BRIGHT_EDGES_M)[0]], axis=1)


def report(real: Sequence[Sight], simulated: Sequence[Sight]) -> str:
    """Means over the frames of either side, as markdown."""
    sides = (real, simulated)
    lines = ["| how far the lidar sees | real | sim |", "|---|---|---|"]
    for k, m in enumerate(NEAREST_M):
        cells = [f"{100 * np.mean([s.blocked[k] for s in side]):.0f} %" if side else "-" for side in sides]
        lines.append(_row(f"directions with an obstacle within {m:.0f} m", cells))
    cells = [f"{np.mean([s.behind for s in side]):.0f}" if side else "-" for side in sides]
    near, far = BEHIND_ASIDE_M
    lines.append(
        _row(f"points that stand {near:.0f} to {far:.0f} m aside, beyond {BEHIND_AHEAD_M:.0f} m", cells)
    )
    for field, edges, what, digits in (
        ("ground", GROUND_EDGES_M, "points of free ground a degree", 1),
        ("road", BRIGHT_EDGES_M, "intensity of the road", 2),
        ("standing", BRIGHT_EDGES_M, "intensity of what stands", 2),
    ):
        for k, (near, far) in enumerate(pairwise(edges)):
            totals = [np.sum([getattr(s, field)[k] for s in side] or [(0, 0)], axis=0) for side in sides]
            cells = [f"{total / count:.{digits}f}" if count else "-" for total, count in totals]
            lines.append(_row(f"{what}, {near:.0f} to {far:.0f} m", cells))
    return "\n".join(lines)


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"
