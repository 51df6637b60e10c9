"""The fusion network in its context configuration: E one encoder a modality, recurrent, D a decoder, and the
refinement h(E, D(E)) that looks again at the encoded modalities with the first answer in hand.

The recurrence is the minimal gated unit whose gates do not depend on its own past (Feng et al., "Were RNNs
all we needed?", 2024): a whole recording trains as one scan, and live it is one step.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTH, STATE, LOOK = 10, 16, 16


def scan(keep: Tensor, new: Tensor, steps: int) -> Tensor:
    """h_t = keep_t h_(t-1) + new_t of (B, steps, H), h_-1 = 0, in log2(steps) additions."""
    stride = 1
    while stride < steps:
        new = torch.cat([new[:, :stride], new[:, stride:] + keep[:, stride:] * new[:, :-stride]], 1)
        keep = torch.cat([keep[:, :stride], keep[:, stride:] * keep[:, :-stride]], 1)
        stride *= 2
    return new


class ContextNet(nn.Module):
    """sizes: features of each modality; values (B, T, sum of them), present and age (B, T, M).

    memory: False where the features' own running averages are all that is remembered: better where there are
    few changes to learn a memory from."""

    def __init__(
        self, sizes: Sequence[int], classes: int, *, memory: bool = True, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.memory = memory
        self.sizes, width = list(sizes), WIDTH * len(sizes)
        self.encoders = nn.ModuleList(nn.Linear(n + 2, WIDTH) for n in sizes)
        self.gate, self.candidate = nn.Linear(width, STATE), nn.Linear(width, STATE)
        with torch.no_grad():  # from units that remember fifty steps to those that remember two
            self.gate.bias.copy_(torch.linspace(-4.0, 0.0, STATE))
        self.decoder = nn.Linear(width + STATE, classes)
        self.look = nn.Linear(width + STATE + classes, LOOK)
        self.refine = nn.Linear(LOOK, classes)
        self.dropout = nn.Dropout(dropout)

    def encode(self, values: Tensor, present: Tensor, age: Tensor) -> Tensor:
        parts = []
        for i, (part, encoder) in enumerate(zip(values.split(self.sizes, -1), self.encoders)):
            mask = present[..., i : i + 1]
            told = torch.cat([part * mask, mask, age[..., i : i + 1] * mask / 5], -1)
            parts.append(torch.tanh(encoder(told)) * mask)
        return torch.cat(parts, -1)

    def opened(self, encoded: Tensor) -> Tensor:
        """How much of the memory is written anew, 0..1; all of it where there is none."""
        gate = torch.sigmoid(self.gate(encoded))
        return gate if self.memory else torch.ones_like(gate)

    def answer(self, encoded: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """First and refined logits."""
        both = torch.cat([encoded, state], -1)
        first = self.decoder(both)
        look = torch.tanh(self.look(torch.cat([both, first.softmax(-1)], -1)))
        return first, first + self.refine(self.dropout(look))

    def forward(self, values: Tensor, present: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
        """First and refined logits (B, T, C) of whole sequences, from an empty memory."""
        encoded = self.dropout(self.encode(values, present, age))
        z = self.opened(encoded)
        state = scan(1 - z, z * torch.tanh(self.candidate(encoded)), values.shape[1])
        return self.answer(encoded, self.dropout(state))

    def step(self, values: Tensor, present: Tensor, age: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """values (1, F), present and age (1, M), state (1, STATE) -> probabilities (1, C), the new state."""
        encoded = self.encode(values, present, age)
        z = self.opened(encoded)
        state = (1 - z) * state + z * torch.tanh(self.candidate(encoded))
        return self.answer(encoded, state)[1].softmax(-1), state


class Ensemble(nn.Module):
    """Several networks of one kind, trained from other seeds; their probabilities are averaged. lead: the
    modality that every second one leans on; where it is missing, those do not count."""

    def __init__(self, members: Sequence[ContextNet], *, lead: int | None = None) -> None:
        super().__init__()
        self.members, self.lead = nn.ModuleList(members), lead

    def forward(self, values: Tensor, present: Tensor, age: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One step of all; state (1, N * STATE)."""
        answers, states = [], []
        for member, own in zip(self.members, state.split(STATE, -1)):
            assert isinstance(member, ContextNet)
            probabilities, own = member.step(values, present, age, own)
            answers.append(probabilities)
            states.append(own)
        if self.lead is not None:
            free, led = torch.stack(answers[::2]), torch.stack(answers[1::2])
            told = present[:, self.lead : self.lead + 1]
            n = len(answers)
            answer = (free.sum(0) + told * led.sum(0)) / ((n + 1) // 2 + told * (n // 2))
        else:
            answer = torch.stack(answers).mean(0)
        return answer, torch.cat(states, -1)
