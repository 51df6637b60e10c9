"""The package `sound-effects`: a small network that learns to answer as aisfx does (Ma and Lerch,
"Representation Learning for the Automatic Indexing of Sound Effects Libraries", ISMIR 2022; CC BY 4.0).

It begins as aisfx's own convolutions, each as a narrower one and a mixing of its outputs that keep most of
its responses (Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection",
PAMI 2016), and learns on from sounds without labels."""

from __future__ import annotations

import copy
import io
import math
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from msgspec import Struct
from numpy.typing import NDArray
from torch import Tensor, nn

from fusion_rt.errors import ConfigError
from fusion_rt.models.head import MODEL, HeadSpec, describe
from fusion_rt.sound import effects
from fusion_rt.sound.framing import RATE_HZ
from fusion_rt.train.onnx_file import export_onnx
from fusion_rt.train.sounds.textures import coloured, texture

OLD_SCALAR = "numpy.core.multiarray.scalar"
WEIGHTS = "aisfx/models/checkpoint.pth"
CHANNELS = (1, 64, 64, 128, 128, 256, 256, 512, 512)
NORM = ("weight", "bias", "running_mean", "running_var")
RANKS = (40, 56, 80, 112, 144, 224, 288)  # of the convolutions after the first
POOLED = (1, 3, 5)  # after these, half as many frames and bands
SAMPLES = round(2.4 * RATE_HZ)
FIRST, RATE = 6, 5e-4  # batches by whose responses the layers are narrowed; of learning
LICENCE = (
    "learned from aisfx 0.1.2 (Alison B. Ma and Alexander Lerch, ISMIR 2022), whose weights are CC BY 4.0:"
    " name the authors; changed: smaller, other layers, other weights"
)
Pcm = NDArray[np.float64]


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """updates: of `batch` blocks each; seed: of the sounds that are made up and mixed"""

    updates: int = 600
    batch: int = 16
    seed: int = 1


class Teacher(nn.Module):
    """aisfx's embedding network with its normalisations folded into its convolutions: (B, 100, 70) ->
    (B, 512)."""

    def __init__(self, package: Path) -> None:
        """package: the wheel of aisfx, or where it is installed. Raises ConfigError."""
        super().__init__()
        weights = _weights(package)
        self.layers = nn.ModuleList()
        for i, (inputs, outputs) in enumerate(pairwise(CHANNELS)):
            block, n = f"embedding_net.conv_block{i // 2 + 1}", i % 2 + 1
            norm = {key: weights[f"{block}.bn{n}.{key}"] for key in NORM}
            scale = norm["weight"] / torch.sqrt(norm["running_var"] + 1e-5)
            layer = nn.Conv2d(inputs, outputs, 3, padding=1)
            layer.weight = nn.Parameter(weights[f"{block}.conv{n}.weight"] * scale.view(-1, 1, 1, 1))
            layer.bias = nn.Parameter(norm["bias"] - norm["running_mean"] * scale)
            self.layers.append(layer)
        self.requires_grad_(False)

    def forward(self, spectrogram: Tensor) -> Tensor:
        return embedding(self.layers, spectrogram)


class Student(nn.Module):
    """The same with fewer sums: (B, 100, 70) -> (B, 512)."""

    def __init__(self, teacher: Teacher, spectrograms: Tensor) -> None:
        """spectrograms (B, 100, 70): sounds by whose responses the layers are narrowed."""
        super().__init__()
        first, *others = teacher.layers
        self.layers = nn.ModuleList([copy.deepcopy(first).requires_grad_(True)])
        x = torch.relu(first(spectrograms.unsqueeze(1)))
        for i, (layer, rank) in enumerate(zip(others, RANKS), 1):
            responses = layer(x)
            self.layers.append(_narrowed(layer, responses, rank))
            x = torch.relu(responses)
            x = F.max_pool2d(x, 2) if i in POOLED else x

    def forward(self, spectrogram: Tensor) -> Tensor:
        return embedding(self.layers, spectrogram)


def embedding(layers: nn.ModuleList, spectrogram: Tensor) -> Tensor:
    """The layers with their pooling; the mean over bands, then the maximum over time."""
    x = spectrogram.unsqueeze(1)
    for i, layer in enumerate(layers):
        x = torch.relu(layer(x))
        x = F.max_pool2d(x, 2) if i in POOLED else x
    return x.mean(dim=3).amax(dim=2)


def learn(
    teacher: Teacher,
    sounds: Sequence[Pcm],
    settings: Settings,
    *,
    show: Callable[[int, float], None] = lambda done, error: None,
) -> Student:
    """sounds: each (N,) at 16 kHz, which made-up ones are mixed with. show: updates that are done, and the
    squared error beside the spread of the teacher's answers."""
    rng = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    first = _spectrograms(rng, sounds, FIRST * settings.batch)
    with torch.no_grad():
        spread = teacher(first).std(dim=0) + 0.05
    student = Student(teacher, first)
    optimiser = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=1e-4)
    for update in range(settings.updates):
        for group in optimiser.param_groups:
            group["lr"] = RATE * 0.5 * (1 + math.cos(math.pi * update / settings.updates))
        batch = _spectrograms(rng, sounds, settings.batch)
        with torch.no_grad():
            wanted = teacher(batch)
        loss = ((student(batch) - wanted) / spread).pow(2).mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        show(update + 1, float(loss.detach()))
    return student.eval()


def write(student: Student, folder: Path, *, version: str, trained_with: str) -> HeadSpec:
    """The package; weights in eight bits."""
    from fusion_rt.train.small_weights import write_small

    folder.mkdir(parents=True, exist_ok=True)
    shape = (1, effects.FRAMES, effects.BANDS)
    whole = folder / "whole.onnx"
    export_onnx(student, {"spectrogram": shape}, ["embedding"], whole)
    write_small(whole, folder / MODEL)
    whole.unlink()
    return describe(
        folder,
        name=effects.PACKAGE,
        version=version,
        inputs={"spectrogram": shape},
        outputs={"embedding": (1, effects.SIZE)},
        trained_with=trained_with,
        licence=LICENCE,
    )


def _spectrograms(rng: np.random.Generator, sounds: Sequence[Pcm], count: int) -> Tensor:
    blocks = [effects.blocks(_mixed(rng, sounds))[:1] for _ in range(count)]
    return torch.from_numpy(np.concatenate(blocks))


def _mixed(rng: np.random.Generator, sounds: Sequence[Pcm]) -> Pcm:
    """One block's worth of one or two sounds, some of them made up; what is short is followed by silence."""
    x = _part(rng, sounds) if sounds and rng.random() < 0.6 else texture(rng, SAMPLES)
    if rng.random() < 0.4:
        other = _part(rng, sounds) if sounds and rng.random() < 0.5 else texture(rng, SAMPLES)
        x = x + 10 ** rng.uniform(-1.5, 0) * other
    if rng.random() < 0.4:
        x = coloured(rng, x)
    if rng.random() < 0.25:
        x = x[: int(len(x) * rng.uniform(0.15, 0.9))]
    return x / (np.abs(x).max() + 1e-9)


def _part(rng: np.random.Generator, sounds: Sequence[Pcm]) -> Pcm:
    """Of one of them, faster or slower."""
    x = sounds[int(rng.integers(len(sounds)))]
    speed = float(np.exp(rng.uniform(np.log(0.75), np.log(1.33))))
    length = round(SAMPLES * speed)
    start = int(rng.integers(max(1, len(x) - length)))
    part = x[start : start + length]
    part = np.pad(part, (0, length - len(part)))
    played = np.interp(np.linspace(0, length - 1, SAMPLES), np.arange(length), part)
    return played / (np.abs(played).max() + 1e-9)


def _narrowed(layer: Any, responses: Tensor, rank: int) -> nn.Sequential:
    """The convolution onto the `rank` directions in which its responses vary most, and back."""
    y = responses.transpose(0, 1).flatten(1)
    mean = y.mean(dim=1)
    _, directions = torch.linalg.eigh(torch.cov(y))
    basis = directions[:, -rank:]
    narrow = nn.Conv2d(layer.in_channels, rank, 3, padding=1, bias=False)
    narrow.weight = nn.Parameter(torch.einsum("or,oihw->rihw", basis, layer.weight))
    mix = nn.Conv2d(rank, layer.out_channels, 1)
    mix.weight = nn.Parameter(basis[:, :, None, None].clone())
    mix.bias = nn.Parameter(mean + basis @ (basis.T @ (layer.bias - mean)))
    return nn.Sequential(narrow, mix)


def _weights(package: Path) -> dict[str, Tensor]:
    """Raises ConfigError where there are none."""
    how = "get it with: pip download --no-deps aisfx==0.1.2"
    try:
        if package.is_dir():
            data = (package / WEIGHTS).read_bytes()
        else:
            with zipfile.ZipFile(package) as wheel:
                data = wheel.read(WEIGHTS)
        # Beside the weights there is a table of numpy's numbers.
        scalar = np.int64(0).__reduce__()[0]  # under the name of either numpy
        numbers: list[Any] = [np.dtype, type(np.dtype(np.int64)), scalar, (scalar, OLD_SCALAR)]
        with torch.serialization.safe_globals(numbers):
            weights, _ = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (OSError, KeyError, ValueError, RuntimeError, UnpicklingError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{package}: not the package aisfx with its weights ({error}); {how}") from error
    return dict(weights)
