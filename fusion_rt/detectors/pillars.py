"""Points by pillar: PointPillars (Lang et al. 2019), as OpenPCDet and MMDetection3D group them."""

from __future__ import annotations

import numpy as np

from fusion_rt.detectors.bev_map import within
from fusion_rt.detectors.point_recipe import Pillars, Space
from fusion_rt.transforms import Array


def group(
    xyz: Array, intensity: Array, spec: Pillars, space: Space, *, voxels: Array, counts: Array, at: Array
) -> int:
    """xyz (N, 3) in the detector's frame, intensity (N,) -> voxels (most, points, 4), counts (most,), at
    (most, 4); returns how many pillars there are.

    Pillars come in the order of their first points, points in theirs; what is more than fits is left out.
    Rows without a pillar are 0, their `at` -1: nowhere."""
    inside = within(xyz, space)
    points = np.column_stack([xyz[inside], intensity[inside]])
    columns, rows = (
        round((high - low) / spec.cell_m)
        for low, high in ((space.x_min, space.x_max), (space.y_min, space.y_max))
    )
    column = np.minimum(((points[:, 0] - space.x_min) / spec.cell_m).astype(int), columns - 1)
    row = np.minimum(((points[:, 1] - space.y_min) / spec.cell_m).astype(int), rows - 1)
    cell = row * columns + column
    _, first, which = np.unique(cell, return_index=True, return_inverse=True)
    n = min(len(first), spec.most)
    number = np.empty(len(first), int)
    number[np.argsort(first)] = np.arange(len(first))
    pillar = number[which.reshape(-1)]
    order = np.argsort(pillar, kind="stable")
    pillar = pillar[order]
    place = np.arange(len(pillar)) - np.searchsorted(pillar, pillar)
    fits = (pillar < n) & (place < spec.points)
    voxels[...], counts[...], at[...] = 0, 0, -1
    voxels[pillar[fits], place[fits]] = points[order[fits]]
    counts[:n] = np.bincount(pillar[fits], minlength=n)
    begin = np.sort(first)[:n]
    at[:n] = np.column_stack([np.zeros((n, 2), int), row[begin], column[begin]])
    return n
