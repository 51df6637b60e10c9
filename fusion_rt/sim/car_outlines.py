"""How the points of cars that are seen end-on lie within their boxes: how bumpers bend, where windows begin,
how far roofs arch. Real boxes are labels, so this also tells how much air labellers leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from msgspec import Struct

from fusion_rt.metrics.boxes import in_box_frame
from fusion_rt.transforms import Array

ENDS = ("rear", "front")
ACROSS = (0.0, 0.3, 0.6, 0.8, 0.9, 1.1)  # from the middle to the side and a little beyond, in half widths
HEIGHTS = (0.15, 0.3, 0.45, 0.6, 0.75, 0.9, 0.97, 1.05)  # of the box's height
RANGE_M = (8.0, 30.0)
END_ON_DEG = 25.0
MARGIN_M = np.array([0.3, 0.2, 0.2])
LOW = 0.6  # of the height: below, there is body and no glass
DEEP_M = 0.9  # behind the near face: farther back is something else than the end
FEWEST = 40  # points of the end's lower part


class Outline(Struct, frozen=True):
    """One car's end; nan where no points tell.

    rear   which end
    depth  (5,) m behind the box's near face, median of the points of the body at places ACROSS
    share  (7,) of all the car's points at HEIGHTS
    reach  (7,) how far from the middle points lie at HEIGHTS, 95th percentile, in half widths
    """

    rear: bool
    depth: Array
    share: Array
    reach: Array


def outline(points: Array, box: Array) -> Outline | None:
    """Of a car's box x y z l w h yaw in the frame of a sensor at the origin, among points (N, 3); None where
    it is not seen end-on, not from side to side, or not at 8 to 30 m."""
    distance = float(np.hypot(box[0], box[1]))
    seen_from = in_box_frame(np.zeros((1, 3)), box)[0]
    aside = np.degrees(np.arctan2(abs(seen_from[1]), abs(seen_from[0])))
    if not RANGE_M[0] <= distance < RANGE_M[1] or aside > END_ON_DEG:
        return None
    half = np.asarray(box[3:6]) / 2
    points = in_box_frame(points, box)
    # Points on the ground are left out: they are not the car's.
    points = points[np.all(np.abs(points) <= half + MARGIN_M, axis=1) & (points[:, 2] > 0.2 - half[2])]
    behind = half[0] - points[:, 0] * np.sign(seen_from[0])
    across, height = points[:, 1] / half[1], (points[:, 2] + half[2]) / box[5]
    end = (height < LOW) & (behind < DEEP_M)
    if end.sum() < FEWEST or across[end].max() < 0.7 or across[end].min() > -0.7:
        return None
    across = np.abs(across)
    bands = [(height >= low) & (height < high) & (behind < 1.5) for low, high in pairwise(HEIGHTS)]
    return Outline(
        rear=bool(seen_from[0] < 0),
        depth=np.array(
            [_median(behind[end & (across >= low) & (across < high)]) for low, high in pairwise(ACROSS)]
        ),
        share=np.histogram(height, HEIGHTS)[0] / len(points),
        reach=np.array([np.percentile(across[b], 95) if b.sum() > 4 else np.nan for b in bands]),
    )


def _median(values: Array) -> float:
    return float(np.median(values)) if len(values) > 2 else np.nan


def report(real: Sequence[Outline], simulated: Sequence[Outline]) -> str:
    """Both side by side as markdown: medians over cars, of the shares means."""
    across = [f"{low:g}-{high:g}" for low, high in pairwise(ACROSS)]
    heights = [f"{low:g}-{high:g}" for low, high in pairwise(HEIGHTS)]
    tables = (
        ("cm behind the face, by half widths from the middle", across, "depth", np.nanmedian, 100),
        ("% of the points, by height", heights, "share", np.mean, 100),
        ("half widths from the middle, by height", heights, "reach", np.nanmedian, 1),
    )
    lines = []
    for title, columns, field, middle, scale in tables:
        lines += [f"| cars end-on: {title}, real / sim | " + " | ".join(columns) + " |"]
        lines += ["|---" * (len(columns) + 1) + "|"]
        for rear, end in zip((True, False), ENDS):
            both = [[getattr(o, field) for o in seen if o.rear == rear] for seen in (real, simulated)]
            told = [_columns(np.array(rows), middle, len(columns)) * scale for rows in both]
            digits = 2 if scale == 1 else 0
            cells = [f"{a:.{digits}f} / {b:.{digits}f}" for a, b in zip(*told)]
            lines.append(f"| {end} ({len(both[0])} / {len(both[1])}) | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def _columns(rows: Array, middle: Callable[[Array], float], count: int) -> Array:
    """(count,) the middle of each column; nan of a column without a number."""
    told = np.full(count, np.nan)
    for i in range(count if len(rows) else 0):
        if np.isfinite(rows[:, i]).any():
            told[i] = middle(rows[:, i])
    return told
