"""What is around the road, in numbers that real and simulated frames can be compared by: how rough the lidar
finds it, and how dark it is in the image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from msgspec import Struct

from fusion_rt.sim.frame_files import LIDAR_HEIGHT_M
from fusion_rt.transforms import Array

AHEAD_RAD, REACH_M, GROUND_M = 0.7, (3.0, 50.0), 0.4  # where is looked; what is lower is the ground
CELL_RAD = 0.01, 0.008  # azimuth and elevation that neighbouring beams share
STEPS_M = (0.0, 0.05, 0.5, np.inf)
# Rows of the image about the horizon, below most of the sky and above most of the road.
ROWS = (0.16, 0.57)
DARK = 40  # of 255


class Around(Struct, frozen=True):
    """Of one frame: steps (3,), the shares of neighbouring beams that end within 5 cm, within 50 cm and
    farther from each other (nan where there are none); dark: the share of pixels about the horizon that are
    darker than 40 of 255; level: their mean, 0..255."""

    steps: Array
    dark: float
    level: float


def around(points: Array, grey: Array) -> Around:
    """points (N, 3) m in the ego frame, grey (h, w) uint8, the camera ahead."""
    x, y, z = points.T
    away, azimuth = np.hypot(x, y), np.arctan2(y, x)
    elevation = np.arctan2(z - LIDAR_HEIGHT_M, away)
    use = (np.abs(azimuth) < AHEAD_RAD) & (away > REACH_M[0]) & (away < REACH_M[1]) & (z > GROUND_M)
    column, row = (np.floor(a[use] / cell).astype(int) for a, cell in zip((azimuth, elevation), CELL_RAD))
    cell, away = column * 1000 + row, away[use]
    order = np.argsort(cell, kind="stable")
    step = np.abs(np.diff(away[order]))[np.diff(cell[order]) == 0]
    counts = np.histogram(step, STEPS_M)[0]
    band = cv2.resize(grey, (640, 192), interpolation=cv2.INTER_AREA)
    band = band[int(ROWS[0] * 192) : int(ROWS[1] * 192)]
    return Around(
        counts / len(step) if len(step) else np.full(3, np.nan),
        float((band < DARK).mean()),
        float(band.mean()),
    )


def report(real: Sequence[Around], simulated: Sequence[Around]) -> str:
    """Means over the frames of either side, as markdown."""
    names = ("neighbouring beams end within 5 cm", "... 5 to 50 cm apart", "... farther apart")
    rows = [
        (name, [a.steps[i] for a in real], [a.steps[i] for a in simulated]) for i, name in enumerate(names)
    ]
    rows.append(
        ("pixels about the horizon that are dark", [a.dark for a in real], [a.dark for a in simulated])
    )
    lines = ["| around the road | real | sim |", "|---|---|---|"]
    lines += [f"| {name} | {100 * _mean(a):.0f} % | {100 * _mean(b):.0f} % |" for name, a, b in rows]
    levels = [_mean([a.level for a in side]) for side in (real, simulated)]
    lines.append(f"| ... their mean, of 255 | {levels[0]:.0f} | {levels[1]:.0f} |")
    return "\n".join(lines)


def _mean(values: Sequence[float]) -> float:
    known = np.array(values)[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
