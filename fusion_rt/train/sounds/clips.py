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
from fusion_rt.sound.framing import FRAME, RATE_HZ, Framer
from fusion_rt.sound.segments import Segments

LABELS = "labels.csv"
SPEECH_S = (0.5, 1.0, 2.0, 5.0)


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


def read_speech(folder: Path) -> list[Clip]:
    """What people say in a folder's FLAC and WAV files, as it comes to the head: from where it stands out of
    the room on, for 0.5, 1, 2 or 5 s in turn. Files called noise_* are no speech; every third file is left
    for judging. Fold 0: it belongs to every training."""
    paths = sorted(p for p in folder.glob("*") if p.suffix in (".flac", ".wav") and p.name[:6] != "noise_")
    if not paths:
        raise LogError(f"{folder}: no FLAC or WAV files")
    clips = []
    for i, path in enumerate(p for number, p in enumerate(paths) if number % 3):
        pcm = read_sound(path)
        begin = _onset(pcm)
        heard = pcm[begin : begin + round(SPEECH_S[i % len(SPEECH_S)] * RATE_HZ)]
        clips.append(Clip(name=path.name, label="speech", fold=0, pcm=heard))
    return clips


def _onset(pcm: NDArray[np.int16]) -> int:
    """The sample where something first stands out of the background; 0 where nothing does."""
    segments = Segments()
    frames = pcm[: len(pcm) // FRAME * FRAME].reshape(-1, FRAME)
    return next((i * FRAME for i, frame in enumerate(frames) if segments.push(frame) == "begin"), 0)
