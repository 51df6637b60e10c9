"""What the network should say for the boxes of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion_rt.models.presets import Preset
from fusion_rt.transforms import Array

SIGMA_CELLS = (1.1, 0.8, 0.8)  # width of the heatmap's bumps, by class
NEIGHBOURS = ((0, 0, 1.0), (0, 1, 0.4), (0, -1, 0.4), (1, 0, 0.4), (-1, 0, 0.4))
MIN_POINTS, MIN_VISIBLE = 3, 0.3
# How much a box counts, by class: cars outnumber cyclists four to one, and what is learned from all boxes
# alike turns a cyclist across the road into one along it.
CLASS_WEIGHTS = (1.0, 1.2, 2.5)


@dataclass(frozen=True)
class Targets:
    """heatmap (classes, ny, nx) 0..1; weight (ny, nx) 0 where a negative must not be punished;
    cell (n,) flat index of cells that regress; box (n, 10) dx dy (cells) z log l w h, sine and cosine of
    twice the yaw (a box turned round is the same box), vx vy;
    box_weight (n,) 1 at a car's own cell; boxes (m, 9) and cls (m,) of the objects that count."""

    heatmap: Array
    weight: Array
    cell: Array
    box: Array
    box_weight: Array
    boxes: Array
    cls: Array


def make_targets(
    boxes: Array, cls: Array, npoints: Array, visible: Array, *, lidar: bool, camera: bool, preset: Preset
) -> Targets:
    """Objects that no present sensor can see are ignored: neither wanted nor punished."""
    seen = np.zeros(len(boxes), bool)
    if lidar:
        seen |= npoints >= MIN_POINTS
    if camera:
        seen |= visible >= MIN_VISIBLE
    counts = seen & (cls >= 0)
    ny, nx, cell_m = preset.head_ny, preset.head_nx, preset.head_cell_m
    weight = np.ones((ny, nx), np.float32)
    for box in boxes[~counts]:
        _clear_footprint(weight, box, preset)
    heatmap = np.zeros((len(preset.classes), ny, nx), np.float32)
    chosen: dict[int, tuple[float, int, Array]] = {}
    inside = []
    for i in np.flatnonzero(counts):
        box, kind = boxes[i], int(cls[i])
        u, v = (box[0] - preset.x_min) / cell_m, (box[1] - preset.y_min) / cell_m
        if not (0 <= u < nx and 0 <= v < ny):
            continue
        inside.append(i)
        ix, iy = int(u), int(v)
        bump(heatmap[kind], ix, iy, SIGMA_CELLS[kind])
        tail = [box[2], *np.log(box[3:6]), np.sin(2 * box[6]), np.cos(2 * box[6]), box[7], box[8]]
        for dy, dx, w in NEIGHBOURS:
            jx, jy = ix + dx, iy + dy
            if not (0 <= jx < nx and 0 <= jy < ny):
                continue
            flat = jy * nx + jx
            if flat not in chosen or chosen[flat][0] < w:
                chosen[flat] = (w, kind, np.array([u - jx - 0.5, v - jy - 0.5, *tail], np.float32))
    cells = sorted(chosen)
    return Targets(
        heatmap=heatmap,
        weight=weight,
        cell=np.array(cells, np.int64),
        box=np.stack([chosen[c][2] for c in cells]) if cells else np.zeros((0, 10), np.float32),
        box_weight=np.array([chosen[c][0] * CLASS_WEIGHTS[chosen[c][1]] for c in cells], np.float32),
        boxes=boxes[inside],
        cls=cls[inside],
    )


def bump(heatmap: Array, ix: int, iy: int, sigma: float) -> None:
    """Raise the map to exp(-r^2 / 2 sigma^2) around the cell, exactly 1 at it."""
    ny, nx = heatmap.shape
    r = int(np.ceil(3 * sigma))
    x0, x1, y0, y1 = max(ix - r, 0), min(ix + r + 1, nx), max(iy - r, 0), min(iy + r + 1, ny)
    dx, dy = np.arange(x0, x1) - ix, np.arange(y0, y1) - iy
    bump = np.exp(-(dx[None, :] ** 2 + dy[:, None] ** 2) / (2 * sigma**2))
    np.maximum(heatmap[y0:y1, x0:x1], bump, out=heatmap[y0:y1, x0:x1])


def _clear_footprint(weight: Array, box: Array, preset: Preset) -> None:
    """Zero under the box and 0.5 m around it."""
    cell_m = preset.head_cell_m
    reach = float(np.hypot(box[3], box[4])) / 2 + 0.5
    x0, x1 = ((box[0] + s * reach - preset.x_min) / cell_m for s in (-1, 1))
    y0, y1 = ((box[1] + s * reach - preset.y_min) / cell_m for s in (-1, 1))
    ix = np.arange(max(int(x0), 0), min(int(x1) + 1, preset.head_nx))
    iy = np.arange(max(int(y0), 0), min(int(y1) + 1, preset.head_ny))
    if not (len(ix) and len(iy)):
        return
    dx = preset.x_min + (ix + 0.5) * cell_m - box[0]
    dy = (preset.y_min + (iy + 0.5) * cell_m - box[1])[:, None]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    under = (np.abs(dx * cos + dy * sin) < box[3] / 2 + 0.5) & (
        np.abs(dy * cos - dx * sin) < box[4] / 2 + 0.5
    )
    view = weight[iy[0] : iy[-1] + 1, ix[0] : ix[-1] + 1]
    view[under] = 0
