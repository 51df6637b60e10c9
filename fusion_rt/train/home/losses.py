"""What the network is taught, at both looks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fusion_rt.train.home.lanes import Batch
from fusion_rt.train.home.network import Answer, gather

MATCH_M = 1.0


def losses(answer: Answer, batch: Batch) -> dict[str, Tensor]:
    """name -> scalar; their sum is minimised."""
    told = {"heat": heat_loss(answer.heat, batch.heat, batch.ignore)}
    told |= cell_losses(answer, batch)
    told |= person_losses(answer, batch)
    for look, weight, counts, activities in (
        ("first", 0.5, answer.first_counts, answer.first_activities),
        ("second", 1.0, answer.counts, answer.activities),
    ):
        there = batch.exists
        told[f"{look}_counts"] = 2.0 * weight * F.cross_entropy(counts[there], batch.counts[there])
        known = there & (batch.activities >= 0) & (batch.counts > 0)
        wrong = F.cross_entropy(activities[known], batch.activities[known], reduction="sum")
        told[f"{look}_activities"] = 0.3 * weight * wrong / (known.sum() + 1)
    return told


def heat_loss(logits: Tensor, target: Tensor, ignore: Tensor) -> Tensor:
    """Penalty-reduced focal loss (Zhou et al., Objects as Points, 2019)."""
    p = torch.sigmoid(logits).clamp(1e-4, 1 - 1e-4)
    peak = target >= 1.0
    hit = -((1 - p) ** 2) * torch.log(p)
    miss = -((1 - target) ** 4) * p**2 * torch.log(1 - p)
    loss = torch.where(peak, hit, miss) * (1 - ignore)
    return loss.sum() / (peak.sum() + 1)


def cell_losses(answer: Answer, batch: Batch) -> dict[str, Tensor]:
    """The first answers in the cells where people are."""
    people = batch.people
    seen = people[:, :, 6] > 0
    height, width = answer.heat.shape[2:]
    coarse = torch.floor(people[:, :, :2] / 2).long()
    coarse = torch.stack([coarse[..., 0].clamp(0, width - 1), coarse[..., 1].clamp(0, height - 1)], dim=2)
    index = coarse[:, :, 1] * width + coarse[:, :, 0]
    at = gather(answer.first.flatten(2), index)[seen]
    want = people[seen]
    centre = coarse[seen].float() * 2 + 1
    n = len(want) + 1
    offset = F.smooth_l1_loss(centre + at[:, :2], want[:, :2], beta=0.2, reduction="sum") / n
    velocity = F.smooth_l1_loss(at[:, 2:4], want[:, 2:4], beta=0.2, reduction="sum") / n
    known = want[:, 4] < 3
    posture = F.cross_entropy(at[known, 4:7], want[known, 4].long(), reduction="sum") / n
    fall = F.binary_cross_entropy_with_logits(at[:, 7], want[:, 5], reduction="sum") / n
    return {"offset": 0.5 * offset, "velocity": 0.2 * velocity, "posture": 0.3 * posture, "fall": fall}


def person_losses(answer: Answer, batch: Batch) -> dict[str, Tensor]:
    """The second look: each peak is the person nearest to it, if that one has no nearer peak, else nobody."""
    person, people = answer.person, batch.people
    real = people[:, :, 0] >= 0
    gap = torch.cdist(person[:, :, 1:3].detach(), people[:, :, :2]) * batch.cell_m.view(-1, 1, 1)
    gap = gap.masked_fill(~real.unsqueeze(1), 1e6)
    nearest, which = gap.min(dim=2)  # of each peak
    best = gap.argmin(dim=1)  # of each person, the peak
    mine = best.gather(1, which) == torch.arange(person.shape[1])
    matched = mine & (nearest < MATCH_M)
    # A peak at somebody whom no sensor sees is neither right nor wrong; so is one outside of what is taught.
    want = people.gather(1, which.unsqueeze(2).expand(-1, -1, people.shape[2]))
    width = answer.heat.shape[3]
    column, row = answer.peak % width, torch.div(answer.peak, width, rounding_mode="floor")
    ignored = batch.ignore[torch.arange(len(row)).unsqueeze(1), 0, row, column] > 0
    counted = ~ignored & ~(matched & (want[:, :, 6] == 0))
    score = F.binary_cross_entropy_with_logits(person[:, :, 0], matched.float(), reduction="none")
    hit = matched & (want[:, :, 6] > 0)
    at, there = person[hit], want[hit]
    n = len(at) + 1
    metres = batch.cell_m.unsqueeze(1).expand_as(matched)[hit].unsqueeze(1)
    error = ((at[:, 1:3] - there[:, :2]) * metres).abs()
    sigma = at[:, 3:4].clamp(-4.0, 2.0)
    place = (error * torch.exp(-sigma) + sigma).sum() / n  # Laplace
    velocity = F.smooth_l1_loss(at[:, 4:6], there[:, 2:4], beta=0.2, reduction="sum") / n
    known = there[:, 4] < 3
    posture = F.cross_entropy(at[known, 6:9], there[known, 4].long(), reduction="sum") / n
    fall = F.binary_cross_entropy_with_logits(at[:, 9], there[:, 5], reduction="sum") / n
    return {
        "score": score[counted].mean() * 2.0,
        "place": 0.5 * place,
        "person_velocity": 0.3 * velocity,
        "person_posture": 0.5 * posture,
        "person_fall": 2.0 * fall,
    }
