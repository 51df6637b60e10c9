"""fusion-rt train home-data: the heads by name, from a folder of recordings to a package."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from fusion_rt.errors import ConfigError, LogError
from fusion_rt.train.datasets import (
    activity_head,
    fall_head,
    radhar,
    trained_on,
    uci_occupancy,
    uci_rooms,
    umafall,
)
from fusion_rt.train.datasets.activity_head import ActivityConfig
from fusion_rt.train.datasets.export import write_head
from fusion_rt.train.datasets.fall_head import FallConfig
from fusion_rt.train.datasets.labels import read_labels
from fusion_rt.train.datasets.radhar import RadarRecording
from fusion_rt.train.datasets.room_heads import OFFICE, ROOM, RoomRecipe, description, fit, shapes
from fusion_rt.train.datasets.sequences import Advance
from fusion_rt.train.datasets.tables import HomeTable
from fusion_rt.train.datasets.umafall import WornRecording


def train_office(data: Path, out: Path, *, seed: int, advance: Advance | None = None) -> str:
    path = data / uci_occupancy.FOLDER / uci_occupancy.TRAINING
    room_head([uci_occupancy.read(path)], OFFICE, out, seed=seed, advance=advance)
    trained_on.write(out, [path])
    return _files([path])


def train_rooms(data: Path, out: Path, *, seed: int, advance: Advance | None = None) -> str:
    paths = tables_in(data / uci_rooms.FOLDER, "*.csv")
    room_head([uci_rooms.read(path) for path in paths], ROOM, out, seed=seed, advance=advance)
    trained_on.write(out, paths)
    return _files(paths)


def train_activity(data: Path, out: Path, *, seed: int, advance: Advance | None = None) -> str:
    folder = data / radhar.FOLDER
    activity_package(radhar.read_folder(folder), out, seed=seed, advance=advance)
    paths = [folder / row["file"] for row in read_labels(folder, radhar.LABELS)]
    trained_on.write(out, paths)
    return _files(paths)


def train_fall(data: Path, out: Path, *, seed: int, advance: Advance | None = None) -> str:
    folder = data / umafall.FOLDER
    fall_package(umafall.read_folder(folder), out, seed=seed, advance=advance)
    paths = [folder / row["file"] for row in read_labels(folder, umafall.LABELS)]
    trained_on.write(out, paths)
    return _files(paths)


# name -> what makes it; each returns what it learned from.
HEADS: dict[str, Callable[..., str]] = {
    OFFICE.name: train_office,
    ROOM.name: train_rooms,
    activity_head.NAME: train_activity,
    fall_head.NAME: train_fall,
}


def trainer(name: str) -> Callable[..., str]:
    """Raises ConfigError where there is none of that name."""
    if name not in HEADS:
        raise ConfigError(f"{name}: no head of that name; known are {', '.join(HEADS)}")
    return HEADS[name]


def room_head(
    tables: Sequence[HomeTable],
    recipe: RoomRecipe,
    out: Path,
    *,
    seed: int = 1,
    advance: Advance | None = None,
    **changes: Any,
) -> None:
    """Trains on the tables and writes the package; `changes` to the recipe's SequenceConfig."""
    net = fit(tables, recipe, advance=advance, seed=seed, **changes)
    inputs, outputs = shapes(recipe, len(net.members))
    write_head(net, out, inputs, outputs, **description(recipe, command(recipe.name, seed)))


def activity_package(
    recordings: Sequence[RadarRecording],
    out: Path,
    *,
    seed: int = 1,
    advance: Advance | None = None,
    **changes: Any,
) -> None:
    known = [r for r in recordings if r.activity in radhar.ACTIVITIES]
    config = replace(ActivityConfig(), seed=seed, **changes)
    net = activity_head.fit(known, config, advance=advance)
    inputs, outputs = activity_head.shapes()
    write_head(net, out, inputs, outputs, **activity_head.description(command(activity_head.NAME, seed)))


def fall_package(
    recordings: Sequence[WornRecording],
    out: Path,
    *,
    seed: int = 1,
    advance: Advance | None = None,
    **changes: Any,
) -> None:
    config = FallConfig()
    net = fall_head.fit(recordings, config, advance=advance, seed=seed, **changes)
    inputs, outputs = fall_head.shapes(len(net.members))
    write_head(net, out, inputs, outputs, **fall_head.description(config, command(fall_head.NAME, seed)))


def command(name: str, seed: int) -> str:
    return f"fusion-rt train home-data {name} --data home --seed {seed}"


def tables_in(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder. Raises LogError where there is none."""
    paths = sorted(folder.glob(pattern))
    if not paths:
        raise LogError(f"{folder}: no {pattern} in it")
    return paths


def _files(paths: Sequence[Path]) -> str:
    return paths[0].name if len(paths) == 1 else f"{len(paths)} files"
