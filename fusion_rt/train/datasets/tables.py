"""A table of household readings with truth: one row a moment, one column a sensor."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.header import Header
from fusion_rt.home_packets import READINGS, HomeReading


class Column(Struct, frozen=True):
    """A sensor of the table: its column, its id, and the kind of its readings in READINGS' unit."""

    name: str
    sensor_id: str
    kind: str


class HomeTable(Struct, frozen=True, kw_only=True):
    """name     of the recording, as results show it
    columns  S sensors
    stamp_ns (T,) int64, UNIX, rising
    values   (T, S) float64 in the kinds' units, NaN where the file has none
    truth    (T,) int64; -1 where the file has none
    notes    what was wrong in the file -> how many times
    """

    name: str
    columns: tuple[Column, ...]
    stamp_ns: Any
    values: Any
    truth: Any
    notes: dict[str, int]

    def rows(self, start: int, stop: int, name: str) -> HomeTable:
        """The part [start, stop) as a recording of its own."""
        return HomeTable(
            name=name,
            columns=self.columns,
            stamp_ns=self.stamp_ns[start:stop],
            values=self.values[start:stop],
            truth=self.truth[start:stop],
            notes=self.notes,
        )

    def packets(self, row: int) -> Iterator[HomeReading]:
        """What the sensors of a row say; NaN where a sensor is there but has no reading."""
        for s, column in enumerate(self.columns):
            yield HomeReading(
                header=Header(
                    sensor_id=column.sensor_id, frame_id="", seq=row, stamp_ns=int(self.stamp_ns[row])
                ),
                entity=column.sensor_id,
                kind=column.kind,
                value=float(self.values[row, s]),
                unit=READINGS[column.kind],
            )


def days(table: HomeTable, zone: tzinfo) -> list[HomeTable]:
    """The table cut at local midnight, one recording a day."""
    dates = [datetime.fromtimestamp(s / 1e9, zone).date() for s in table.stamp_ns]
    starts = [i for i, date in enumerate(dates) if i == 0 or date != dates[i - 1]]
    return [table.rows(a, b, str(dates[a])) for a, b in zip(starts, [*starts[1:], len(dates)])]


def read_rows(path: Path, header: Sequence[str], *, unnamed_first: bool) -> list[list[str]]:
    """The rows of a CSV file whose header must be `header`; unnamed_first: rows have one value more, their
    number. Raises LogError: the file cannot be read, has other columns, rows of another length, or none."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"{path}: cannot be read: {error}") from error
    if not rows or rows[0] not in ([*header], ["", *header]):
        found = ", ".join(rows[0]) if rows else "nothing"
        raise LogError(f"{path}: columns are {found[:300]}; expected {', '.join(header)}")
    width = len(header) + unnamed_first
    for number, row in enumerate(rows[1:], 2):
        if len(row) != width:
            raise LogError(f"{path}: row {number} has {len(row)} values, expected {width}")
    if len(rows) == 1:
        raise LogError(f"{path}: no rows below the header")
    return [row[unnamed_first:] for row in rows[1:]]


def number(cell: str, notes: Counter[str]) -> float:
    """The cell as a finite number, else NaN, counted."""
    try:
        value = float(cell)
    except ValueError:
        notes["empty cells" if not cell.strip() else "cells that are no number"] += 1
        return float("nan")
    if not np.isfinite(value):
        notes["cells that are not finite"] += 1
        return float("nan")
    return value


def label(cell: str, largest: int, notes: Counter[str]) -> int:
    """The cell as a whole number 0..largest, else -1, counted."""
    value = number(cell, Counter())
    if value != value or value != round(value) or not 0 <= value <= largest:
        notes["rows without a usable truth (not judged)"] += 1
        return -1
    return int(value)


def stamp_ns(text: str, zone: tzinfo, path: Path, row: int) -> int:
    """A local time "YYYY-MM-DD H:MM:SS" as UNIX ns. Raises LogError."""
    try:
        local = datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
    except ValueError as error:
        raise LogError(f"{path}: row {row}: {text!r} is no time YYYY-MM-DD HH:MM:SS") from error
    return round(local.replace(tzinfo=zone).timestamp()) * 1_000_000_000


def in_time_order(
    name: str, columns: tuple[Column, ...], stamps: Any, values: Any, truth: Any, notes: Counter[str]
) -> HomeTable:
    """Rows by their stamps; rows that stood elsewhere and repeated stamps are counted, of those the last row
    stays."""
    stamps = np.asarray(stamps, np.int64)
    if misplaced := int((np.diff(stamps) < 0).sum()):
        notes["rows that were not in time order (sorted)"] += misplaced
    order = np.argsort(stamps, kind="stable")
    last = np.append(np.diff(stamps[order]) > 0, True)
    if repeated := int((~last).sum()):
        notes["rows with the stamp of another (left out)"] += repeated
    order = order[last]
    return HomeTable(
        name=name,
        columns=columns,
        stamp_ns=stamps[order],
        values=np.asarray(values, float)[order],
        truth=np.asarray(truth, np.int64)[order],
        notes=dict(notes),
    )
