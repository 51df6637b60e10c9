"""Trains `office-occupancy` and `room-count`: household readings -> how many people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from fusion_rt.heads.room import HELD_STEPS, feature_names, pool
from fusion_rt.heads.trends import KINDS, Trend
from fusion_rt.train.datasets import uci_occupancy, uci_rooms
from fusion_rt.train.datasets.context_net import STATE, Ensemble
from fusion_rt.train.datasets.sequences import Advance, Episode, SequenceConfig, train
from fusion_rt.train.datasets.tables import HomeTable

# How a kind's sensors differ from one installation to the next: factors (standard deviation of the
# logarithm) on the level of light, and on the course of the others.
SPREAD = {
    "illuminance": 0.12,
    "co2": 0.4,
    "temperature": 0.4,
    "humidity": 0.4,
    "humidity_ratio": 0.4,
    "sound_level": 0.15,
    "motion": 0.0,
}


class RoomRecipe(Struct, frozen=True, kw_only=True):
    """kinds    kind -> how its sensors are pooled, in the order of the network's modalities
    largest  number of people that is told apart
    copies   of every recording, each disturbed otherwise: kind -> spread
    piece_s  length of the pieces that start with an empty past, from and to
    on, off  probabilities at which the decision changes
    """

    name: str
    kinds: dict[str, tuple[str, ...]]
    largest: int
    rate_hz: float
    copies: int
    spread: dict[str, float]
    piece_s: tuple[float, float]
    on: float
    off: float
    training: SequenceConfig
    licence: str

    @property
    def sizes(self) -> list[int]:
        return [len(KINDS[kind].features) * len(pools) for kind, pools in self.kinds.items()]


OFFICE = RoomRecipe(
    name="office-occupancy",
    kinds=dict.fromkeys(("illuminance", "co2", "temperature", "humidity", "humidity_ratio"), ("mean",)),
    largest=1,
    rate_hz=1 / 60,
    copies=6,
    spread=SPREAD | {"illuminance": 0.05},
    piece_s=(0.5 * 3600.0, 96 * 3600.0),
    on=0.6,
    off=0.4,
    training=SequenceConfig(
        members=6,
        memory=False,
        length=1,
        batch=512,
        by_length=0.5,
        steps=1000,
        lose=(0.3, 0.2, 0.2, 0.2, 0.2),
        # Light answers at once, the air slowly: without networks that lean on light, lamps of the morning
        # wait for CO2, and the stale air of an empty room outvotes darkness.
        lead=0,
        noise=0.03,
    ),
    licence=uci_occupancy.LICENCE,
)
ROOM = RoomRecipe(
    name="room-count",
    kinds={
        "motion": ("mean", "max"),
        "illuminance": ("mean", "max"),
        "sound_level": ("mean", "max"),
        "co2": ("mean",),
        "temperature": ("mean", "max"),
    },
    largest=uci_rooms.LARGEST,
    rate_hz=1 / 30,
    copies=8,
    spread=SPREAD | {"illuminance": 0.25},
    piece_s=(0.5 * 3600.0, 48 * 3600.0),
    on=0.75,
    off=0.25,
    training=SequenceConfig(lose=(0.2, 0.3, 0.2, 0.5, 0.4), members=5),
    licence=uci_rooms.LICENCE,
)


def fit(
    tables: Sequence[HomeTable], recipe: RoomRecipe, *, advance: Advance | None = None, **changes: Any
) -> Ensemble:
    """Trains on whole recordings; `changes` to the recipe's SequenceConfig."""
    rng = np.random.default_rng(recipe.training.seed)
    pieces = [piece for _ in range(recipe.copies) for piece in _pieces(tables, recipe, rng)]
    sequences = as_sequences(pieces, recipe, rng)
    config = msgspec.structs.replace(recipe.training, **changes)
    return train(sequences, recipe.sizes, recipe.largest + 1, config, advance=advance)


def as_sequences(tables: Sequence[HomeTable], recipe: RoomRecipe, rng: Any | None = None) -> list[Episode]:
    """Recordings of the same sensors as the network sees them, by the lines that run live, all at once; rng:
    disturbed as the recipe says, with readings that stay away for a while."""
    columns, longest = tables[0].columns, max(len(table.truth) for table in tables)
    values = np.full((len(tables), longest, len(columns)), np.nan)
    age, dt_s = np.zeros(values.shape), np.zeros((len(tables), longest, 1))
    for i, table in enumerate(tables):
        n = len(table.truth)
        values[i, :n], age[i, :n] = (
            (table.values, 0.0) if rng is None else _disturbed(table, recipe.spread, rng)
        )
        dt_s[i, :n, 0] = np.diff(table.stamp_ns, prepend=table.stamp_ns[:1]) / 1e9
    features, present, ages = [], [], []
    for kind, pools in recipe.kinds.items():
        of_kind = [i for i, column in enumerate(columns) if column.kind == kind]
        trend = Trend(KINDS[kind], (len(tables), len(of_kind)))
        rows = np.stack([trend.step(values[:, t][:, of_kind], dt_s[:, t]) for t in range(longest)], 1)
        known = np.isfinite(values[:, :, of_kind])
        features.append(pool(rows, known, pools))
        present.append(known.any(-1))
        ages.append(np.where(known, age[:, :, of_kind], HELD_STEPS).min(-1))
    seen = [
        x.astype(np.float32)
        for x in (np.concatenate(features, -1), np.stack(present, -1), np.stack(ages, -1))
    ]
    cut = [[x[i, : len(t.truth)] for x in seen] for i, t in enumerate(tables)]
    return [Episode(one, told, old, t.truth) for (one, told, old), t in zip(cut, tables)]


def _pieces(tables: Sequence[HomeTable], recipe: RoomRecipe, rng: Any) -> list[HomeTable]:
    """The recordings cut at random places, so that many begin in the middle of a day."""
    pieces = []
    for table in tables:
        start, n = 0, len(table.truth)
        while start < n:
            length = max(2, int(np.exp(rng.uniform(*np.log(recipe.piece_s))) * recipe.rate_hz))
            pieces.append(table.rows(start, min(start + length, n), table.name))
            start += length
    return pieces


def _disturbed(table: HomeTable, spread: dict[str, float], rng: Any) -> tuple[Any, Any]:
    """values (T, S) and their age in steps (T, S)."""
    values = table.values.copy()
    n, sensors = values.shape
    for s, column in enumerate(table.columns):
        factor = np.exp(rng.normal(0, spread[column.kind]))
        # About the lowest value: a level that is not zero belongs to the place, not to people.
        known = values[np.isfinite(values[:, s]), s]
        base = known.min() if len(known) and column.kind != "illuminance" else 0.0
        values[:, s] = base + factor * (values[:, s] - base)
    last = np.zeros((n, sensors))
    held = rng.random(sensors) < 0.3
    for s in np.flatnonzero(held).tolist():  # sensors that now and then say nothing
        for start in np.flatnonzero(rng.random(n) < 0.02).tolist():
            gap = slice(start + 1, start + 1 + int(rng.integers(1, 10)))
            length = len(last[gap, s])
            last[gap, s] = np.arange(1, length + 1)
            values[gap, s] = values[start, s]
    for s, column in enumerate(table.columns):
        if not KINDS[column.kind].switched:
            values[last[:, s] > HELD_STEPS, s] = np.nan
    return values, np.minimum(last, HELD_STEPS)


def shapes(recipe: RoomRecipe, members: int) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    kinds = len(recipe.kinds)
    inputs: dict[str, tuple[int, ...]] = {
        "values": (1, sum(recipe.sizes)),
        "present": (1, kinds),
        "age": (1, kinds),
        "state": (1, members * STATE),
    }
    return inputs, {"probabilities": (1, recipe.largest + 1), "next_state": (1, members * STATE)}


def description(recipe: RoomRecipe, trained_with: str) -> dict[str, Any]:
    """What head.yaml says about it."""
    people = ("empty", "1 person", *(f"{n} people" for n in range(2, recipe.largest + 1)))
    return {
        "name": recipe.name,
        "version": "1",
        "features": {
            "values": feature_names(recipe.kinds),
            **dict.fromkeys(("present", "age"), tuple(recipe.kinds)),
        },
        "labels": {"probabilities": people if recipe.largest > 1 else ("empty", "occupied")},
        "thresholds": {"occupied": recipe.on, "empty": round(1 - recipe.off, 3)},
        "rate_hz": recipe.rate_hz,
        "trained_with": trained_with,
        "licence": recipe.licence,
    }
