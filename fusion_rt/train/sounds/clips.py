"""Labelled clips in the layout of ESC-10 and ESC-50 (Piczak, "ESC: Dataset for Environmental Sound
Classification", ACM Multimedia 2015): labels.csv with file, label and fold beside the sounds."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.errors import LogError
from fusion_rt.sound.files import chunks
from fusion_rt.sound.framing import Framer

LABELS = "labels.csv"


class Clip(Struct, frozen=True, kw_only=True):
    """One clip: pcm (N,) int16 at 16 kHz."""

    name: str
    label: str
    fold: int
    pcm: NDArray[np.int16]


def read_clips(folder: Path) -> list[Clip]:
    """All of a folder's labels.csv. Raises LogError where it or a sound is missing or is not what it should
    be."""
    path = folder / LABELS
    if not path.is_file():
        raise LogError(
            f"{path}: missing; expected a folder in ESC-10's layout: {LABELS} with file,label,fold"
        )
    with path.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not {"file", "label", "fold"} <= set(rows[0]):
        raise LogError(f"{path}: expected the columns file, label and fold, and a row or more")
    clips = []
    for number, row in enumerate(rows, 2):
        try:
            fold = int(row["fold"])
        except ValueError as error:
            raise LogError(f"{path}: line {number}: fold {row['fold']!r} is no number") from error
        clips.append(
            Clip(name=row["file"], label=row["label"], fold=fold, pcm=read_sound(folder / row["file"]))
        )
    return clips


def read_sound(path: Path) -> NDArray[np.int16]:
    """A file as it comes out of a microphone's framing: (N,) int16 at 16 kHz."""
    framer = Framer()
    frames = [frame.pcm for chunk in chunks(path, path.stem) for frame in framer.push(chunk)]
    if not frames:
        raise LogError(f"{path}: shorter than 20 ms")
    return np.concatenate(frames)
