"""Heads of household readings on tables of them: is somebody there, and how many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.evaluation.home_recordings.baselines import METHODS, learn
from fusion_rt.evaluation.home_recordings.figures import Figure, Row, f1, resampled
from fusion_rt.heads.room import RoomHead
from fusion_rt.train.datasets.tables import HomeTable

BLOCK_S = 3 * 3600.0  # of the intervals


class Answers(Struct, frozen=True):
    """people and truth (T,) int64 of the rows of one recording whose truth is known; stamp_ns (T,)."""

    people: Any
    truth: Any
    stamp_ns: Any


def stream(room: RoomHead, table: HomeTable, without: frozenset[str] = frozenset()) -> Answers:
    """The recording through the live head, packet by packet, from an empty past; without readings of those
    kinds."""
    room.reset()
    people = np.zeros(len(table.truth), np.int64)
    for row in range(len(table.truth)):
        for packet in table.packets(row):
            if packet.kind not in without:
                room.push(packet)
        people[row] = room.tick(int(table.stamp_ns[row])).people
    return known(people, table)


def known(people: Any, table: HomeTable) -> Answers:
    told = table.truth >= 0
    return Answers(people[told], table.truth[told], table.stamp_ns[told])


def figures(answers: Sequence[Answers], *, counts: bool) -> dict[str, Figure]:
    """Of recordings that are judged together; counts: also how many people."""
    blocks = [block for one in answers for block in _blocks(one)]

    def measured(measure: Callable[[Any, Any], float | None]) -> Figure:
        return resampled(
            blocks,
            lambda some: measure(
                *(np.concatenate([getattr(b, k) for b in some]) for k in ("people", "truth"))
            ),
        )

    found = {
        "accuracy": measured(lambda p, t: float(((p > 0) == (t > 0)).mean())),
        "F1": measured(lambda p, t: f1(p > 0, t > 0)),
    }
    if counts:
        found["exact"] = measured(lambda p, t: float((p == t).mean()))
        found["within 1"] = measured(lambda p, t: float((np.abs(p - t) <= 1).mean()))
    flips, true_flips = (sum(_flips(getattr(a, k)) for a in answers) for k in ("people", "truth"))
    found["flips"], found["true flips"] = Figure(float(flips)), Figure(float(true_flips))
    return found


def simple(method: str, training: Sequence[HomeTable], judged: HomeTable, without: frozenset[str]) -> Answers:
    """What a simple method says of a recording after the others; without the columns of those kinds."""
    return known(_learned(method, training, without)(judged), judged)


def _learned(
    method: str, training: Sequence[HomeTable], without: frozenset[str]
) -> Callable[[HomeTable], Any]:
    columns = [i for i, column in enumerate(training[0].columns) if column.kind not in without]
    x = np.concatenate([t.values[:, columns][t.truth >= 0] for t in training])
    predict = learn(method, x, np.concatenate([t.truth[t.truth >= 0] for t in training]))
    return lambda table: predict(table.values[:, columns])


def simple_rows(
    training: Sequence[HomeTable],
    judged: Mapping[str, Sequence[HomeTable]],
    inputs: dict[str, frozenset[str]],
    *,
    counts: bool,
    advance: Callable[[float, float], None] | None = None,
) -> list[Row]:
    """What simple methods say after the same recordings. judged: name -> recordings; inputs: name -> kinds
    that are left out."""
    rows = []
    jobs = [(method, name) for method in METHODS for name in inputs]
    for done, (method, name) in enumerate(jobs, 1):
        learned = _learned(method, training, inputs[name])
        for which, tables in judged.items():
            answers = [known(learned(t), t) for t in tables]
            rows.append(
                Row(
                    method=method,
                    inputs=name,
                    judged=which,
                    seen=False,
                    figures=figures(answers, counts=counts),
                )
            )
        if advance:
            advance(done, len(jobs))
    return rows


def _flips(people: Any) -> int:
    return int((np.diff(people > 0)).sum())


def _blocks(answers: Answers) -> list[Answers]:
    block = ((answers.stamp_ns - answers.stamp_ns[:1]) / 1e9 // BLOCK_S).astype(int)
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    return [
        Answers(answers.people[a:b], answers.truth[a:b], answers.stamp_ns[a:b])
        for a, b in zip(starts, [*starts[1:], len(block)])
    ]
