"""A handful of labelled frames teach the second look: its layers are small, and what changes most from one
place to another, how large cars are and how surfaces return light, is seen in the points of each box.

Its biases alone are learned (Ben Zaken, Goldberg and Ravfogel 2022): ten frames are too few for the weights,
which learn them by heart. And they are taken halfway back: between what many scenes taught and what few
frames did lies what does best on others (Wortsman et al. 2022)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from fusion_rt.errors import ConfigError
from fusion_rt.metrics.boxes import in_box_frame
from fusion_rt.models.package import ModelPackage, digest
from fusion_rt.models.presets import Preset
from fusion_rt.percepts import FirstLook
from fusion_rt.train.boxes import Surroundings, refine, second_look, surroundings
from fusion_rt.train.export import export_part, export_points
from fusion_rt.train.geometry import Blocks, Sight, positions
from fusion_rt.train.half import write_half
from fusion_rt.train.losses import answer_losses, proposals, score_loss, weighted
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.samples import pillar_inputs
from fusion_rt.transforms import Array

FEWEST_POINTS = 5  # of an object that is worth learning from
DRAWS, DECODED, JITTERED = 16, 48, 24  # of each frame; boxes in each, of the best and beside the truth


@dataclass(frozen=True)
class AdaptConfig:
    """steps of `batch` frames each; hold: how strongly the biases are held to where they were."""

    steps: int
    batch: int = 6
    learning_rate: float = 2e-3
    hold: float = 0.02
    seed: int = 1


@dataclass(frozen=True)
class Draw:
    """Boxes to look at again: the best rows that were decoded and some beside the truth (1, K, 16), the
    boxes they should be (1, K, 7), how much each counts for that (1, K), and what is around them. The look
    itself is all that learns, so this stays the same however often it is learned from."""

    rows: Tensor
    truth: Tensor
    weight: Tensor
    given: Surroundings


@dataclass(frozen=True)
class Example:
    """One labelled frame.

    boxes (k, 9) and cls (k,) of the objects to learn; draws: one of them is looked at in a step; judged
    (1, K) bool: rows whose score the labels can tell, of each draw: others lie where nothing is labelled."""

    boxes: Array
    cls: Array
    draws: tuple[Draw, ...]
    judged: Tensor


def example(
    look: FirstLook, boxes: Array, cls: Array, judged: Array, preset: Preset, *, seed: int = 1
) -> Example:
    """Of the boxes (k, 7) and classes (k,) that are labelled, those that have points are learned. judged (n,)
    bool: rows of the look whose score the labels can tell."""
    told, number, occupied, _ = pillar_inputs(look.xyz, look.intensity, preset)
    points = positions(told, occupied[number], preset)
    inside = [(np.abs(in_box_frame(points[:, :3], box)) <= box[3:6] / 2).all(1) for box in boxes]
    seen = np.array([mask.sum() >= FEWEST_POINTS for mask in inside], bool)
    still = np.zeros((int(seen.sum()), 2))  # labels of single frames know no velocity
    gt = np.concatenate([boxes[seen], still], axis=1).astype(np.float32), cls[seen]
    features = torch.from_numpy(look.features).permute(2, 0, 1)[None]
    images, P = (torch.from_numpy(a[look.P.any(axis=(1, 2))]) for a in (look.views, look.P))
    sight = Sight(images.permute(0, 3, 1, 2), P, torch.zeros(len(P), dtype=torch.int64))
    best = torch.from_numpy(look.rows[:DECODED])[None]
    blocks, rng, draws = Blocks(points), np.random.default_rng(seed), []
    for _ in range(DRAWS):
        rows, truth, weight = proposals(best, [gt], rng, jittered=JITTERED)
        draws.append(Draw(rows, truth, weight, surroundings(rows, features, sight, [blocks], preset)))
    # Beside the truth there are boxes to judge only where there is a truth.
    beside = np.full(JITTERED, bool(seen.any()))
    return Example(*gt, tuple(draws), torch.from_numpy(np.concatenate([judged[:DECODED], beside]))[None])


def fit(
    net: DrivingNet,
    examples: Sequence[Example],
    config: AdaptConfig,
    *,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Teaches the second look's biases in place. Raises ConfigError where no frame has an object to learn."""
    if not any(len(e.boxes) for e in examples):
        raise ConfigError("no labelled frame has an object with lidar points: there is nothing to learn from")
    named = [*net.points.named_parameters(), *net.refine.named_parameters()]
    learned = [w for name, w in named if name.endswith("bias")]
    net.requires_grad_(False)
    for w in learned:
        w.requires_grad_(True)
    start = [w.detach().clone() for w in learned]
    optimiser = torch.optim.Adam(learned, config.learning_rate)
    rng = np.random.default_rng(config.seed)
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 - step / config.steps)
        loss = torch.stack(
            [_loss(net, examples[i], int(rng.integers(DRAWS))) for i in _drawn(rng, examples, config.batch)]
        ).mean()
        held = torch.stack([(w - w0).square().sum() for w, w0 in zip(learned, start)]).sum()
        optimiser.zero_grad(set_to_none=True)
        (loss + config.hold * held).backward()
        optimiser.step()
        advance(step + 1, config.steps)
    net.requires_grad_(True)
    with torch.no_grad():
        for w, w0 in zip(learned, start):
            w.lerp_(w0, 0.5)


def _drawn(rng: np.random.Generator, examples: Sequence[Example], batch: int) -> list[int]:
    chosen: list[int] = rng.choice(len(examples), min(batch, len(examples)), replace=False).tolist()
    return chosen


def _loss(net: DrivingNet, e: Example, number: int) -> Tensor:
    draw = e.draws[number]
    told = second_look(net, draw.rows, draw.given)
    refined = refine(draw.rows, told).detach()
    parts = answer_losses(draw.rows, told, refined, draw.truth, draw.weight)
    parts["score"] = score_loss(draw.rows, told, refined, [(e.boxes, e.cls)], e.judged)
    return weighted(parts)[0]


def write(
    package: ModelPackage, net: DrivingNet, out: Path, *, version: str, learned_from: str
) -> ModelPackage:
    """The package with this second look, in another folder."""
    if out.resolve() == package.folder.resolve():
        raise ConfigError(f"{out}: is the package that was adapted; name another folder")
    shutil.copytree(package.folder, out, dirs_exist_ok=True)
    files = {
        package.path("refine", held).name: package.held("refine", held) for held in package.spec.precisions
    }
    for name, held in files.items():
        export_part(net, "refine", out / name)
        if held == "f16":
            write_half(out / name, out / name)
    export_points(net, out / "points.npz")
    spec = replace(
        package.spec,
        version=version,
        sha256=package.spec.sha256 | {name: digest(out / name) for name in (*files, "points.npz")},
        trained_with=f"{package.spec.trained_with}; then {learned_from}",
    )
    return ModelPackage.described(out, spec)
