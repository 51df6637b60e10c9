"""labels.csv beside recordings: which file holds what."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fusion_rt.errors import LogError

NAME = "labels.csv"


def read_labels(folder: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of folder/labels.csv, which must have the columns `needed`, whose first is a file there.

    Raises LogError."""
    path = folder / NAME
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"{path}: cannot be read: {error}") from error
    if missing := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise LogError(f"{path}: no column {', '.join(missing)}; expected {', '.join(needed)}")
    for row in rows:
        if not row[needed[0]] or not (folder / row[needed[0]]).is_file():
            raise LogError(f"{path}: {row[needed[0]]!r} is not a file of {folder}")
    if not rows:
        raise LogError(f"{path}: no rows below the header")
    return rows


def read_gzip(path: Path, header: Sequence[str]) -> list[list[str]]:
    """The rows of a CSV file, gzipped or not, below exactly that header. Raises LogError."""
    try:
        with (
            gzip.open(path, "rt", newline="", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(newline="", encoding="utf-8") as file
        ):
            rows = [row for row in csv.reader(file) if row]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise LogError(f"{path}: cannot be read: {error}") from error
    if not rows or rows[0] != list(header):
        found = ", ".join(rows[0]) if rows else "nothing"
        raise LogError(f"{path}: columns are {found[:300]}; expected {', '.join(header)}")
    return rows[1:]


def numbers(path: Path, rows: list[list[str]], width: int) -> tuple[Any, int]:
    """(N, width) float64 of the rows that are whole and finite, and how many were not."""
    kept, bad = [], 0
    for row in rows:
        try:
            values = [float(cell) for cell in row]
        except ValueError:
            values = []
        if len(values) == width and np.isfinite(values).all():
            kept.append(values)
        else:
            bad += 1
    if not kept:
        raise LogError(f"{path}: no row with {width} numbers")
    return np.array(kept), bad
