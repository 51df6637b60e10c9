"""Torch mirrors of the kernels the network trains through: pillars' scatter, lift, warp, roi_sample,
view_sample, and which points lie near a box.

Conventions are the kernels': cell (iy, ix) has its centre at min + (i + 0.5) * cell, the centre of
feature pixel i lies at i + 0.5, canvases are (C, ny, nx) with rows along y.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fusion_rt.metrics.boxes import in_box_frame
from fusion_rt.models.presets import Preset
from fusion_rt.train.samples import Inputs
from fusion_rt.transforms import Array

NEAR_M = 0.5  # so far outside of a box's faces its points are looked at: first answers err by less
MOST_POINTS = 256  # of a box with more, about so many: a near car has thousands, its faces are clear of fewer
VIEW_SIDE = 3  # a box's outline in an image is looked at in so many rows and columns
NEAREST_M = 0.1  # along the optical axis: what is nearer is not seen


@dataclass(frozen=True)
class Sight:
    """What cameras see: features (V, C, h, w), P (V, 3, 4) ego metres to feature pixels, and which of a
    batch's samples each image belongs to (V,) int64."""

    features: Tensor
    P: Tensor
    index: Tensor


def scatter_max(values: Tensor, pillar: Tensor, pillars: int) -> Tensor:
    """The largest value of each channel in each pillar: values (N, C) >= 0, pillar (N,) int64 in
    0..pillars-1. Returns (pillars, C)."""
    out = values.new_zeros(pillars, values.shape[1])
    return out.scatter_reduce(0, pillar[:, None].expand_as(values), values, "amax", include_self=True)


def head_cell_centres(preset: Preset, device: torch.device | None = None) -> Tensor:
    """(head_ny * head_nx, 2) x, y of the head's cells in metres, row-major."""
    x = preset.x_min + (torch.arange(preset.head_nx, device=device) + 0.5) * preset.head_cell_m
    y = preset.y_min + (torch.arange(preset.head_ny, device=device) + 0.5) * preset.head_cell_m
    yy, xx = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([xx.reshape(-1), yy.reshape(-1)], dim=1)


def lift(features: Tensor, P: Tensor, preset: Preset) -> tuple[Tensor, Tensor]:
    """Camera features on the head's canvas: the mean of bilinear samples over the heights that see
    the image.

    features: (B, C, h, w). P: (B, 3, 4) ego metres -> feature pixels.
    Returns ((B, C, ny, nx), depth (B, 1, ny, nx): the mean distance of those heights along the optical
    axis in metres, 0 where no camera sees the cell).
    """
    batch, channels, h, w = features.shape
    ny, nx = preset.head_ny, preset.head_nx
    with torch.no_grad():
        pixel, weight, depth = _lift_taps(P, h, w, preset)
        seen = depth.reshape(-1).nonzero()[:, 0]
        pixel = pixel + torch.arange(batch, device=P.device)[:, None, None] * (h * w)
        pixel, weight = pixel.flatten(0, 1)[seen], weight.flatten(0, 1)[seen]
    rows = features.permute(0, 2, 3, 1).reshape(batch * h * w, channels)
    sums = F.embedding_bag(pixel, rows, mode="sum", per_sample_weights=weight)
    canvas = sums.new_zeros(batch * ny * nx, channels).index_copy(0, seen, sums)
    return (
        canvas.reshape(batch, ny, nx, channels).permute(0, 3, 1, 2),
        depth.reshape(batch, 1, ny, nx),
    )


def _lift_taps(P: Tensor, h: int, w: int, preset: Preset) -> tuple[Tensor, Tensor, Tensor]:
    """The feature pixels each cell reads and with which weight.

    Returns pixel (B, cells, 4 * levels) int64, weight of the same shape, depth (B, cells) in metres, 0 where
    unseen."""
    centres = head_cell_centres(preset, P.device)
    levels = torch.tensor(preset.z_levels, device=P.device)
    ground = torch.einsum("bij,cj->bci", P[:, :, :2], centres) + P[:, None, :, 3]
    uvd = ground[:, :, None, :] + levels[:, None] * P[:, None, None, :, 2]
    depth = uvd[..., 2]
    near = depth > NEAREST_M
    inverse = 1 / torch.where(near, depth, 1.0)
    u, v = uvd[..., 0] * inverse, uvd[..., 1] * inverse
    valid = near & (u >= 0) & (u < w) & (v >= 0) & (v < h)
    u, v = torch.where(valid, u - 0.5, 0.0), torch.where(valid, v - 0.5, 0.0)
    x0, y0 = u.floor(), v.floor()
    du, dv = u - x0, v - y0
    left, top = x0.long().clamp(0, w - 1), y0.long().clamp(0, h - 1)
    right, bottom = (x0.long() + 1).clamp(0, w - 1), (y0.long() + 1).clamp(0, h - 1)
    share = valid / valid.sum(2, keepdim=True).clamp(min=1)
    pixel = torch.cat([top * w + left, top * w + right, bottom * w + left, bottom * w + right], dim=2)
    weight = torch.cat([(1 - du) * (1 - dv), du * (1 - dv), (1 - du) * dv, du * dv], dim=2)
    return pixel, weight * share.repeat(1, 1, 4), (depth * share).sum(2)


def bev_warp(state: Tensor, T_prev_now: Tensor, preset: Preset) -> Tensor:
    """The previous canvas seen from the present ego frame, zero where it saw nothing.

    state: (B, C, ny, nx) in the previous ego frame. T_prev_now: (B, 2, 3) present -> previous x, y.
    """
    batch, _, ny, nx = state.shape
    now = head_cell_centres(preset, state.device)
    prev = torch.einsum("bij,cj->bci", T_prev_now[:, :, :2], now) + T_prev_now[:, None, :, 2]
    return F.grid_sample(
        state,
        _normalised(prev, preset).reshape(batch, ny, nx, 2),
        mode="bilinear",
        padding_mode="zeros",
        align_corners=False,
    )


def box_points(boxes: Tensor) -> Tensor:
    """Centre and the mid-points of the front, back, left and right edges: (..., 5, 2) for (..., 7)."""
    cos, sin = torch.cos(boxes[..., 6]), torch.sin(boxes[..., 6])
    forward = torch.stack([cos, sin], dim=-1) * boxes[..., 3:4] / 2
    left = torch.stack([-sin, cos], dim=-1) * boxes[..., 4:5] / 2
    centre = boxes[..., :2]
    return torch.stack([centre, centre + forward, centre - forward, centre + left, centre - left], dim=-2)


def roi_sample(features: Tensor, boxes: Tensor, preset: Preset) -> Tensor:
    """Features at the five points of each box, bilinear, zero outside.

    features: (B, C, ny, nx). boxes: (B, k, 7). Returns (B, k, 5 * C), point-major.
    """
    batch, k = boxes.shape[:2]
    grid = _normalised(box_points(boxes), preset)
    sampled = F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled.permute(0, 2, 3, 1).reshape(batch, k, -1)


def view_sample(sight: Sight, boxes: Tensor) -> Tensor:
    """Image features in the outline of each box: the mean, over the images that see it, of bilinear samples
    in the middles of 3 x 3 equal parts of that part of the outline that lies in the image. Zero where no
    image sees the box.

    boxes: (B, k, 7). Returns (B, k, 9 * C), rows of parts from above, each from the left, part-major."""
    batch, k = boxes.shape[:2]
    _, channels, h, w = sight.features.shape
    with torch.no_grad():
        low, high, seen = outlines(sight.P, boxes[sight.index], (w, h))
        steps = (torch.arange(VIEW_SIDE, device=boxes.device) + 0.5) / VIEW_SIDE
        v, u = torch.meshgrid(steps, steps, indexing="ij")
        parts = torch.stack([u.reshape(-1), v.reshape(-1)], dim=1)
        at = low[:, :, None] + parts * (high - low)[:, :, None]
        grid = 2 * at / at.new_tensor([w, h]) - 1
    sampled = F.grid_sample(sight.features, grid, padding_mode="border", align_corners=False)
    told = sampled.permute(0, 2, 3, 1).reshape(-1, k, len(parts) * channels) * seen[..., None]
    images = seen.new_zeros(batch, k).index_add(0, sight.index, seen)
    zeros = told.new_zeros(batch, k, told.shape[2])
    return zeros.index_add(0, sight.index, told) / images.clamp(min=1)[..., None]


def outlines(P: Tensor, boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """The upright rectangle around each box in an image (width, height), as far as it lies in the image.

    P: (V, 3, 4), boxes: (V, k, 7). Returns its low and high corner (V, k, 2) in pixels and whether the box is
    seen (V, k), 0 or 1: where the box's centre lies behind the camera or nothing is in the image, it is not.
    """
    sides = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=3)), device=boxes.device)
    along, across, up = (sides * boxes[..., None, 3:6]).unbind(-1)
    cos, sin = torch.cos(boxes[..., 6:7]), torch.sin(boxes[..., 6:7])
    x, y, z = boxes[..., :3, None].unbind(-2)
    corners = torch.stack([x + cos * along - sin * across, y + sin * along + cos * across, z + up], dim=-1)
    uvd = torch.einsum("vij,vkcj->vkci", P[..., :3], corners) + P[:, None, None, :, 3]
    uv = uvd[..., :2] / uvd[..., 2:].clamp(min=NEAREST_M)
    depth = torch.einsum("vj,vkj->vk", P[:, 2, :3], boxes[..., :3]) + P[:, None, 2, 3]
    limit = uv.new_tensor(size)
    low, high = (torch.minimum(f.clamp(min=0), limit) for f in (uv.amin(2), uv.amax(2)))
    return low, high, ((depth > NEAREST_M) & (high > low).all(-1)).to(boxes.dtype)


def point_blocks(inputs: Inputs, preset: Preset) -> list[Blocks]:
    """The points of each sample."""
    sample, cell = np.divmod(inputs.cell[inputs.pillar].cpu().numpy(), preset.nx * preset.ny)
    placed = positions(inputs.features.cpu().numpy(), cell, preset)
    ends = np.searchsorted(sample, np.arange(inputs.counts.shape[0] + 1))  # one sample after another
    return [Blocks(placed[a:b]) for a, b in itertools.pairwise(ends)]


def positions(features: Array, cell: Array, preset: Preset) -> Array:
    """x, y, z (m) of one sample's points, from their features (n, 8) and cells (n,), and the lot of each,
    0..65535: (n, 4) float32."""
    p = preset
    iy, ix = np.divmod(cell, p.nx)
    x = p.x_min + (ix + 0.5 + features[:, 0]) * p.cell_m
    y = p.y_min + (iy + 0.5 + features[:, 1]) * p.cell_m
    lot = lots(features[:, :3] * (p.cell_m, p.cell_m, 1))
    return np.column_stack([x, y, features[:, 2], lot]).astype(np.float32)


def lots(offsets: Array) -> Array:
    """(n,) 0..65535 of offsets (n, 3) from the cell's centre (m): which points of a crowd are looked at."""
    h = np.zeros(len(offsets), np.uint32)
    for column in np.floor(offsets * 1024).astype(np.int64).astype(np.uint32).T:
        h = (h ^ column) * np.uint32(0x9E3779B1)
    h = (h ^ (h >> 15)) * np.uint32(0x85EBCA77)
    return h >> 16


def near_boxes(points: Sequence[Blocks], boxes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The points in each box and up to NEAR_M outside of its faces, of a crowd some MOST_POINTS.

    points: of each sample, boxes (B, k, 7). Returns (N, 3) along, across and up from the centre of the box
    (m), (N,) int64, which of the B * k boxes, and (B * k,) how many each has."""
    at, which = [np.zeros((0, 3), np.float32)], [np.zeros(0, np.int64)]
    batch, k = boxes.shape[:2]
    counts = np.zeros((batch, k), np.float32)
    for i, (blocks, mine) in enumerate(zip(points, boxes.cpu().numpy())):
        limit = mine[:, 3:6] / 2 + NEAR_M
        reach = np.hypot(limit[:, 0], limit[:, 1])
        for j in range(k):
            near = blocks.around(mine[j, :2], reach[j])
            local = in_box_frame(near[:, :3], mine[j])
            inside = (np.abs(local) <= limit[j]).all(1)
            counts[i, j] = np.count_nonzero(inside)
            if counts[i, j] > MOST_POINTS:
                inside &= near[:, 3] < 65536 * MOST_POINTS // counts[i, j]
            local = local[inside]
            at.append(local)
            which.append(np.full(len(local), i * k + j, np.int64))
    found = np.concatenate(at), np.concatenate(which), counts.reshape(-1)
    at_points, box, each = (torch.from_numpy(a).to(boxes.device) for a in found)
    return at_points, box, each


class Blocks:
    """Points (n, 4) as `positions` gives them, in the order of the block of ground they lie in, to find those
    around a place."""

    size_m = 2.0

    def __init__(self, cloud: Array) -> None:
        self.first = cloud[:, :2].min(0) if len(cloud) else np.zeros(2, np.float32)
        column, row = ((cloud[:, :2] - self.first) / self.size_m).astype(np.int64).T
        self.columns, self.rows = int(column.max(initial=0)) + 1, int(row.max(initial=0)) + 1
        block = row * self.columns + column
        self.points = cloud[np.argsort(block.astype(np.uint16), kind="stable")]
        self.start = np.concatenate([[0], np.bincount(block, minlength=self.rows * self.columns).cumsum()])

    def around(self, centre: Array, reach: float) -> Array:
        """(n, 4): all points within that reach in x and y, and more."""
        (x0, y0), (x1, y1) = (((centre - self.first + s * reach) // self.size_m) for s in (-1, 1))
        left, right = max(int(x0), 0), min(int(x1) + 1, self.columns)
        rows = range(max(int(y0), 0), min(int(y1) + 1, self.rows))
        if left >= right or not rows:
            return self.points[:0]
        at = [r * self.columns for r in rows]
        return np.concatenate([self.points[self.start[a + left] : self.start[a + right]] for a in at])


def _normalised(xy: Tensor, preset: Preset) -> Tensor:
    """Metres to grid_sample's -1..1 over the head's canvas."""
    u = (xy[..., 0] - preset.x_min) / (preset.nx * preset.cell_m)
    v = (xy[..., 1] - preset.y_min) / (preset.ny * preset.cell_m)
    return torch.stack([2 * u - 1, 2 * v - 1], dim=-1)
