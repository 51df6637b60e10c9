"""How high a lidar sits, where the recording does not say: from the ground that it sees."""

from __future__ import annotations

import numpy as np

from fusion_rt.transforms import Array

NEAR_M, FAR_M = 3.0, 25.0  # nearer is the vehicle itself, farther the road need not be level
LOWEST_M, HIGHEST_M, BIN_M = -4.0, -0.3, 0.05
SHARE = 0.05  # of these points that must lie in one layer


def height_above_ground(xyz: Array) -> float | None:
    """The lidar's height, m, of points (N, 3) in its own frame turned level: the fullest layer of 10 cm
    below it. None where no layer stands out: indoors, or a sensor that does not see the ground."""
    points = xyz[np.isfinite(xyz).all(axis=1)].astype(np.float64)
    distance = np.hypot(points[:, 0], points[:, 1])
    z = points[(distance > NEAR_M) & (distance < FAR_M), 2]
    edges = np.arange(LOWEST_M, HIGHEST_M + BIN_M, BIN_M)
    counts, _ = np.histogram(z, edges)
    layers = counts[:-1] + counts[1:]
    if not layers.size or layers.max() < max(SHARE * len(z), 100):
        return None
    k = int(layers.argmax())
    inside = z[(z >= edges[k]) & (z < edges[k + 2])]
    return float(-np.median(inside))
