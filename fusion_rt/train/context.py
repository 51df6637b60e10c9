"""A network over any registered modalities: E(x), D(E(x)), and a second look h(E(x), D(E(x))).

Each modality is encoded to a vector that is exactly zero where it is missing; their sum is decoded. So the
mean magnitude of each summand, as a share of all, says what an answer was made from. Modalities are left
out at random in training, so that any may be missing later."""

from __future__ import annotations

import copy
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fusion_rt.context.modality import Encoder
from fusion_rt.context.pipeline import PRESENT, SHARES
from fusion_rt.errors import ConfigError
from fusion_rt.models.head import MODEL, HeadSpec, describe
from fusion_rt.train.onnx_file import export_onnx

DROPPED = 0.25  # of the modalities, in training

Questions = Mapping[str, Sequence[str]]  # question -> its labels


class ContextNet(nn.Module):
    """questions: each is answered by probabilities of its labels. Raises ConfigError: two have one name."""

    def __init__(self, encoders: Sequence[Encoder], questions: Questions, width: int = 64) -> None:
        super().__init__()
        names = Counter([PRESENT, SHARES, *questions, *(e.name for e in encoders)])
        name, times = names.most_common(1)[0]
        if times > 1:
            raise ConfigError(f"{name!r}: one name for two inputs or outputs; call one differently")
        self.names, self.questions = [e.name for e in encoders], {q: tuple(ls) for q, ls in questions.items()}
        self.shapes = {e.name: e.shape for e in encoders}
        self.encoders = nn.ModuleDict({e.name: e.module(width) for e in encoders})
        self.bias = nn.Parameter(torch.zeros(width))
        self.trunk = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        answers = sum(map(len, self.questions.values()))
        self.decoders = nn.Linear(width, answers)
        self.again = nn.Sequential(
            nn.Linear((len(self.names) + 1) * width + answers + len(self.names), width),
            nn.ReLU(),
            nn.Linear(width, answers),
        )
        nn.init.zeros_(self.again[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.again[-1].bias)  # type: ignore[arg-type]

    def forward(self, features: Mapping[str, Tensor], present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """features: name -> (B, *shape), present (B, M) 0 or 1. Returns logits of all labels (B, A) before
        and after the second look, and shares (B, M)."""
        summands = [
            self.encoders[name](features[name]) * present[:, i : i + 1] for i, name in enumerate(self.names)
        ]
        seen = self.trunk(torch.stack(summands).sum(dim=0) + self.bias)
        first = self.decoders(seen)
        believed = torch.cat([F.softmax(part, dim=1) for part in self.split(first)], dim=1)
        final = first + self.again(torch.cat([*summands, seen, believed, present], dim=1))
        magnitude = torch.stack([s.abs().mean(dim=1) for s in summands], dim=1)
        return first, final, magnitude / (magnitude.sum(dim=1, keepdim=True) + 1e-6)

    def split(self, logits: Tensor) -> tuple[Tensor, ...]:
        """A question each."""
        return logits.split([len(labels) for labels in self.questions.values()], dim=1)


def train(
    net: ContextNet,
    features: Mapping[str, NDArray[np.float32]],
    present: NDArray[np.float32],
    answers: NDArray[np.int64],
    *,
    seconds: float,
    steps: int = 10_000,
    batch: int = 64,
    seed: int = 0,
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> float:
    """Adam for `steps`, or until `seconds` have passed. features: name -> (N, *shape), present (N, M),
    answers (N, Q) indices of labels. Returns the mean loss of the last tenth; progress is called with step
    and loss."""
    if not len(answers):
        raise ConfigError("nothing to train on: no samples")
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    tensors = {name: torch.from_numpy(array) for name, array in features.items()}
    masks, targets = torch.from_numpy(present), torch.from_numpy(answers)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3, weight_decay=1e-5)
    losses: list[float] = []
    end = time.monotonic() + seconds
    net.train()
    for step in range(steps):
        chosen = torch.from_numpy(rng.integers(len(targets), size=batch))
        kept = torch.rand(batch, len(net.names)) >= DROPPED
        mask = masks[chosen] * kept
        first, final, _ = net({name: t[chosen] for name, t in tensors.items()}, mask)
        loss = torch.stack(
            [
                F.cross_entropy(part, targets[chosen, q])
                for logits in (first, final)
                for q, part in enumerate(net.split(logits))
            ]
        ).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        progress(step, losses[-1])
        if time.monotonic() > end:
            break
    net.eval()
    return float(np.mean(losses[-max(len(losses) // 10, 1) :]))


class _Deployed(nn.Module):
    def __init__(self, net: ContextNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        *features, present = tensors
        _, final, shares = self.net(dict(zip(self.net.names, features)), present)
        return (*(F.softmax(part, dim=1) for part in self.net.split(final)), shares)


def export(
    net: ContextNet, folder: Path, *, name: str, version: str, trained_with: str, licence: str
) -> HeadSpec:
    """Writes a head that ContextPipeline runs."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs = {n: (1, *net.shapes[n]) for n in net.names} | {PRESENT: (1, len(net.names))}
    outputs = {q: (1, len(labels)) for q, labels in net.questions.items()} | {SHARES: (1, len(net.names))}
    export_onnx(_Deployed(copy.deepcopy(net)), inputs, outputs, folder / MODEL)
    return describe(
        folder,
        name=name,
        version=version,
        inputs=inputs,
        outputs=outputs,
        labels={**net.questions, SHARES: tuple(net.names)},
        trained_with=trained_with,
        licence=licence,
    )
