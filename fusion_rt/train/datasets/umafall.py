"""UMAFall: worn accelerometers and gyroscopes, daily movements and acted falls (Casilari et al., 2017; CC BY
4.0).

A phone in the right trouser pocket gives about 200 accelerations a second in bursts, waist and wrist about
20 with angular rates. The moment of a fall is not marked: it is taken where the acceleration is largest.
"""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.header import Header
from fusion_rt.messages import ImuSample
from fusion_rt.train.datasets.labels import read_gzip, read_labels

HEADER = ("t_ms", "sensor", "position", "x", "y", "z")
LABELS = ("file", "subject", "kind", "movement")
FOLDER = "umafall"
POSITIONS = ("rightpocket", "waist", "wrist")
G = 9.80665
# A gyroscope's reading belongs to accelerations up to so much later.
GYRO_HELD_MS = 100.0
LICENCE = "UMAFall (Casilari et al., 2017, figshare 4214283), CC BY 4.0: name the authors"


class WornRecording(Struct, frozen=True, kw_only=True):
    """samples  of all positions in time order; header.sensor_id is the position
    fall_ns  when the person fell; None: a daily movement
    """

    name: str
    subject: str
    movement: str
    samples: tuple[ImuSample, ...]
    fall_ns: int | None
    duration_s: float
    notes: dict[str, int]


def read_folder(folder: Path) -> list[WornRecording]:
    """All recordings that labels.csv names. Raises LogError."""
    recordings = []
    for row in read_labels(folder, LABELS):
        if row["kind"] not in ("fall", "adl"):
            raise LogError(f"{folder}/labels.csv: kind is {row['kind']!r}, expected fall or adl")
        recordings.append(
            read(folder / row["file"], row["subject"], row["movement"], fall=row["kind"] == "fall")
        )
    return recordings


def read(path: Path, subject: str, movement: str, *, fall: bool) -> WornRecording:
    """Raises LogError."""
    notes: Counter[str] = Counter()
    series: dict[tuple[str, str], list[list[float]]] = {}
    for row in read_gzip(path, HEADER):
        values = _numbers(row)
        if values is None or row[1] not in ("acc", "gyro"):
            notes["rows that are not measured values (left out)"] += 1
        else:
            series.setdefault((row[1], row[2]), []).append(values)
    arrays: dict[tuple[str, str], Any] = {}
    for key, rows in series.items():
        array = np.array(rows)
        if misplaced := int((np.diff(array[:, 0]) < 0).sum()):
            notes["rows that were not in time order (sorted)"] += misplaced
            array = array[np.argsort(array[:, 0], kind="stable")]
        arrays[key] = array
    forces = {position: array for (sensor, position), array in arrays.items() if sensor == "acc"}
    if not forces:
        raise LogError(f"{path}: no acceleration in it")
    samples = [
        sample
        for position, force in sorted(forces.items())
        for sample in _samples(position, force, arrays.get(("gyro", position)))
    ]
    samples.sort(key=lambda sample: sample.header.stamp_ns)
    return WornRecording(
        name=path.name.removesuffix(".gz").removesuffix(".csv"),
        subject=subject,
        movement=movement,
        samples=tuple(samples),
        fall_ns=_impact_ns(forces) if fall else None,
        duration_s=(samples[-1].header.stamp_ns - samples[0].header.stamp_ns) / 1e9,
        notes=dict(notes),
    )


def _numbers(row: list[str]) -> list[float] | None:
    if len(row) != len(HEADER):
        return None
    try:
        values = [float(row[0]), *(float(cell) for cell in row[3:])]
    except ValueError:
        return None
    return values if all(map(math.isfinite, values)) else None


def _samples(position: str, force: Any, rate: Any | None) -> list[ImuSample]:
    """In SI; an angular rate is NaN where the place has no gyroscope."""
    rates = np.full((len(force), 3), np.nan)
    if rate is not None:
        at = np.searchsorted(rate[:, 0], force[:, 0], side="right") - 1
        known = (at >= 0) & (force[:, 0] - rate[np.maximum(at, 0), 0] <= GYRO_HELD_MS)
        rates[known] = np.radians(rate[at[known], 1:])
    return [
        ImuSample(
            header=Header(sensor_id=position, frame_id=position, seq=i, stamp_ns=round(row[0] * 1e6)),
            specific_force=tuple((row[1:] * G).tolist()),
            angular_rate=tuple(w.tolist()),
        )
        for i, (row, w) in enumerate(zip(force, rates))
    ]


def _impact_ns(forces: dict[str, Any]) -> int:
    """Where the body hit the ground: the largest acceleration of the waist, else of the pocket, else of the
    wrist; a wrist also hits other things."""
    for position in ("waist", "rightpocket", *forces):
        if position in forces:
            force = forces[position]
            return round(float(force[np.linalg.norm(force[:, 1:], axis=1).argmax(), 0]) * 1e6)
    raise AssertionError("no acceleration")
