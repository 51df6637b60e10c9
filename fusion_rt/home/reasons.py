"""Why: how much of an answer each modality carries.

The exact way is to look again without it. The live engine does so for one modality a second, in turn, and
keeps what it found; `exact` does so for all at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from fusion_rt.home.network import Answers
from fusion_rt.home.observation import Observation

Array = NDArray[np.float32]
MEMORY = "memory"  # of a room that no sensor says anything about now


class Reasons:
    """rooms: modality -> how far the log odds of each room move without it; people: the same for a place, as
    the loss of probability of who is found there."""

    def __init__(self) -> None:
        self._rooms: dict[str, Array] = {}
        self._turn = 0

    def forget(self) -> None:
        self._rooms.clear()

    def next(self, present: tuple[str, ...]) -> str | None:
        """The modality whose turn it is."""
        for gone in self._rooms.keys() - set(present):
            del self._rooms[gone]
        if not present:
            return None
        self._turn = (self._turn + 1) % len(present)
        return present[self._turn]

    def note(self, modality: str, full: Answers, less: Answers) -> None:
        moved = movement(full, less)
        before = self._rooms.get(modality)
        self._rooms[modality] = moved if before is None else 0.5 * (before + moved)

    def of_room(self, row: int, present: tuple[str, ...]) -> dict[str, float]:
        return shares({m: float(self._rooms[m][row]) for m in present if m in self._rooms}, present)


def movement(full: Answers, less: Answers) -> Array:
    """(16): how far each room's answer moves: of being occupied, and of how many (total variation)."""
    odds = np.abs(log_odds(1 - full.counts[:, 0]) - log_odds(1 - less.counts[:, 0]))
    varied = 0.5 * np.abs(full.counts - less.counts).sum(axis=1)
    moved: Array = (odds + varied).astype(np.float32)
    return moved


def shares(moved: Mapping[str, float], present: tuple[str, ...]) -> dict[str, float]:
    """Summing to 1. What no single modality moves is shared by all: each could be left out."""
    if not present:
        return {MEMORY: 1.0}
    floor = 1e-3
    parts = {m: floor + max(0.0, moved.get(m, 0.0)) for m in present}
    total = sum(parts.values())
    return {m: part / total for m, part in parts.items()}


def exact(
    look: Callable[[Observation], Answers],
    seen: Observation,
    present: tuple[str, ...],
    lost: Callable[[Observation, str], Observation],
) -> dict[str, Array]:
    """modality -> movement of every room without it; `look` must not remember."""
    full = look(seen)
    return {modality: movement(full, look(lost(seen, modality))) for modality in present}


def log_odds(p: Array) -> Array:
    p = np.clip(p, 1e-4, 1 - 1e-4)
    return np.log(p / (1 - p)).astype(np.float32)
