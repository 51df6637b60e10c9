"""Files of readings as packets: CSV with a column a sensor or a row a reading, Home Assistant's history
export (entity_id, state, last_changed), JSON lines."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Struct

from fusion_rt.errors import ConfigError, LogError
from fusion_rt.header import Header
from fusion_rt.home_packets import READINGS, HomeReading
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig
from fusion_rt.sensors import values
from fusion_rt.sensors.shapes import time_ns

TIME_COLUMNS = ("stamp", "time", "timestamp", "datetime", "date", "last_changed", "last_updated")
NAME_COLUMNS = ("entity_id", "entity", "sensor", "sensor_id", "name")
VALUE_COLUMNS = ("state", "value")
UNIT_COLUMNS = ("unit", "unit_of_measurement")
JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")

_SHORT_HOUR = re.compile(r"([ T])(\d):")  # 9:05:00

Row = tuple[Any, str, Any, str]  # time, name, value, unit


class Column(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which sensor of the plan a name in the file is; unit, scale, inverted, on: as of the node household."""

    sensor: str
    unit: str = ""
    scale: float = 1.0
    inverted: bool = False
    on: tuple[str, ...] = ()


class ReadingsFile:
    """All readings of a file in order of their time.

    columns   name in the file -> sensor; what is not in it is the plan's sensor of that name, without Home
              Assistant's "sensor." before it
    timezone  of times that do not tell theirs
    plan      the home's, for the log

    errors    what was left out and why, complete after construction

    Raises LogError: the file cannot be read, or has no column of times; ConfigError."""

    def __init__(
        self,
        path: str | Path,
        plan: Plan,
        *,
        columns: Mapping[str, Column] | None = None,
        timezone: str = "UTC",
    ) -> None:
        self.path, self.plan, self.rig = Path(path), plan, Rig()
        self._columns = dict(columns or {})
        for name, column in self._columns.items():
            self._check(name, column)
        self._zone = _zone(timezone)
        self._left_out: Counter[tuple[str, str]] = Counter()
        self._readings = sorted(self._read(), key=lambda r: r[0])

    @property
    def errors(self) -> Sequence[str]:
        """One line for each name and cause."""
        return [f"{self.path}: {name}: {n} left out: {why}" for (name, why), n in self._left_out.items()]

    def __len__(self) -> int:
        return len(self._readings)

    def __iter__(self) -> Iterator[HomeReading]:
        seqs: Counter[str] = Counter()
        for stamp_ns, slug, number in self._readings:
            kind = self.plan.sensors[slug].kind
            header = Header(sensor_id=slug, frame_id="", seq=seqs[slug], stamp_ns=stamp_ns)
            seqs[slug] += 1
            yield HomeReading(header=header, entity=slug, kind=kind, value=number, unit=READINGS[kind])

    def _read(self) -> Iterator[tuple[int, str, float]]:
        last_ns = -(1 << 62)
        for time, name, raw, unit in self._rows():
            column = self._column(name)
            if column is None:
                self._left_out[name, "not a sensor of the plan"] += 1
                continue
            stamp_ns = self._stamp(time, last_ns)
            if stamp_ns is None or stamp_ns < 0:
                self._left_out[name, "no time that can be read"] += 1
                continue
            last_ns = stamp_ns
            kind = self.plan.sensors[column.sensor].kind
            try:
                number = float(
                    values.value(
                        kind,
                        raw,
                        unit=unit or column.unit,
                        scale=column.scale,
                        on=column.on,
                        inverted=column.inverted,
                    )
                )
            except values.Refused as refused:
                self._left_out[name, f"{kind} cannot be so ({refused})"] += 1
                continue
            yield stamp_ns, column.sensor, number

    def _rows(self) -> Iterator[Row]:
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                if self.path.suffix in JSON_SUFFIXES:
                    yield from self._of_json(file)
                else:
                    yield from self._of_csv(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise LogError(f"{self.path}: cannot be read: {error}") from error

    def _of_csv(self, table: csv.DictReader[str]) -> Iterator[Row]:
        names = [name for name in table.fieldnames or () if name]
        time, entity = _first(names, TIME_COLUMNS), _first(names, NAME_COLUMNS)
        value, unit = _first(names, VALUE_COLUMNS), _first(names, UNIT_COLUMNS)
        if time is None:
            raise LogError(
                f"{self.path}: no column of times; expected one of {', '.join(TIME_COLUMNS)}, found"
                f" {', '.join(names) or 'nothing'}"
            )
        day = (
            _first(names, ("date",)) if time.strip().lower() == "time" else None
        )  # a date and a time beside it
        for row in table:
            if day is not None:
                row[time] = f"{row[day]} {row[time]}"
            if entity is not None and value is not None:
                yield row[time], row[entity] or "", row[value], (row[unit] or "" if unit else "")
                continue
            for name in names:
                if name not in (time, day) and row[name] is not None:
                    yield row[time], name, row[name], ""

    def _of_json(self, lines: Any) -> Iterator[Row]:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                data = msgspec.json.decode(line, type=dict[str, Any])
            except (msgspec.DecodeError, msgspec.ValidationError, RecursionError):
                self._left_out["a line that is no JSON object", f"the first is line {number}"] += 1
                continue
            names = list(data)
            time, entity = _first(names, TIME_COLUMNS), _first(names, NAME_COLUMNS)
            value, unit = _first(names, VALUE_COLUMNS), _first(names, UNIT_COLUMNS)
            if entity is not None and value is not None:
                yield (
                    data.get(time or ""),
                    str(data[entity]),
                    data[value],
                    str(data[unit] or "") if unit else "",
                )
            else:
                for name in names:
                    if name != time:
                        yield data.get(time or ""), name, data[name], ""

    def _column(self, name: str) -> Column | None:
        if name not in self._columns:
            slugs = (name, name.partition(".")[2], re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_"))
            slug = next((s for s in slugs if self._readable(s)), None)
            if slug is None:
                return None
            self._columns[name] = Column(sensor=slug)
        return self._columns[name]

    def _readable(self, slug: str) -> bool:
        return slug in self.plan.sensors and self.plan.sensors[slug].kind in READINGS

    def _check(self, name: str, column: Column) -> None:
        if not self._readable(column.sensor):
            known = [slug for slug in self.plan.sensors if self._readable(slug)]
            raise ConfigError(
                f"{name}: no sensor {column.sensor!r} with readings in the plan; {', '.join(known)}"
            )
        kind = self.plan.sensors[column.sensor].kind
        if column.unit and not values.known_unit(kind, column.unit):
            raise ConfigError(f"{name}: {kind} in {column.unit!r}? Known units: docs/home_sensors.md")

    def _stamp(self, raw: Any, last_ns: int) -> int | None:
        stamp = time_ns(_as_number(raw))
        if stamp is not None or not isinstance(raw, str):
            return stamp
        try:
            when = datetime.fromisoformat(_SHORT_HOUR.sub(r"\g<1>0\2:", raw.strip()))
        except ValueError:
            return None
        local = when.replace(tzinfo=self._zone)
        stamp = round(local.timestamp() * 1e6) * 1000
        if stamp < last_ns:  # the hour that comes twice when summer ends: the second time
            later = round(local.replace(fold=1).timestamp() * 1e6) * 1000
            return later if later >= last_ns else stamp
        return stamp


def _as_number(raw: Any) -> Any:
    if isinstance(raw, str):
        try:
            number = float(raw)
        except ValueError:
            return raw
        return number if math.isfinite(number) else None
    return raw


def _first(names: list[str], wanted: tuple[str, ...]) -> str | None:
    by_name = {name.strip().lower(): name for name in names}
    return next((by_name[name] for name in wanted if name in by_name), None)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return timezone.utc  # also where the system has no zones
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigError(
            f"timezone: {name!r}: not one of the IANA data base, such as Europe/Berlin"
        ) from error
