"""The training loop: a budget of minutes or steps, an averaged copy, checkpoints that resume."""

from __future__ import annotations

import copy
import math
import os
import pickle
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.data import DataLoader

from fusion_rt.errors import ConfigError, FusionError
from fusion_rt.models.presets import PRESETS
from fusion_rt.train.losses import image_losses, look_losses, point_losses, total_loss, weighted
from fusion_rt.train.samples import Batch, SceneBatches, Use, list_scenes
from fusion_rt.train.step import TrainingNet

# What can be trained, and which tensors another training takes from it.
SECOND_LOOK = "net.points.", "net.refine."
PARTS = {"all": "", "camera": ("net.camera.", "image_head."), "points": SECOND_LOOK, "look": SECOND_LOOK}


ALONE = {
    "camera": Use(lidar=False, memory=False, ego=False),
    "points": Use(camera=False, memory=False, ego=False),
}


@dataclass(frozen=True)
class TrainConfig:
    """frames, out: folders. minutes or steps: the budget over which the learning rate goes up and
    down; exactly one is given. The time spent survives a resume.

    part   "all"; "camera": the image encoder by itself, on images alone; "points": the second look, on
           the points of jittered boxes alone; "look": the same on all that it is given, the rest held
    start  checkpoints whose averaged weights are begun with, one after the other, where names and shapes
           fit; a narrower network takes the first channels of a wider one"""

    frames: Path
    out: Path
    preset: str = "driving-s"
    part: str = "all"
    start: tuple[Path, ...] = ()
    minutes: float | None = None
    steps: int | None = None
    batch: int = 4
    seed: int = 1
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.01
    ema: float = 0.998
    clip: float = 10.0
    workers: int = 1
    threads: int = 2
    checkpoint_s: float = 180.0
    log_steps: int = 25

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ConfigError("training needs either `minutes` or `steps`, and not both")
        if self.preset not in PRESETS:
            raise ConfigError(f"preset {self.preset!r} is not one of {', '.join(PRESETS)}")
        if self.part not in PARTS:
            raise ConfigError(f"part {self.part!r} is not one of {', '.join(PARTS)}")


class Trainer:
    """Weights, their average, the optimiser and how far they have come."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.preset = PRESETS[config.preset]
        self.model = TrainingNet(self.preset).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if config.part == "points":
            self.model.net.refine.forget_canvases()
        self.average = copy.deepcopy(self.model).eval()
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.step_count = 0
        self.spent_s = 0.0

    @property
    def progress(self) -> float:
        """0 at the start of the budget, 1 at its end."""
        if self.config.steps is not None:
            return self.step_count / self.config.steps
        assert self.config.minutes is not None
        return self.spent_s / (60 * self.config.minutes)

    def step(self, batch: Batch) -> dict[str, float]:
        """One update. Raises FusionError, with the weights untouched, when the loss is not finite."""
        rate = learning_rate(self.progress, self.config.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train(self.config.part != "look")
        loss, parts = self._loss(batch)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise FusionError(
                f"the loss became {value} at step {self.step_count} ({parts}); the last checkpoint in"
                f" {self.config.out} is good: look at the frames, or lower the learning rate, and resume"
            )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        self.step_count += 1
        self._update_average()
        return {"loss": value, "norm": float(norm), "rate": rate, **parts}

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if self.config.part == "camera":
            return weighted(image_losses(self.model.look(batch), batch))
        rng = np.random.default_rng([self.config.seed, 1 << 20, self.step_count])
        if self.config.part == "points":
            return weighted(point_losses(self.model.net, batch, rng))
        if self.config.part == "look":
            with torch.no_grad():
                outputs, camera_bev, _ = self.model(batch)
            return weighted(
                look_losses(outputs, camera_bev, self.model.net, batch, rng, decoded=48, jittered=32)
            )
        outputs, camera_bev, image = self.model(batch)
        return total_loss(outputs, camera_bev, image, self.model.net, batch, rng)

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.config.ema, (1 + self.step_count) / (10 + self.step_count))
        for mean, value in zip(self.average.parameters(), self.model.parameters()):
            mean.lerp_(value, 1 - keep)
        for mean, value in zip(self.average.buffers(), self.model.buffers()):
            if mean.dtype.is_floating_point:
                mean.lerp_(value, 1 - keep)
            else:
                mean.copy_(value)

    def save(self, path: Path) -> None:
        """Write beside and rename, so that a crash leaves the last checkpoint whole."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        config = {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self.config).items()}
        config["start"] = [str(path) for path in self.config.start]
        torch.save(
            {
                "preset": self.preset.name,
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "step": self.step_count,
                "spent_s": self.spent_s,
                "config": config,
            },
            part,
        )
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint. Raises ConfigError for one of another preset or a broken file."""
        data = read_checkpoint(path)
        if data["preset"] != self.preset.name:
            raise ConfigError(f"{path}: preset {data['preset']!r}, this training is {self.preset.name!r}")
        self.model.load_state_dict(data["model"])
        self.average.load_state_dict(data["average"])
        self.optimiser.load_state_dict(data["optimiser"])
        self.step_count, self.spent_s = data["step"], data["spent_s"]

    def begin_with(self, path: Path) -> list[str]:
        """Take the averaged weights of another training where their names and shapes fit, of a wider layer
        its first channels; returns the names that begin anew. Raises ConfigError where none fits."""
        data, own = read_checkpoint(path), self.model.state_dict()
        part = PARTS[data["config"].get("part", "all")]
        fitting = {
            k: v[tuple(slice(n) for n in own[k].shape)]
            for k, v in data["average"].items()
            if k in own
            and k.startswith(part)
            and v.ndim == own[k].ndim
            and all(a >= b for a, b in zip(v.shape, own[k].shape))
        }
        if not fitting:
            raise ConfigError(f"{path}: none of its weights fits preset {self.preset.name!r}")
        self.model.load_state_dict({**own, **fitting})
        self.average.load_state_dict(self.model.state_dict())
        return sorted(set(own) - set(fitting))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dictionary that `Trainer.save` wrote; only tensors and plain values are read."""
    try:
        data: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = {"preset", "model", "average", "optimiser", "step", "spent_s", "config"} - set(data)
    except (OSError, RuntimeError, ValueError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{path}: not a checkpoint; give one that training wrote") from error
    if missing:
        raise ConfigError(
            f"{path}: lacks {', '.join(sorted(missing))}; give a checkpoint that training wrote"
        )
    return data


def _one_thread(worker: int) -> None:
    """Reading scenes beside training: BLAS threads that spin on small products halve the pace of both."""
    threadpool_limits(1)


def learning_rate(progress: float, peak: float) -> float:
    """One cycle: a cosine up over the first 6 %, then a cosine down to a hundredth."""
    warm = 0.06
    if progress < warm:
        share = 0.1 + 0.9 * (1 - math.cos(math.pi * progress / warm)) / 2
    else:
        share = 0.01 + 0.99 * (1 + math.cos(math.pi * min((progress - warm) / (1 - warm), 1.0))) / 2
    return peak * share


def train(config: TrainConfig, *, say: Callable[[str], None] = print) -> Trainer:
    """Train until the budget is spent; resumes from `out/last.pt` where that exists.

    Raises LogError where `frames` holds no scene, ConfigError for a foreign last.pt, FusionError when the
    loss is not finite."""
    list_scenes(config.frames)  # where there is none, say so here and not from within a worker
    torch.set_num_threads(config.threads)
    trainer = Trainer(config)
    last = config.out / "last.pt"
    if last.exists():
        trainer.load(last)
        say(f"resumed {last} at step {trainer.step_count}, {trainer.spent_s / 60:.1f} min spent")
    else:
        for path in config.start:
            anew = trainer.begin_with(path)
            say(f"begun with {path}; {len(anew)} tensors not from there: {', '.join(anew) or 'none'}")
    scenes = SceneBatches(
        config.frames,
        trainer.preset,
        batch=config.batch,
        seed=config.seed,
        first=trainer.step_count * config.batch,
        use=ALONE.get(config.part),
    )
    prefetch = 3 if config.workers else None
    loader = DataLoader(
        scenes,
        batch_size=None,
        num_workers=config.workers,
        prefetch_factor=prefetch,
        worker_init_fn=_one_thread,
    )
    batches = iter(loader)
    sums: dict[str, float] = {}
    began = saved = logged = time.monotonic()
    spent_before = trainer.spent_s
    while trainer.progress < 1:
        result = trainer.step(next(batches))
        now = time.monotonic()
        trainer.spent_s = spent_before + now - began
        for name, value in result.items():
            sums[name] = sums.get(name, 0.0) + value / config.log_steps
        if trainer.step_count % config.log_steps == 0:
            pace = config.log_steps * config.batch / max(now - logged, 1e-9)
            values = " ".join(f"{k} {v:.4g}" for k, v in sums.items())
            say(f"step {trainer.step_count} {trainer.progress:.1%} {pace:.1f} samples/s {values}")
            sums, logged = {}, now
        if now - saved > config.checkpoint_s:
            trainer.save(last)
            saved = now
    trainer.save(last)
    say(f"done: {trainer.step_count} steps in {trainer.spent_s / 60:.1f} min, {last}")
    return trainer
