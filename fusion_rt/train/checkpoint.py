"""Reads the files that training writes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from fusion_rt.errors import ConfigError
from fusion_rt.models.presets import PRESETS
from fusion_rt.train.step import TrainingNet

KEYS = {"preset", "model", "average", "optimiser", "step", "spent_s", "config"}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dictionary that `Trainer.save` wrote; only tensors and plain values are read.

    Raises ConfigError for anything else."""
    try:
        data: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        missing = KEYS - set(data)
    except (OSError, RuntimeError, ValueError, EOFError, TypeError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{path}: not a checkpoint; give one that training wrote") from error
    if missing:
        raise ConfigError(
            f"{path}: lacks {', '.join(sorted(missing))}; give a checkpoint that training wrote"
        )
    return data


def samples_of(data: dict[str, Any]) -> int:
    """How many scenes all ranks have drawn. Older checkpoints do not say: each was of one rank."""
    samples: int = data.get("samples", data["step"] * data["config"]["batch"])
    return samples


def load_average(checkpoint: Path) -> TrainingNet:
    """The averaged weights of a checkpoint, ready to evaluate. Raises ConfigError where it is none."""
    data = read_checkpoint(checkpoint)
    model = TrainingNet(PRESETS[data["preset"]])
    model.load_state_dict(data["average"])
    return model.eval()
