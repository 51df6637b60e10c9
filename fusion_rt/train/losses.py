"""What training minimises. Each loss is a plain function of tensors; `total_loss` adds them up."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fusion_rt.metrics.boxes import bev_iou
from fusion_rt.models.presets import Preset
from fusion_rt.train.boxes import box_context, decode
from fusion_rt.train.geometry import roi_sample
from fusion_rt.train.image_targets import UNKNOWN
from fusion_rt.train.network import Refiner
from fusion_rt.train.samples import Batch
from fusion_rt.transforms import Array

WEIGHTS = {
    "heatmap": 1.0,
    "box": 1.0,
    "velocity": 0.2,
    "sigma": 0.1,
    "score": 0.5,
    "refine": 0.5,
    "image_heatmap": 0.2,
    "image_depth": 0.3,
    "image_kind": 0.6,
}
# Of car, pedestrian, cyclist and background pixels of an image: small objects fill few of them.
KIND_WEIGHTS = (2.0, 4.0, 4.0, 1.0)
MOVING_M_S, MOVING_WEIGHT = 0.5, 4.0
# Overlap that counts as no object and as a perfect one, by class, for the refined score.
IOU_RANGE = ((0.25, 0.75), (0.1, 0.6), (0.15, 0.65))


def focal(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """The penalty-reduced focal loss of CenterNet (alpha 2, beta 4), by the number of peaks.

    logits, target (B, C, ny, nx); target is exactly 1 at peaks. weight (B, ny, nx) scales negatives.
    """
    p = logits.sigmoid()
    peak = target >= 1
    positive = F.logsigmoid(logits) * (1 - p).square() * peak
    negative = F.logsigmoid(-logits) * p.square() * (1 - target) ** 4 * weight[:, None] * ~peak
    return -(positive.sum() + negative.sum()) / peak.sum().clamp(min=1)


def box_losses(
    regression: Tensor, target: Tensor, weight: Tensor, has_memory: Tensor, cell_m: float
) -> tuple[Tensor, Tensor, Tensor]:
    """L1 on the box, L1 on the velocity where there is a memory, and the likelihood of the errors.

    regression (n, 15) at the positive cells, target (n, 10), weight (n,). Half of the heading's loss
    does not mind front and back: a box turned round overlaps as well.
    """
    total = weight.sum().clamp(min=1)
    error = (regression[:, :6] - target[:, :6]).abs()
    heading, wanted = regression[:, 6:8], target[:, 6:8]
    straight = (heading - wanted).abs().sum(1)
    turned = (heading + wanted).abs().sum(1)
    yaw = 0.5 * straight + 0.5 * torch.minimum(straight, turned)
    box = ((error.sum(1) + yaw) * weight).sum() / total
    # Most objects stand, and of all single answers "it stands" errs least: what moves counts for more.
    moving = target[:, 8:10].norm(dim=1) > MOVING_M_S
    sure = weight * has_memory * (1 + MOVING_WEIGHT * moving)
    velocity = ((regression[:, 8:10] - target[:, 8:10]).abs().sum(1) * sure).sum() / sure.sum().clamp(min=1)

    angle = torch.atan2(heading[:, 0], heading[:, 1]) - torch.atan2(wanted[:, 0], wanted[:, 1])
    axis = torch.remainder(angle + math.pi / 2, math.pi) - math.pi / 2
    metres = torch.stack(
        [error[:, 0] * cell_m, error[:, 1] * cell_m, error[:, 2], error[:, 3:6].mean(1), axis.abs()], dim=1
    ).detach()
    log_sigma = regression[:, 10:15].clamp(-6, 4)
    # Laplace with standard deviation sigma; errors are detached, so this only tells how sure to be.
    likelihood = math.sqrt(2) * metres * torch.exp(-log_sigma) + log_sigma
    return box, velocity, (likelihood.sum(1) * weight).sum() / total


def proposals(
    rows: Tensor, gt: list[tuple[Array, Array]], rng: np.random.Generator, *, jittered: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Decoded rows and jittered truth, each with its overlap and the truth it is nearest to.

    rows (B, k, 16). Returns rows (B, k + jittered, 16), the score wanted (B, K) 0..1, deltas wanted
    (B, K, 7) and their weight (B, K).
    """
    batch, k, _ = rows.shape
    out = torch.cat([rows, rows[:, :1].expand(-1, jittered, -1).clone()], dim=1).numpy().copy()
    wanted = np.zeros(out.shape[:2], np.float32)
    deltas = np.zeros((*out.shape[:2], 7), np.float32)
    weight = np.zeros(out.shape[:2], np.float32)
    for i in range(batch):
        boxes, cls = gt[i]
        if not len(boxes):
            continue
        pick = rng.integers(len(boxes), size=jittered)
        out[i, k:] = _jitter(boxes[pick], cls[pick], rng)
        iou = bev_iou(out[i, :, :7], boxes[:, :7])
        iou[out[i, :, 10][:, None] != cls[None]] = 0
        best = iou.argmax(1)
        overlap = iou.max(1)
        low, high = np.array(IOU_RANGE, np.float32)[out[i, :, 10].astype(int)].T
        wanted[i] = np.clip((overlap - low) / (high - low), 0, 1)
        deltas[i] = _deltas(out[i, :, :7], boxes[best, :7])
        weight[i] = overlap > low
    return torch.from_numpy(out), torch.from_numpy(wanted), torch.from_numpy(deltas), torch.from_numpy(weight)


def _jitter(boxes: Array, cls: Array, rng: np.random.Generator) -> Array:
    n = len(boxes)
    rows = np.zeros((n, 16), np.float32)
    rows[:, :9] = boxes
    rows[:, :2] += rng.normal(0, 0.1, (n, 2)) * boxes[:, 3:5].clip(max=3)
    rows[:, 2] += rng.normal(0, 0.12, n)
    rows[:, 3:6] *= np.exp(rng.normal(0, 0.08, (n, 3)))
    rows[:, 6] += rng.normal(0, 0.1, n)
    rows[:, 9] = rng.uniform(0.1, 0.9, n)
    rows[:, 10] = cls
    rows[:, 11:] = 0.15
    return rows


def _deltas(rows: Array, boxes: Array) -> Array:
    cos, sin = np.cos(rows[:, 6]), np.sin(rows[:, 6])
    d = boxes[:, :3] - rows[:, :3]
    turn = np.mod(boxes[:, 6] - rows[:, 6] + np.pi / 2, np.pi) - np.pi / 2
    along, across = d[:, 0] * cos + d[:, 1] * sin, d[:, 1] * cos - d[:, 0] * sin
    log_size = np.log(boxes[:, 3:6] / rows[:, 3:6])
    return np.column_stack([along, across, d[:, 2], log_size, turn]).astype(np.float32)


def refine_losses(
    refiner: Refiner,
    features: Tensor,
    camera_bev: Tensor,
    heatmap: Tensor,
    regression: Tensor,
    gt: list[tuple[Array, Array]],
    preset: Preset,
    rng: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """How far the refined score is from the overlap, and the refined box from the truth."""
    rows = decode(heatmap.detach(), regression.detach(), preset, k=32)
    rows, wanted, deltas, weight = proposals(rows, gt, rng, jittered=24)
    boxes = rows[..., :7]
    inputs = (roi_sample(features, boxes, preset), roi_sample(camera_bev, boxes, preset), box_context(rows))
    delta, box = refiner(*(t.flatten(0, 1) for t in inputs))
    p = rows[..., 9].clamp(1e-4, 1 - 1e-4)
    logit = (p / (1 - p)).log() + delta.reshape(p.shape)
    score = F.binary_cross_entropy_with_logits(logit, wanted)
    error = (box.reshape(deltas.shape) - deltas).abs().sum(2) * weight
    return score, error.sum() / weight.sum().clamp(min=1)


def image_losses(output: Tensor, batch: Batch) -> dict[str, Tensor]:
    """What the image's features say by themselves.

    output (B, 2 * classes + 2, h, w) of the training-only head: the centres' heatmap, log depth, and the
    logits of what a pixel shows, background last."""
    heatmap, log_depth = batch.image_heatmap, batch.image_log_depth
    classes = heatmap.shape[1]
    known = torch.isfinite(log_depth)
    # 3 is about 20 m: the head starts there.
    error = (output[:, classes] + 3 - torch.where(known, log_depth, 3.0)).abs() * known
    kind = F.cross_entropy(
        output[:, classes + 1 :],
        batch.image_kind,
        weight=output.new_tensor(KIND_WEIGHTS),
        ignore_index=UNKNOWN,
        reduction="sum",
    )
    labelled = (batch.image_kind != UNKNOWN).sum().clamp(min=1)
    return {
        "image_heatmap": focal(output[:, :classes], heatmap, torch.ones_like(log_depth)),
        "image_depth": error.sum() / known.sum().clamp(min=1),
        "image_kind": kind / labelled,
    }


def weighted(parts: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum, and the parts as numbers."""
    total = torch.stack([WEIGHTS[name] * value for name, value in parts.items()]).sum()
    return total, {name: float(value.detach()) for name, value in parts.items()}


def total_loss(
    outputs: tuple[Tensor, ...],
    camera_bev: Tensor,
    image_output: Tensor | None,
    refiner: Refiner,
    batch: Batch,
    preset: Preset,
    rng: np.random.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts."""
    heatmap, regression, features = outputs[:3]
    at_cells = regression.permute(0, 2, 3, 1).reshape(-1, regression.shape[1])[batch.cell]
    parts = {"heatmap": focal(heatmap, batch.heatmap, batch.weight)}
    parts["box"], parts["velocity"], parts["sigma"] = box_losses(
        at_cells, batch.box, batch.box_weight, batch.has_memory, preset.head_cell_m
    )
    parts["score"], parts["refine"] = refine_losses(
        refiner, features, camera_bev, heatmap, regression, batch.gt, preset, rng
    )
    if image_output is not None:
        parts |= image_losses(image_output, batch)
    return weighted(parts)
