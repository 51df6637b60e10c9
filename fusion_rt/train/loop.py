"""The training loop: a budget of minutes or steps, an averaged copy, checkpoints that resume."""

from __future__ import annotations

import copy
import itertools
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.utils.data import DataLoader

from fusion_rt.errors import ConfigError, FusionError
from fusion_rt.models.package import ModelPackage
from fusion_rt.models.presets import PRESETS
from fusion_rt.train.begin import begun
from fusion_rt.train.checkpoint import read_checkpoint, samples_of
from fusion_rt.train.config import PARTS, TrainConfig
from fusion_rt.train.distill import Teacher
from fusion_rt.train.divergence import Divergence
from fusion_rt.train.losses import image_losses, look_losses, point_losses, total_loss, weighted
from fusion_rt.train.packaged import normalise, packaged_net
from fusion_rt.train.ranks import Ranks, joined
from fusion_rt.train.rounding import round_convolutions
from fusion_rt.train.samples import Batch, SceneBatches, Use, list_scenes, placed
from fusion_rt.train.step import TrainingNet

_NORMALISED_BY = 16  # batches
ALONE = {
    "camera": Use(lidar=False, memory=False, ego=False),
    "points": Use(camera=False, memory=False, ego=False),
}


class Trainer:
    """Weights, their average, the optimiser and how far they have come.

    ranks: where several train together, each has its own batches and the same weights after every step. On
    GPUs they normalise by the statistics of all their batches; on CPUs each by those of its own, and the
    running ones are the mean of all ranks."""

    def __init__(self, config: TrainConfig, ranks: Ranks | None = None) -> None:
        torch.manual_seed(config.seed)
        self.config, self.ranks = config, ranks or Ranks()
        self.preset = PRESETS[config.preset]
        self.device = self.ranks.device
        self.model = TrainingNet(self.preset).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model.unroll = config.unroll
        if config.part == "points":
            self.model.net.refine.forget_canvases()
        self.teacher = Teacher(config.teacher, self.preset) if config.teacher else None
        self.average = copy.deepcopy(self.model).eval()
        if config.int8:
            round_convolutions(self.model.net)
        if self.device.type == "cuda":
            self._suit_gpu()
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        self.watch = Divergence()
        self.step_count = 0
        self.samples = 0  # drawn by all ranks
        self.spent_s = 0.0

    def _suit_gpu(self) -> None:
        self.model.mixed = True
        if self.teacher is not None:
            self.teacher.model.to(self.device).mixed = True
        if self.ranks.world > 1:
            self.model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.model)
            self.model.most = self.ranks.most

    @property
    def progress(self) -> float:
        """0 at the start of the budget, 1 at its end."""
        if self.config.steps is not None:
            return self.step_count / self.config.steps
        assert self.config.minutes is not None
        return self.spent_s / (60 * self.config.minutes)

    def step(self, batch: Batch) -> dict[str, float]:
        """One update. Raises FusionError on every rank when the loss of one is not finite, with the weights
        untouched, or when the training has diverged."""
        rate = learning_rate(self.progress, self.config.learning_rate)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.model.train(self.config.part != "look")
        loss, parts = self._loss(placed(batch, self.device))
        value = float(loss.detach())
        losses = self.ranks.gathered(value)
        self._check(losses, parts)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.ranks.average_gradients(self.model.parameters())
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        if bool(torch.isfinite(norm)):
            self.optimiser.step()
        self.ranks.average_statistics(self.model)
        self.step_count += 1
        self.samples += self.config.batch * self.ranks.world
        self._update_average()
        self.watch.push(statistics.fmean(losses), float(norm))
        if self.watch.reason:
            raise self.diverged(f"{self.watch.reason} by step {self.step_count}")
        return {"loss": value, "norm": float(norm), "rate": rate, **parts}

    def _check(self, losses: list[float], parts: dict[str, float]) -> None:
        wrong = [(rank, value) for rank, value in enumerate(losses) if not math.isfinite(value)]
        if not wrong:
            return
        rank, value = wrong[0]
        told = parts if rank == self.ranks.rank else f"on rank {rank}"
        raise self.diverged(f"the loss became {value} at step {self.step_count} ({told})")

    def diverged(self, what: str) -> FusionError:
        """The error that says what went wrong, where, and what to do."""
        return FusionError(
            f"{what}; the last checkpoint in {self.config.out}, if there is one, is good:"
            " look at the frames, or lower the learning rate, and resume"
        )

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if self.config.part == "camera":
            return weighted(image_losses(self.model.look(batch), batch))
        turn = self.step_count * self.ranks.world + self.ranks.rank
        rng = np.random.default_rng([self.config.seed, 1 << 20, turn])
        torch.manual_seed(int(rng.integers(1 << 31)))  # of dropout: a resumed training draws the same
        if self.config.part == "points":
            return weighted(point_losses(self.model.net, batch, rng))
        if self.config.part == "look":
            with torch.no_grad():
                outputs, sight, _ = self.model(batch)
            return weighted(look_losses(outputs, sight, self.model.net, batch, rng, decoded=48, jittered=32))
        outputs, sight, image = self.model(batch)
        total, parts = total_loss(outputs, sight, image, self.model.net, batch, rng)
        if self.teacher is None:
            return total, parts
        soft, told = weighted(self.teacher.losses(outputs[0], outputs[1], batch))
        return total + soft, parts | told

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
                "samples": self.samples,
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
        self.step_count, self.samples, self.spent_s = data["step"], samples_of(data), data["spent_s"]

    def begin_with(self, path: str | Path) -> list[str]:
        """Take the averaged weights of another training where their names and shapes fit, also of a wider or
        narrower one (`begin.begun`); or the network of a model package, by folder or name. Returns the names
        that begin anew. Raises ConfigError where none fits, LogError where a package finds no frames to go
        with."""
        own = self.model.state_dict()
        fitting = begun(
            own, _averaged(Path(path)) if str(path).endswith(".pt") else self._packaged(str(path))
        )
        if not fitting:
            raise ConfigError(f"{path}: none of its weights fits preset {self.preset.name!r}")
        self.model.load_state_dict({**own, **fitting})
        self.average.load_state_dict(self.model.state_dict())
        return sorted(set(own) - set(fitting))

    def _packaged(self, model: str) -> dict[str, Tensor]:
        """What a package holds of the model, normalised by the first frames that will be trained on."""
        net = packaged_net(ModelPackage.load(model))
        theirs = TrainingNet(net.preset)
        theirs.net = net
        first = SceneBatches(self.config.frames, net.preset, batch=4, seed=self.config.seed)
        normalise(theirs, itertools.islice(first, _NORMALISED_BY))
        return {f"net.{name}": value for name, value in net.state_dict().items()}


def _averaged(checkpoint: Path) -> dict[str, Tensor]:
    """The averaged weights of the part that was trained."""
    data = read_checkpoint(checkpoint)
    part = PARTS[data["config"].get("part", "all")]
    return {k: v for k, v in data["average"].items() if k.startswith(part)}


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

    Started by torchrun, all its processes train together: each on its own `batch` scenes an update, one after
    the other in the order that the seed gives; the first alone says and writes something, and its clock
    counts the minutes. A checkpoint may be gone on with by another number of them: no scene is drawn twice,
    and an update is then of more or fewer scenes; the learning rate is left as it is asked for. On a CPU the
    same seed and number give the same bits; a GPU adds up in whatever order.

    Raises LogError where `frames` holds no scene, ConfigError for a foreign last.pt or where there is no such
    device, FusionError when the loss is not finite or the training diverges."""
    list_scenes(config.frames)  # where there is none, say so here and not from within a worker
    torch.set_num_threads(config.threads)
    with joined(config.device) as ranks:
        return _train(Trainer(config, ranks), say if ranks.leads else lambda line: None)


def _train(trainer: Trainer, say: Callable[[str], None]) -> Trainer:
    config, ranks = trainer.config, trainer.ranks
    last = config.out / "last.pt"
    unproven = config.out / "unproven.pt"  # until the loss of these weights is known, one update later
    if last.exists():
        trainer.load(last)
        say(f"resumed {last} at step {trainer.step_count}, {trainer.spent_s / 60:.1f} min spent")
    else:
        for path in config.start:
            anew = trainer.begin_with(path)
            layers = sorted({name.rpartition(".")[0] for name in anew})
            some = ", ".join(layers[:4]) + (", ..." if len(layers) > 4 else "")
            say(f"begun with {path}; {len(layers)} layers not from there" + (f": {some}" if some else ""))
    if len(set(ranks.gathered(trainer.step_count))) > 1:
        raise ConfigError(f"{last}: not every rank finds it; give a folder that all of them see")
    scenes = SceneBatches(
        config.frames,
        trainer.preset,
        batch=config.batch,
        seed=config.seed,
        first=trainer.samples,
        use=ALONE.get(config.part),
        share=(ranks.rank, ranks.world),
        paste=config.paste,
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
    waiting = False
    while trainer.progress < 1:
        result = trainer.step(next(batches))
        now = time.monotonic()
        trainer.spent_s = ranks.leaders(spent_before + now - began)
        for name, value in result.items():
            sums[name] = sums.get(name, 0.0) + value / config.log_steps
        if trainer.step_count % config.log_steps == 0:
            pace = config.log_steps * config.batch * ranks.world / max(now - logged, 1e-9)
            values = " ".join(f"{k} {v:.4g}" for k, v in sums.items())
            say(f"step {trainer.step_count} {trainer.progress:.1%} {pace:.1f} samples/s {values}")
            sums, logged = {}, now
        if ranks.leads and trainer.watch.sound:
            if waiting:
                unproven.replace(last)
            waiting = now - saved > config.checkpoint_s
            if waiting:
                trainer.save(unproven)
                saved = now
    if not trainer.watch.sound:
        raise trainer.diverged("the last loss is out of all proportion")
    if ranks.leads:
        trainer.save(last)
        unproven.unlink(missing_ok=True)
    say(f"done: {trainer.step_count} steps in {trainer.spent_s / 60:.1f} min, {last}")
    return trainer
