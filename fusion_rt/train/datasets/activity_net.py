"""The fusion network over a window of radar frames: an encoder of frames and of the window as a whole, a
recurrence, a decoder, and a refinement that looks again at the frames with the first answer in hand."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from fusion_rt.train.datasets.context_net import scan

WIDTH, STATE = 32, 24
WINDOW = 60  # frames, 2 s
LAGS = (1, 5)  # frames


def statistics(frames: Tensor) -> Tensor:
    """(B, T, F) -> (B, 4 F): mean, spread, and how much changes from frame to frame and in a sixth of a
    second."""
    mean = frames.mean(1)
    spread = (frames - mean[:, None]).square().mean(1).add(1e-6).sqrt()
    changes = [(frames[:, lag:] - frames[:, :-lag]).abs().mean(1) for lag in LAGS]
    return torch.cat([mean, spread, *changes], -1)


class ActivityNet(nn.Module):
    """frames (B, WINDOW, F) -> first and refined logits (B, C)."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        whole = (2 + len(LAGS)) * features
        self.whole_centre = nn.Parameter(torch.zeros(whole), requires_grad=False)
        self.whole_scale = nn.Parameter(torch.ones(whole), requires_grad=False)
        self.whole = nn.Linear(whole, classes)
        self.encoder = nn.Linear(2 * features, WIDTH)
        self.neighbours = nn.Conv1d(WIDTH, WIDTH, 5, padding=2)
        self.gate, self.candidate = nn.Linear(WIDTH, STATE), nn.Linear(WIDTH, STATE)
        self.decoder = nn.Linear(2 * WIDTH + 2 * STATE, classes)
        self.ask = nn.Linear(classes, WIDTH)
        self.refine = nn.Linear(WIDTH, classes)
        self.light, self.heavy = nn.Dropout(0.2), nn.Dropout(0.5)

    def normalise(self, frames: Tensor) -> None:
        """Scales the statistics by those of a large sample."""
        found = statistics(frames)
        self.whole_centre.copy_(found.mean(0))
        self.whole_scale.copy_(1 / (found.std(0) + 0.02))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        whole = self.whole(self.heavy((statistics(frames) - self.whole_centre) * self.whole_scale))
        moved = frames - frames.mean(1, keepdim=True)
        encoded = self.light(torch.relu(self.encoder(torch.cat([self.light(frames), moved], -1))))
        encoded = encoded + torch.relu(self.neighbours(encoded.transpose(1, 2)).transpose(1, 2))
        z = torch.sigmoid(self.gate(encoded))
        state = scan(1 - z, z * torch.tanh(self.candidate(encoded)), WINDOW)
        pooled = torch.cat([encoded.mean(1), encoded.amax(1), state.mean(1), state[:, -1]], -1)
        first = whole + self.decoder(self.heavy(pooled))
        asked = (encoded * self.ask(first.softmax(-1))[:, None]).sum(-1, keepdim=True) / WIDTH**0.5
        looked = (encoded * asked.softmax(1)).sum(1)
        return first, first + self.refine(self.heavy(looked))


class ActivityEnsemble(nn.Module):
    """The average of several networks' probabilities."""

    def __init__(self, members: Sequence[ActivityNet]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, frames: Tensor) -> Tensor:
        return torch.stack([member(frames)[1].softmax(-1) for member in self.members]).mean(0)
