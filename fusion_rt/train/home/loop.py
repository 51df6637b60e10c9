"""Truncated back-propagation through time over lanes of homes; goes on from its own checkpoint."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from msgspec import Struct, to_builtins
from torch import Tensor

from fusion_rt.errors import ConfigError
from fusion_rt.train.home.lanes import HEIGHT, WIDTH, Batch, Lane
from fusion_rt.train.home.losses import losses
from fusion_rt.train.home.network import HomeNet

CHECKPOINT = "last.pt"
AVERAGE = 0.995  # of the weights that are exported
SAVE_S = 60.0


class HomeTraining(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """minutes  of training in all, over all starts; the learning rate ends with it
    lanes    homes side by side; ticks: through which one update looks back
    start    a last.pt to begin with, of a network that may hear less: what is new begins at nothing"""

    minutes: float = 40.0
    lanes: int = 8
    ticks: int = 5
    rate: float = 3e-3
    decay: float = 1e-3
    seed: int = 1
    threads: int = 1
    start: str = ""


def train(
    tapes: Path,
    out: Path,
    settings: HomeTraining,
    *,
    show: Callable[[float, int, dict[str, float]], None] = lambda share, step, told: None,
) -> HomeNet:
    """The averaged network. show: share of the time that is spent, the step, mean losses.

    Raises ConfigError where there are no tapes."""
    paths = sorted(tapes.glob("*.npz"))
    if not paths:
        raise ConfigError(f"{tapes}: no .npz there; `fusion-rt train home` makes them first")
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(settings)
    path = out / CHECKPOINT
    if path.is_file():
        trainer.load(path)
    elif settings.start:
        trainer.begin(Path(settings.start))
    rng = np.random.default_rng([settings.seed, trainer.step])
    lanes = [Lane(paths, child) for child in rng.spawn(settings.lanes)]
    last, shown = time.monotonic(), time.monotonic()
    sums: dict[str, float] = defaultdict(float)
    steps = 0
    while trainer.spent_s < 60 * settings.minutes:
        for name, value in trainer.update(lanes).items():
            sums[name] += value
        steps += 1
        now = time.monotonic()
        trainer.spent_s += now - last
        last = now
        if now - shown > SAVE_S:
            show(trainer.share, trainer.step, {k: v / steps for k, v in sums.items()})
            sums.clear()
            steps, shown = 0, now
            trainer.save(path)
            # Tapes that were made meanwhile take part too.
            paths[:] = sorted(tapes.glob("*.npz"))
    trainer.save(path)
    return trainer.averaged()


class Trainer:
    def __init__(self, settings: HomeTraining) -> None:
        self.settings = settings
        self.net = HomeNet()
        self.average = HomeNet().eval()
        self.average.load_state_dict(self.net.state_dict())
        self.optimiser = torch.optim.AdamW(
            self.net.parameters(),
            lr=settings.rate,
            weight_decay=settings.decay,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.step, self.spent_s = 0, 0.0
        pairs = zip(self.average.state_dict().values(), self.net.state_dict().values())
        moving = [(mean, new) for mean, new in pairs if mean.dtype.is_floating_point]
        self._means, self._news = [mean for mean, _ in moving], [new for _, new in moving]
        self._state: tuple[Tensor, Tensor] | None = None

    @property
    def share(self) -> float:
        return min(1.0, self.spent_s / (60 * self.settings.minutes))

    def update(self, lanes: list[Lane]) -> dict[str, float]:
        """One step of the optimiser: `ticks` ticks of all lanes."""
        warm = min(1.0, (self.step + 1) / 100)
        rate = self.settings.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * self.share)))
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        s = self.net.sizes
        if self._state is None:
            n = len(lanes)
            self._state = (torch.zeros(n, s.cells, HEIGHT // 2, WIDTH // 2), torch.zeros(n, 16, s.memory))
        self.net.train()
        cells, memory = (state.detach() for state in self._state)
        total = torch.zeros(())
        told: dict[str, float] = defaultdict(float)
        for _ in range(self.settings.ticks):
            batch = Batch(lanes)
            keep = (~batch.fresh).float()
            cells, memory = cells * keep.view(-1, 1, 1, 1), memory * keep.view(-1, 1, 1)
            answer = self.net(**batch.inputs, cells=cells, memory=memory)
            cells, memory = answer.cells, answer.memory
            for name, value in losses(answer, batch).items():
                total = total + value / self.settings.ticks
                told[name] += float(value.detach()) / self.settings.ticks
        self._state = (cells.detach(), memory.detach())
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return dict(told)

    def averaged(self) -> HomeNet:
        return self.average

    def save(self, path: Path) -> None:
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "model": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step,
                "spent_s": self.spent_s,
                "settings": to_builtins(self.settings),
            },
            partial,
        )
        partial.rename(path)

    def load(self, path: Path) -> None:
        """Raises ConfigError where it is no checkpoint of this network."""
        data = checkpoint(path)
        try:
            self.net.load_state_dict(data["model"])
            self.average.load_state_dict(data["average"])
            self.optimiser.load_state_dict(data["optimiser"])
        except (RuntimeError, KeyError, ValueError) as error:
            raise ConfigError(f"{path}: of another network; give another --out") from error
        self.step, self.spent_s = int(data["step"]), float(data["spent_s"])

    def begin(self, path: Path) -> None:
        """With the averaged weights of another training. Raises ConfigError where they do not fit."""
        known, own = checkpoint(path).get("average", {}), self.net.state_dict()
        fitted = own | {
            name: _fitted(known[name], value, name, path) for name, value in own.items() if name in known
        }
        self.net.load_state_dict(fitted)
        self.average.load_state_dict(fitted)

    def _follow(self) -> None:
        keep = min(AVERAGE, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self._means, self._news, 1 - keep)


def _fitted(old: Tensor, new: Tensor, name: str, path: Path) -> Tensor:
    """`old`, with zeros for inputs of a layer that came after it."""
    if old.shape == new.shape:
        return old
    if old.ndim == new.ndim == 2 and len(old) == len(new) and old.shape[1] < new.shape[1]:
        return F.pad(old, (0, new.shape[1] - old.shape[1]))
    shapes = f"{tuple(old.shape)}, not {tuple(new.shape)}"
    raise ConfigError(f"{path}: {name} has shape {shapes}: this network cannot begin with it")


def checkpoint(path: Path) -> dict[str, Any]:
    """Raises ConfigError where the file is none."""
    try:
        data: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise ConfigError(f"{path}: not a checkpoint of `fusion-rt train home`") from error
    return data
