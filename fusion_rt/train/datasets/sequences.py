"""Training of a ContextNet on labelled sequences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import nn

from fusion_rt.train.datasets.context_net import ContextNet, Ensemble

Advance = Callable[[int, int], None]
LEAD_LOSES = 0.8  # of sequences without another modality, for each


class Episode(Struct, frozen=True):
    """One recording, or a piece of one, as the network sees it.

    values (T, F), present and age (T, M), truth (T,) int64, -1 where it does not count"""

    values: Any
    present: Any
    age: Any
    truth: Any


class SequenceConfig(Struct, frozen=True, kw_only=True):
    """members    networks of the ensemble
    steps      updates of each
    memory     whether the network has one of its own beside that of its features
    length     steps of a sequence that gradients go through
    lose       modality -> share of sequences that go without it, in the order of the modalities
    lead       modality that every second member always has, mostly alone (LEAD_LOSES): it leans on that one,
               and is not asked where it is missing; then there are two members or more
    groups     modalities that come from one place; half of the sequences keep one group alone
    by_length  exponent of a piece's length in its share: below 1, beginnings without a past count for more
    weights    of the classes in the loss; None: all 1
    """

    members: int = 4
    memory: bool = True
    steps: int = 250
    batch: int = 16
    length: int = 240
    lose: tuple[float, ...]
    lead: int | None = None
    groups: tuple[tuple[int, ...], ...] = ()
    learning_rate: float = 8e-3
    weight_decay: float = 0.02
    by_length: float = 1.0
    noise: float = 0.05
    smoothing: float = 0.02
    weights: tuple[float, ...] | None = None
    seed: int = 1


def train(
    sequences: Sequence[Episode],
    sizes: Sequence[int],
    classes: int,
    config: SequenceConfig,
    *,
    advance: Advance | None = None,
) -> Ensemble:
    """An ensemble whose members saw the same sequences in another order, with other losses of modalities."""
    led = config
    if config.lead is not None:
        loses = tuple(0.0 if i == config.lead else LEAD_LOSES for i in range(len(sizes)))
        led = replace(config, lose=loses)
    members = []
    for number in range(config.members):
        own = led if number % 2 else config
        members.append(_member(sequences, sizes, classes, own, config.seed * 100 + number))
        if advance:
            advance(number + 1, config.members)
    return Ensemble(members, lead=config.lead).eval()


def _member(
    sequences: Sequence[Episode], sizes: Sequence[int], classes: int, config: SequenceConfig, seed: int
) -> ContextNet:
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # small tensors: threads only wait for each other
    net = ContextNet(sizes, classes, memory=config.memory).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    lengths = np.array([len(s.truth) for s in sequences], float) ** config.by_length
    weights = torch.tensor(config.weights) if config.weights else None
    for _ in range(config.steps):
        values, present, age, truth = _batch(sequences, lengths / lengths.sum(), config, rng)
        values = values + config.noise * torch.randn_like(values)
        loss = sum(
            nn.functional.cross_entropy(
                logits.flatten(0, 1),
                truth.flatten(),
                weight=weights,
                ignore_index=-1,
                label_smoothing=config.smoothing,
            )
            for logits in net(values, present, age)
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net


def _batch(sequences: Sequence[Episode], shares: Any, config: SequenceConfig, rng: Any) -> list[torch.Tensor]:
    """Pieces of `length` steps; a shorter recording is filled up with steps that do not count."""
    first = sequences[0]
    n, length = config.batch, config.length
    values = np.zeros((n, length, first.values.shape[1]), np.float32)
    present, age = (np.zeros((n, length, first.present.shape[1]), np.float32) for _ in range(2))
    truth = np.full((n, length), -1, np.int64)
    for b, chosen in enumerate(rng.choice(len(sequences), n, p=shares)):
        sequence = sequences[chosen]
        start = int(rng.integers(0, max(1, len(sequence.truth) - length + 1)))
        piece = slice(start, start + length)
        size = len(sequence.truth[piece])
        values[b, :size], present[b, :size] = sequence.values[piece], sequence.present[piece]
        age[b, :size], truth[b, :size] = sequence.age[piece], sequence.truth[piece]
    lost = rng.random((n, 1, present.shape[2])) < np.array(config.lose)
    if config.groups:
        for alone in np.flatnonzero(rng.random(n) < 0.5):
            kept = list(config.groups[rng.integers(len(config.groups))])
            lost[alone] = True
            lost[alone, 0, kept] = False
    # Without all of them there is nothing to learn from.
    lost &= ~lost.all(-1, keepdims=True)
    present *= ~lost
    return [torch.from_numpy(x) for x in (values, present, age, truth)]
