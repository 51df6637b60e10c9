"""Boxes in torch: decoding the head, refining; and their overlap."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from fusion_rt.models.presets import Preset

LOG_SIZE_LIMIT = (-2.0, 3.0)


def decode(heatmap: Tensor, regression: Tensor, preset: Preset, *, k: int) -> Tensor:
    """The k best local maxima of each sample, best first.

    heatmap (B, classes, ny, nx) logits, regression (B, 15, ny, nx). Returns (B, k, 16): x y z l w h
    yaw vx vy score class and the five standard deviations.
    """
    ny, nx = heatmap.shape[2:]
    scores = heatmap.sigmoid()
    peaks = torch.where(F.max_pool2d(scores, 3, 1, 1) == scores, scores, torch.zeros_like(scores))
    score, index = peaks.flatten(1).topk(k)
    kind, cell = index // (ny * nx), index % (ny * nx)
    r = regression.flatten(2).gather(2, cell[:, None].expand(-1, regression.shape[1], -1))
    x = preset.x_min + (cell % nx + 0.5 + r[:, 0]) * preset.head_cell_m
    y = preset.y_min + (cell // nx + 0.5 + r[:, 1]) * preset.head_cell_m
    size = r[:, 3:6].clamp(*LOG_SIZE_LIMIT).exp()
    yaw = torch.atan2(r[:, 6], r[:, 7])
    sigma = r[:, 10:15].clamp(-6, 4).exp()
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


def refine(rows: Tensor, score_delta: Tensor, deltas: Tensor) -> Tensor:
    """Rows (..., 16) with the refinement's answer (..., 1), (..., 7) applied to box and score."""
    cos, sin = rows[..., 6].cos(), rows[..., 6].sin()
    p = rows[..., 9].clamp(1e-4, 1 - 1e-4)
    score = torch.sigmoid((p / (1 - p)).log() + score_delta[..., 0])
    moved = torch.stack(
        [
            rows[..., 0] + cos * deltas[..., 0] - sin * deltas[..., 1],
            rows[..., 1] + sin * deltas[..., 0] + cos * deltas[..., 1],
            rows[..., 2] + deltas[..., 2],
        ],
        dim=-1,
    )
    size = rows[..., 3:6] * deltas[..., 3:6].clamp(-1, 1).exp()
    yaw = rows[..., 6:7] + deltas[..., 6:7]
    return torch.cat([moved, size, yaw, rows[..., 7:9], score[..., None], rows[..., 10:]], dim=-1)
