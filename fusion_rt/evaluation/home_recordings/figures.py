"""Numbers with the interval that the recordings allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from typing import Any

import numpy as np
from msgspec import Struct

DRAWS, SEED = 400, 7


class Figure(Struct, frozen=True):
    """value, and the middle 95 % from low to high; None: the recordings do not tell."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Row(Struct, frozen=True, kw_only=True):
    """method   the head, or a simple method
    inputs   what it was given
    judged   which recordings
    seen     whether it learned from these
    figures  by the names of the table's columns
    """

    method: str
    inputs: str
    judged: str
    seen: bool
    figures: dict[str, Figure]


class Table(Struct, frozen=True, kw_only=True):
    """One question to one data set. heads: identities of the packages that were judged; notes: what the
    numbers mean; files: what was wrong in the files."""

    title: str
    licence: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    files: tuple[str, ...]


class Report(Struct, frozen=True, kw_only=True):
    source: str
    tables: tuple[Table, ...]
    skipped: tuple[str, ...] = ()


def resampled(blocks: Sequence[Any], measure: Callable[[list[Any]], float | None]) -> Figure:
    """measure of all blocks, and of blocks drawn again with replacement: neighbours in time are not
    independent, so whole blocks are drawn."""
    value = measure(list(blocks))
    if value is None or len(blocks) < 2:
        return Figure(value)
    rng = np.random.default_rng(SEED)
    draws = [measure([blocks[i] for i in rng.integers(len(blocks), size=len(blocks))]) for _ in range(DRAWS)]
    known = [d for d in draws if d is not None]
    if not known:
        return Figure(value)
    low, high = np.percentile(known, (2.5, 97.5))
    return Figure(value, float(low), float(high))


def share(hits: int, of: int) -> Figure:
    """A proportion with Wilson's interval."""
    if of == 0:
        return Figure(None)
    z = 1.959964
    p = hits / of
    middle, half = p + z * z / (2 * of), z * np.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    scale = 1 + z * z / of
    return Figure(p, float(max((middle - half) / scale, 0.0)), float(min((middle + half) / scale, 1.0)))


def rate_per_day(events: int, hours: float) -> Figure:
    """Events a day with the exact interval of a Poisson count: no event in a short time does not say that
    there is none in a day."""
    if hours <= 0:
        return Figure(None)
    low = _poisson_bound(events, 0.025) if events else 0.0
    high = _poisson_bound(events + 1, 0.975) if events else -log(0.05)  # one-sided for none: 3 in all
    return Figure(events / hours * 24, low / hours * 24, high / hours * 24)


def _poisson_bound(k: int, q: float) -> float:
    """The q quantile of a gamma distribution of shape k, by bisection of its exact sum."""
    low, high = 0.0, 10.0 * k + 40
    for _ in range(80):
        middle = (low + high) / 2
        term, tail = np.exp(-middle), np.exp(-middle)
        for i in range(1, k):
            term *= middle / i
            tail += term
        low, high = (middle, high) if 1 - tail < q else (low, middle)
    return (low + high) / 2


def f1(predicted: Any, truth: Any) -> float | None:
    """Of two boolean arrays; None where neither has a true one."""
    both = int(predicted.sum() + truth.sum())
    return 2 * int((predicted & truth).sum()) / both if both else None
