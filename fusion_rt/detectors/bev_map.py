"""Points as an image of the ground: SFA3D (github.com/maudzung/SFA3D) and Complex-YOLO before it."""

from __future__ import annotations

import numpy as np

from fusion_rt.detectors.point_recipe import BevMap, Space
from fusion_rt.transforms import Array


def draw(xyz: Array, intensity: Array, spec: BevMap, space: Space, out: Array) -> None:
    """xyz (N, 3) in the detector's frame, intensity (N,) -> out (channels, rows, columns): row 0 begins at
    x_min, column 0 at y_min.

    height: of the highest point of the cell, 0..1 of the space; intensity: that point's; density:
    log(1 + points) / log(full), at most 1. Cells without points, and points that are not finite, are 0."""
    inside = within(xyz, space)
    points, intensity = xyz[inside], intensity[inside]
    row = (points[:, 0] - space.x_min) * (spec.rows / (space.x_max - space.x_min))
    column = (points[:, 1] - space.y_min) * (spec.columns / (space.y_max - space.y_min))
    # Rounding may carry a point to the edge itself.
    row, column = np.minimum(row.astype(int), spec.rows - 1), np.minimum(column.astype(int), spec.columns - 1)
    cell = row * spec.columns + column
    order = np.lexsort((points[:, 2], cell))
    cell, top = cell[order], np.flatnonzero(np.diff(cell[order], append=-1))  # the last of each cell
    maps = {
        "height": (points[order[top], 2] - space.z_min) / (space.z_max - space.z_min),
        "intensity": intensity[order[top]],
        "density": np.minimum(np.log1p(np.diff(top, prepend=-1)) / np.log(spec.full), 1),
    }
    out[...] = 0
    flat = out.reshape(len(out), -1)
    for k, channel in enumerate(spec.channels):
        flat[k, cell[top]] = maps[channel]


def within(xyz: Array, space: Space) -> Array:
    """(N,) bool: points (N, 3) in the space; what is not finite is not."""
    low = (space.x_min, space.y_min, space.z_min)
    high = (space.x_max, space.y_max, space.z_max)
    inside: Array = np.all((xyz >= low) & (xyz < high), axis=1)
    return inside
