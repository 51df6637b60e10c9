"""home-s in torch: E (encoders), D (first answers), h (a second look with the first answers in hand).

Canvas: 64 x 64 cells in, 32 x 32 inside and out (in training a part of it: the layers do not care). Both
memories, of cells and of rooms, move towards what is seen by 1 - exp(-rate dt), so that any time may lie
between two ticks."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_rt.home.canvas import HALF, ROOMS, SIDE
from fusion_rt.home.network import COUNTS, PEOPLE, PERSON, ROOM_ACTIVITIES
from fusion_rt.home.raster import CHANNELS
from fusion_rt.home.room_features import COLUMNS

POSTURE = 3
FIRST = 1 + 2 + 2 + POSTURE + 1  # heat, offset, velocity, posture, fall
ACTIVITY = len(ROOM_ACTIVITIES)


@dataclass(frozen=True)
class Sizes:
    stem: int = 32
    trunk: int = 32
    cells: int = 16  # of the cells' memory
    room: int = 64
    memory: int = 48  # of a room
    person: int = 64
    home: int = 32

    def shapes(self) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
        """Inputs and outputs of one tick, name -> shape."""
        cells, memory = (1, self.cells, HALF, HALF), (1, ROOMS, self.memory)
        return (
            {
                "canvas": (1, len(CHANNELS), SIDE, SIDE),
                "rooms": (1, ROOMS, len(COLUMNS)),
                "room_map": (1, ROOMS, HALF * HALF),
                "ways": (1, ROOMS, ROOMS),
                "dt": (1, 1),
                "cells": cells,
                "memory": memory,
            },
            {
                "counts": (1, ROOMS, COUNTS),
                "activities": (1, ROOMS, ACTIVITY),
                "people": (1, PEOPLE, len(PERSON)),
                "next_cells": cells,
                "next_memory": memory,
            },
        )


@dataclass
class Answer:
    """heat (B, 1, 32, 32) logits; first (B, 8, 32, 32): offset, velocity, posture, fall at each cell
    first_counts, counts (B, R, 5), first_activities, activities (B, R, 5): logits, before and after the
    second look; peak (B, K) cells of the people; person (B, K, 10): logit, x, y (cells of 0.25 m), log
    sigma (m), velocity, posture logits, fall logit; cells, memory: the next state"""

    heat: Tensor
    first: Tensor
    first_counts: Tensor
    counts: Tensor
    first_activities: Tensor
    activities: Tensor
    peak: Tensor
    person: Tensor
    cells: Tensor
    memory: Tensor


def conv(inputs: int, outputs: int, *, stride: int = 1) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def separable(width: int, dilation: int) -> nn.Sequential:
    """Wide around for few sums: each channel by itself, then all channels of a cell."""
    around = nn.Conv2d(width, width, 3, 1, dilation, dilation, groups=width, bias=False)
    across = nn.Conv2d(width, width, 1, bias=False)
    return nn.Sequential(around, across, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-1])


class Memory(nn.Module):
    """state + (1 - exp(-rate dt)) (candidate - state); rates between 1/300 s and 20/s."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # From memory of minutes to memory of a tick.
        self.bias = nn.Parameter(torch.linspace(-4.0, 1.5, width))

    def forward(self, state: Tensor, candidate: Tensor, rate: Tensor, dt: Tensor, channel: int) -> Tensor:
        shape = [1] * state.ndim
        shape[channel] = -1
        bounded = (rate + self.bias.view(shape)).clamp(-5.7, 3.0)
        share = 1 - torch.exp(-torch.exp(bounded) * dt.view(-1, *[1] * (state.ndim - 1)))
        return state + share * (torch.tanh(candidate) - state)


class HomeNet(nn.Module):
    def __init__(self, sizes: Sizes | None = None) -> None:
        super().__init__()
        s = self.sizes = sizes or Sizes()
        columns = len(COLUMNS)
        self.stem = conv(len(CHANNELS), s.stem, stride=2)
        self.context = nn.Sequential(mlp(columns, s.room, s.room), nn.ReLU(inplace=True))
        self.along = nn.ModuleList(nn.Linear(2 * s.room, s.room) for _ in range(2))
        self.film = nn.Linear(s.room + s.memory, 2 * s.trunk)
        self.join = nn.Conv2d(s.stem + s.cells, s.trunk, 1, bias=False)
        self.norm = nn.BatchNorm2d(s.trunk)
        self.blocks = nn.ModuleList([conv(s.trunk, s.trunk), separable(s.trunk, 2), separable(s.trunk, 1)])
        self.remember = nn.Conv2d(s.trunk, 2 * s.cells, 1)
        self.cells = Memory(s.cells)
        self.first = nn.Conv2d(s.trunk, FIRST, 1)
        self.pool = nn.Conv2d(s.trunk, 16, 1)
        seen = s.room + 16 + 2
        self.everywhere = nn.Linear(seen + s.memory, s.home)
        self.update = mlp(seen + 2 * s.memory + s.home, s.room, 2 * s.memory)
        self.memory = Memory(s.memory)
        told = s.memory + seen
        self.answer = mlp(told, s.room, COUNTS + ACTIVITY)
        room = s.memory + COUNTS + ACTIVITY + 1
        self.person = mlp(s.trunk + s.cells + FIRST + room, s.person, s.person, 10)
        self.again = mlp(told + COUNTS + ACTIVITY + 1 + 6 + s.home + 2, s.room, COUNTS + ACTIVITY)
        nn.init.constant_(self.first.bias[:1], -4.0)  # type: ignore[index]

    def forward(
        self,
        canvas: Tensor,
        rooms: Tensor,
        room_map: Tensor,
        ways: Tensor,
        dt: Tensor,
        cells: Tensor,
        memory: Tensor,
    ) -> Answer:
        # E: the encoders.
        near = ways / ways.sum(dim=2, keepdim=True).clamp(min=1.0)
        row = self.context(rooms)
        for layer in self.along:
            row = row + torch.relu(layer(torch.cat([row, near @ row], dim=2)))
        exists = rooms[:, :, -4:-3]
        film = (self.film(torch.cat([row, memory], dim=2)) * exists).transpose(1, 2) @ room_map
        height, width = cells.shape[2:]
        scale, shift = film.view(-1, 2, self.sizes.trunk, height, width).unbind(1)
        x = self.norm(self.join(torch.cat([self.stem(canvas), cells], dim=1)))
        x = torch.relu(x * (1 + scale) + shift)
        for block in self.blocks:
            x = x + block(x)
        candidate, rate = self.remember(x).chunk(2, dim=1)
        cells = self.cells(cells, candidate, rate, dt, 1)
        # D: the first answers.
        first = self.first(x)
        heat = first[:, :1]
        p = torch.sigmoid(heat)
        flat = p.flatten(2)  # (B, 1, cells)
        mass = (room_map @ flat.transpose(1, 2)) * 0.5
        most = (room_map * flat).amax(dim=2, keepdim=True)
        pooled = (room_map @ torch.relu(self.pool(x)).flatten(2).transpose(1, 2)) * 0.1
        seen = torch.cat([row, pooled, mass, most], dim=2)
        # Who is in a room is nowhere else: each room hears of all together.
        told_all = torch.relu(self.everywhere(torch.cat([seen, memory], dim=2))) * exists
        home = told_all.sum(dim=1, keepdim=True).expand(-1, rooms.shape[1], -1)
        candidate, rate = self.update(torch.cat([seen, memory, near @ memory, home], dim=2)).chunk(2, dim=2)
        memory = self.memory(memory, candidate, rate, dt, 2)
        told = torch.cat([memory, seen], dim=2)
        first_counts, first_activities = self.answer(told).split([COUNTS, ACTIVITY], dim=2)
        # h: the second look, at each person and each room.
        believed = F.softmax(first_counts, dim=2)
        doing = F.softmax(first_activities, dim=2)
        occupied = (1 - believed[:, :, :1]) * exists
        about = torch.cat([memory, believed, doing, near @ occupied], dim=2)
        peaks = p * (p >= F.max_pool2d(p, 3, 1, 1))
        _, peak = peaks.flatten(1).topk(PEOPLE, dim=1)
        around = torch.cat([x, cells, first], dim=1)
        at = gather(around.flatten(2), peak)  # (B, K, C)
        rooms_at = gather(room_map, peak)  # (B, K, R)
        delta = self.person(torch.cat([at, rooms_at @ about], dim=2))
        person = self._people(delta, at[:, :, -FIRST:], peak, int(width))
        sure = torch.sigmoid(person[:, :, :1])
        posture = F.softmax(person[:, :, 6:9], dim=2)
        speed = person[:, :, 4:6].pow(2).sum(dim=2, keepdim=True).clamp(max=9.0)
        found = torch.cat([sure, sure * posture, sure * speed, sure * sure], dim=2)
        there = rooms_at.transpose(1, 2) @ found  # (B, R, 6)
        # And of how many are believed, and found, in the others.
        people = (believed * torch.arange(COUNTS)).sum(dim=2, keepdim=True) * exists
        many = torch.cat([people, there[:, :, :1]], dim=2)
        others = many.sum(dim=1, keepdim=True) - many
        counts, activities = self.again(
            torch.cat([told, believed, doing, near @ occupied, there, home, others], dim=2)
        ).split([COUNTS, ACTIVITY], dim=2)
        return Answer(
            *(heat, first[:, 1:], first_counts, first_counts + counts, first_activities),
            *(first_activities + activities, peak, person, cells, memory),
        )

    def _people(self, delta: Tensor, first: Tensor, peak: Tensor, width: int) -> Tensor:
        heat, offset, velocity, posture, fall = first.split([1, 2, 2, POSTURE, 1], dim=2)
        row = torch.div(peak, width, rounding_mode="floor")
        centre = torch.stack([peak - row * width, row], dim=2).float() * 2 + 1  # in cells of 0.25 m
        return torch.cat(
            [
                heat + delta[:, :, :1],
                centre + offset + delta[:, :, 1:3],
                delta[:, :, 3:4] - 1.0,
                velocity + delta[:, :, 4:6],
                posture + delta[:, :, 6:9],
                fall + delta[:, :, 9:],
            ],
            dim=2,
        )


def gather(features: Tensor, index: Tensor) -> Tensor:
    """features (B, C, N) at index (B, K): (B, K, C)."""
    wide = index.unsqueeze(1).expand(-1, features.shape[1], -1)
    return features.gather(2, wide).transpose(1, 2)


class Deployed(nn.Module):
    """One tick with the outputs of the package: probabilities instead of logits."""

    def __init__(self, net: HomeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        a = self.net(*tensors)
        p, place, sigma, velocity, posture, fall = a.person.split([1, 2, 1, 2, POSTURE, 1], dim=2)
        people = torch.cat(
            [
                torch.sigmoid(p),
                place,
                torch.exp(sigma.clamp(-4.0, 2.0)),
                velocity,
                F.softmax(posture, dim=2),
                torch.sigmoid(fall),
            ],
            dim=2,
        )
        return F.softmax(a.counts, dim=2), F.softmax(a.activities, dim=2), people, a.cells, a.memory
