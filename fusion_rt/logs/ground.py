"""How high a lidar sits, where the recording does not say: from the ground that it sees."""

from __future__ import annotations

import numpy as np

from fusion_rt.transforms import Array

NEAR_M, FAR_M = 3.0, 25.0  # nearer is the vehicle itself, farther the road need not be level
LOWEST_M, HIGHEST_M, BIN_M = -4.0, -0.3, 0.05
UNKNOWN_HEIGHT_M = 1.73  # of a lidar that sees no ground: on the roof of a car
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


def lidar_height(xyz: Array, given_m: float | None) -> tuple[float, list[str]]:
    """The height of a level lidar, m: the one given, else what its first sweep (N, 3) shows; and a line that
    says which, where it was not given."""
    if given_m:
        return given_m, []
    seen_m = height_above_ground(xyz)
    if seen_m is not None:
        said = f"{seen_m:.2f} m above the ground that its first sweep shows"
        return seen_m, [f"lidar: {said}; --lidar-height sets it"]
    said = f"no ground is seen in the first sweep; taken as {UNKNOWN_HEIGHT_M} m above it"
    return UNKNOWN_HEIGHT_M, [f"lidar: {said}; --lidar-height sets it"]
