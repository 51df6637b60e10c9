"""What training minimises. Each loss is a plain function of tensors; `total_loss` adds them up."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from fusion_rt.metrics.boxes import bev_iou
from fusion_rt.train.boxes import (
    LOG_SIGMA_LIMIT,
    Answer,
    decode,
    look_again,
    refine,
    second_look,
    surroundings,
)
from fusion_rt.train.geometry import Sight, point_blocks
from fusion_rt.train.image_targets import UNKNOWN
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.samples import Batch
from fusion_rt.transforms import Array

WEIGHTS = {
    "heatmap": 1.0,
    "box": 1.3,
    "velocity": 0.05,
    "sigma": 0.1,
    "score": 0.5,
    "refine": 1.0,
    "refined_sigma": 0.1,
    "facing": 0.2,
    "image_heatmap": 0.2,
    "image_depth": 0.3,
    "image_kind": 0.6,
    "teacher_heatmap": 0.5,
    "teacher_box": 0.5,
}
# Of car, pedestrian, cyclist and background pixels of an image: small objects fill few of them.
KIND_WEIGHTS = (2.0, 4.0, 4.0, 1.0)
MOVING_M_S, MOVING_WEIGHT = 0.5, 4.0
# Shares of the boxes whose view is hidden in training, and of the channels hidden of the others.
VEILED, CHANNELS_LOST = 0.3, 0.25
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

    regression (n, 15) at the positive cells, target (n, 10), weight (n,).
    """
    total = weight.sum().clamp(min=1)
    error = (regression[:, :8] - target[:, :8]).abs()
    box = (error.sum(1) * weight).sum() / total
    # Most objects stand, and of all single answers "it stands" errs least: what moves counts for more.
    moving = target[:, 8:10].norm(dim=1) > MOVING_M_S
    sure = weight * has_memory * (1 + MOVING_WEIGHT * moving)
    velocity = ((regression[:, 8:10] - target[:, 8:10]).abs().sum(1) * sure).sum() / sure.sum().clamp(min=1)

    (sin, cos), (wanted_sin, wanted_cos) = regression[:, 6:8].unbind(1), target[:, 6:8].unbind(1)
    axis = torch.atan2(sin * wanted_cos - cos * wanted_sin, cos * wanted_cos + sin * wanted_sin) / 2
    errors = [error[:, 0] * cell_m, error[:, 1] * cell_m, error[:, 2], error[:, 3:6].mean(1), axis.abs()]
    doubt = likelihood(torch.stack(errors, dim=1), regression[:, 10:15])
    return box, velocity, (doubt * weight).sum() / total


def likelihood(errors: Tensor, log_sigma: Tensor) -> Tensor:
    """How unlikely the errors (..., 5) are, by a Laplace distribution of those standard deviations: (...,).
    The errors are detached, so this only tells how sure to be."""
    log_sigma = log_sigma.clamp(*LOG_SIGMA_LIMIT)
    return (math.sqrt(2) * errors.detach() * torch.exp(-log_sigma) + log_sigma).sum(-1)


def proposals(
    rows: Tensor, gt: list[tuple[Array, Array]], rng: np.random.Generator, *, jittered: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Decoded rows and jittered truth, each with the truth it is nearest to.

    rows (B, k, 16). Returns rows (B, k + jittered, 16), the boxes they should be (B, K, 7) and how much
    each of them counts for that (B, K), 0 or 1."""
    batch, k, _ = rows.shape
    out = np.concatenate([rows.cpu().numpy(), np.ones((batch, jittered, 16), np.float32)], axis=1)
    truth = out[:, :, :7].copy()
    weight = np.zeros(out.shape[:2], np.float32)
    for i in range(batch):
        boxes, cls = gt[i]
        if not len(boxes):
            continue
        rare = 1 / np.sqrt(np.bincount(cls)[cls])  # of a class with few objects, each more often
        pick = rng.choice(len(boxes), jittered, p=rare / rare.sum())
        out[i, k:] = _jitter(boxes[pick], cls[pick], rng)
        overlap = _overlap(out[i], boxes, cls)
        truth[i] = boxes[overlap.argmax(1), :7]
        weight[i] = overlap.max(1) > _iou_range(out[i])[0]
    there = rows.device
    return (
        torch.from_numpy(out).to(there),
        torch.from_numpy(truth).to(there),
        torch.from_numpy(weight).to(there),
    )


def _overlap(rows: Array, boxes: Array, cls: Array) -> Array:
    """(n, m) float64: how much rows (n, 16) overlap the true boxes (m, 9) of their class, from above."""
    return bev_iou(rows[:, :7], boxes[:, :7]) * (rows[:, 10][:, None] == cls[None])


def _iou_range(rows: Array) -> Array:
    limits: Array = np.array(IOU_RANGE, np.float32)[rows[:, 10].astype(int)].T
    return limits


def _jitter(boxes: Array, cls: Array, rng: np.random.Generator) -> Array:
    n = len(boxes)
    rows = np.zeros((n, 16), np.float32)
    rows[:, :9] = boxes
    rows[:, :2] += rng.normal(0, 0.1, (n, 2)) * boxes[:, 3:5].clip(max=3)
    rows[:, 2] += rng.normal(0, 0.12, n)
    rows[:, 3:6] *= np.exp(rng.normal(0, 0.08, (n, 3)))
    # As decoded: an axis, which way along it is not told, and now and then far off.
    turn = np.where(rng.random(n) < 0.25, rng.uniform(-np.pi / 2, np.pi / 2, n), rng.normal(0, 0.1, n))
    rows[:, 6] = np.mod(rows[:, 6] + turn + np.pi / 2, np.pi) - np.pi / 2
    rows[:, 9] = rng.uniform(0.1, 0.9, n)
    rows[:, 10] = cls
    rows[:, 11:] = 0.15
    return rows


def _deltas(rows: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """What leads from rows (..., 16) to boxes (..., 7): (..., 8), and whether those face the other way."""
    cos, sin = rows[..., 6].cos(), rows[..., 6].sin()
    dx, dy, dz = (boxes[..., :3] - rows[..., :3]).unbind(-1)
    turn = boxes[..., 6] - rows[..., 6]
    along, across = dx * cos + dy * sin, dy * cos - dx * sin
    log_size = (boxes[..., 3:6] / rows[..., 3:6]).log()
    axis = torch.stack([(2 * turn).sin(), (2 * turn).cos() - 1], dim=-1)
    facing = (turn.cos() < 0).to(rows.dtype)
    return torch.cat([torch.stack([along, across, dz], -1), log_size, axis], dim=-1), facing


def look_losses(
    outputs: tuple[Tensor, ...],
    sight: Sight,
    net: DrivingNet,
    batch: Batch,
    rng: np.random.Generator,
    *,
    decoded: int = 40,
    jittered: int = 16,
) -> dict[str, Tensor]:
    """How far the refined score is from the overlap that the refined box reaches, and that box from the
    truth: of so many first answers and of so many boxes beside the truth in each sample."""
    heatmap, regression, features = outputs[:3]
    rows = decode(heatmap.detach(), regression.detach(), net.preset, k=decoded)
    if not bool(rows.isfinite().all()):  # what diverges has no boxes to look at; its loss says so
        return {"score": rows.new_tensor(float("nan"))}
    rows, truth, weight = proposals(rows, batch.gt, rng, jittered=jittered)
    given = surroundings(rows, features, sight, point_blocks(batch.now, net.preset), net.preset)
    given = replace(given, view=_veiled(given.view, net.preset.canvas_channels, rng))
    answer = second_look(net, rows, given)
    refined = refine(rows, answer).detach()
    judged = torch.ones(rows.shape[:2], dtype=torch.bool, device=rows.device)
    score = score_loss(rows, answer, refined, batch.gt, judged)
    return {"score": score, **answer_losses(rows, answer, refined, truth, weight)}


def _veiled(view: Tensor, channels: int, rng: np.random.Generator) -> Tensor:
    """What cameras see (n, parts * channels) with some boxes hidden, and some channels of each of the others.

    In simulation the image tells people's turn better than a few points do; in real images it does not: what
    leans on no single channel, and knows the points alone, errs less there."""
    shown = rng.random((len(view), 1)) > VEILED
    kept = rng.random((len(view), channels)) > CHANNELS_LOST
    mask = torch.from_numpy((shown * kept / (1 - CHANNELS_LOST)).astype(np.float32)).to(view.device)
    return view * mask.repeat(1, view.shape[1] // channels)


def score_loss(
    rows: Tensor, answer: Answer, refined: Tensor, gt: list[tuple[Array, Array]], judged: Tensor
) -> Tensor:
    """How far the refined score is from the overlap that the refined box reaches, where `judged` (B, K)."""
    p = rows[..., 9].clamp(1e-4, 1 - 1e-4)
    logit = (p / (1 - p)).log() + answer.score[..., 0]
    loss = F.binary_cross_entropy_with_logits(logit, _reached(refined, gt), reduction="none")
    return (loss * judged).sum() / judged.sum().clamp(min=1)


def point_losses(net: DrivingNet, batch: Batch, rng: np.random.Generator) -> dict[str, Tensor]:
    """How far what the second look makes of the points alone leads from jittered truth back to the truth."""
    batches, p = batch.now.counts.shape[0], net.preset
    zeros = batch.now.counts.new_zeros
    rows, truth, weight = proposals(zeros(batches, 0, 16), batch.gt, rng, jittered=64)
    nothing = Sight(zeros(0, p.canvas_channels, 1, 1), batch.now.P[:0], batch.now.image_index[:0])
    features = zeros(batches, p.feature_channels, 1, 1)
    answer = look_again(net, rows, features, nothing, point_blocks(batch.now, net.preset))
    return answer_losses(rows, answer, refine(rows, answer).detach(), truth, weight)


def answer_losses(
    rows: Tensor, answer: Answer, refined: Tensor, truth: Tensor, weight: Tensor
) -> dict[str, Tensor]:
    """Of the box, in metres at its faces; of its doubt about what is left of the errors; of its front."""
    wanted, facing = _deltas(rows, truth)
    length, width, height = (0.5 * truth[..., 3:6]).unbind(-1)
    one, turned = torch.ones_like(length), length / 2  # of twice the turn
    metres = torch.stack([one, one, one, length, width, height, turned, turned], dim=-1)
    total = weight.sum().clamp(min=1)
    error = ((answer.deltas - wanted).abs() * metres).sum(-1)
    off = refined[..., :7] - truth
    axis = torch.atan2((2 * off[..., 6]).sin(), (2 * off[..., 6]).cos()) / 2
    size = (refined[..., 3:6] / truth[..., 3:6]).log().abs().mean(-1)
    errors = torch.stack([*off[..., :3].abs().unbind(-1), size, axis.abs()], dim=-1)
    doubt = likelihood(errors, rows[..., 11:16].log() + answer.log_sigma)
    front = F.binary_cross_entropy_with_logits(answer.facing[..., 0], facing, reduction="none")
    return {
        "refine": (error * weight).sum() / total,
        "refined_sigma": (doubt * weight).sum() / total,
        "facing": (front * weight).sum() / total,
    }


def _reached(refined: Tensor, gt: list[tuple[Array, Array]]) -> Tensor:
    """The score wanted of refined rows (B, K, 16), 0..1 between no object and a perfect one: (B, K)."""
    wanted = np.zeros(refined.shape[:2], np.float32)
    for i, (boxes, cls) in enumerate(gt):
        if len(boxes):
            rows = refined[i].cpu().numpy()
            low, high = _iou_range(rows)
            wanted[i] = np.clip((_overlap(rows, boxes, cls).max(1) - low) / (high - low), 0, 1)
    return torch.from_numpy(wanted).to(refined.device)


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
    sight: Sight,
    image_output: Tensor | None,
    net: DrivingNet,
    batch: Batch,
    rng: np.random.Generator,
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts."""
    heatmap, regression = outputs[:2]
    at_cells = regression.permute(0, 2, 3, 1).reshape(-1, regression.shape[1])[batch.cell]
    parts = {"heatmap": focal(heatmap, batch.heatmap, batch.weight)}
    parts["box"], parts["velocity"], parts["sigma"] = box_losses(
        at_cells, batch.box, batch.box_weight, batch.has_memory, net.preset.head_cell_m
    )
    parts |= look_losses(outputs, sight, net, batch, rng)
    if image_output is not None:
        parts |= image_losses(image_output, batch)
    return weighted(parts)
