"""Boxes in torch: decoding the head, and the second look at what it decoded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from fusion_rt.models.presets import Preset
from fusion_rt.train.geometry import Blocks, Sight, near_boxes, roi_sample, view_sample
from fusion_rt.train.network import DrivingNet

LOG_SIZE_LIMIT = (-2.0, 3.0)
LOG_SIGMA_LIMIT = (-6.0, 4.0)


def decode(heatmap: Tensor, regression: Tensor, preset: Preset, *, k: int) -> Tensor:
    """The k best peaks of each sample, best first: cells that no neighbour exceeds by more than the preset's
    slack.

    heatmap (B, classes, ny, nx) logits, regression (B, 15, ny, nx). Returns (B, k, 16): x y z l w h
    yaw vx vy score class and the five standard deviations. Which way along its axis a box faces is not
    known yet: its yaw is within half a turn.
    """
    ny, nx = heatmap.shape[2:]
    scores = heatmap.sigmoid()
    peak = F.max_pool2d(heatmap, 3, 1, 1) <= heatmap + preset.peak_slack
    peaks = torch.where(peak, scores, torch.zeros_like(scores))
    score, index = peaks.flatten(1).topk(k)
    kind, cell = index // (ny * nx), index % (ny * nx)
    r = regression.flatten(2).gather(2, cell[:, None].expand(-1, regression.shape[1], -1))
    x = preset.x_min + (cell % nx + 0.5 + r[:, 0]) * preset.head_cell_m
    y = preset.y_min + (cell // nx + 0.5 + r[:, 1]) * preset.head_cell_m
    size = r[:, 3:6].clamp(*LOG_SIZE_LIMIT).exp()
    yaw = torch.atan2(r[:, 6], r[:, 7]) / 2
    sigma = r[:, 10:15].clamp(*LOG_SIGMA_LIMIT).exp()
    return torch.cat(
        [
            torch.stack([x, y, r[:, 2]], dim=2),
            size.transpose(1, 2),
            torch.stack([yaw, r[:, 8], r[:, 9], score, kind.to(score.dtype)], dim=2),
            sigma.transpose(1, 2),
        ],
        dim=2,
    )


def box_context(rows: Tensor) -> Tensor:
    """What the refinement is told of each decoded row (..., 16): scaled box, score and class."""
    x, y, z, length, w, h, yaw, vx, vy, score, kind, sx, _, _, _, syaw = rows.unbind(-1)
    p = score.clamp(1e-4, 1 - 1e-4)
    return torch.stack(
        [
            x / 70,
            y / 35,
            z / 2,
            length.log(),
            w.log(),
            h.log(),
            yaw.sin(),
            yaw.cos(),
            vx / 10,
            vy / 10,
            (p / (1 - p)).log() / 4,
            (kind == 0).to(p.dtype),
            (kind == 1).to(p.dtype),
            (kind == 2).to(p.dtype),
            sx.log() / 4,
            syaw.log() / 4,
        ],
        dim=-1,
    )


@dataclass(frozen=True)
class Answer:
    """Of the second look at rows (..., 16): score (..., 1), deltas (..., 8), facing (..., 1) and
    log_sigma (..., 5); see `Refiner`."""

    score: Tensor
    deltas: Tensor
    facing: Tensor
    log_sigma: Tensor


@dataclass(frozen=True)
class Surroundings:
    """What the second look is given of n boxes: roi (n, 5 * F), view (n, 9 * C), box (n, 16), points (N, 3)
    each in the frame of its box `which` (N,), counts (n,), sizes (n, 3) m, kinds (n,)."""

    roi: Tensor
    view: Tensor
    box: Tensor
    points: Tensor
    which: Tensor
    counts: Tensor
    sizes: Tensor
    kinds: Tensor


def surroundings(
    rows: Tensor, features: Tensor, sight: Sight, points: Sequence[Blocks], preset: Preset
) -> Surroundings:
    """Of rows (B, k, 16): the features (B, F, ny, nx) around each, what cameras see in its outline, and the
    points of its sample that lie in it."""
    boxes = rows[..., :7]
    near, which, counts = near_boxes(points, boxes)
    return Surroundings(
        roi=roi_sample(features, boxes, preset).flatten(0, 1),
        view=view_sample(sight, boxes).flatten(0, 1),
        box=box_context(rows).flatten(0, 1),
        points=near,
        which=which,
        counts=counts,
        sizes=boxes[..., 3:6].flatten(0, 1),
        kinds=rows[..., 10].flatten().long(),
    )


def second_look(net: DrivingNet, rows: Tensor, given: Surroundings) -> Answer:
    """h(E, D(E)) of rows (B, k, 16) and what is around them."""
    seen = net.points(given.points, given.which, given.counts, given.sizes, given.kinds)
    out = net.refine(given.roi, given.view, given.box, seen)
    return Answer(*(t.reshape(*rows.shape[:2], -1) for t in out))


def look_again(
    net: DrivingNet, rows: Tensor, features: Tensor, sight: Sight, points: Sequence[Blocks]
) -> Answer:
    """The second look at rows (B, k, 16) of a batch."""
    return second_look(net, rows, surroundings(rows, features, sight, points, net.preset))


def refine(rows: Tensor, answer: Answer) -> Tensor:
    """Rows (..., 16) with the second look's answer applied to box, score and standard deviations."""
    deltas = answer.deltas
    cos, sin = rows[..., 6].cos(), rows[..., 6].sin()
    p = rows[..., 9].clamp(1e-4, 1 - 1e-4)
    score = torch.sigmoid((p / (1 - p)).log() + answer.score[..., 0])
    moved = torch.stack(
        [
            rows[..., 0] + cos * deltas[..., 0] - sin * deltas[..., 1],
            rows[..., 1] + sin * deltas[..., 0] + cos * deltas[..., 1],
            rows[..., 2] + deltas[..., 2],
        ],
        dim=-1,
    )
    size = rows[..., 3:6] * deltas[..., 3:6].clamp(-1, 1).exp()
    turn = torch.atan2(deltas[..., 6:7], 1 + deltas[..., 7:8]) / 2
    yaw = rows[..., 6:7] + turn + math.pi * (answer.facing > 0)
    yaw = torch.remainder(yaw + math.pi, 2 * math.pi) - math.pi
    sigma = (rows[..., 11:].log() + answer.log_sigma).clamp(*LOG_SIGMA_LIMIT).exp()
    return torch.cat([moved, size, yaw, rows[..., 7:9], score[..., None], rows[..., 10:11], sigma], dim=-1)
