"""The context of each room as one row of numbers: what its household sensors say, since when, how it changes.

Each group belongs to a modality and begins with `known`: without it, all of the group is zero. So a modality
is taken away by zeroing its columns.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fusion_rt.home.canvas import ROOMS, Canvas
from fusion_rt.home.histories import Beacons, Camera, History, Microphone, Radar, Readings
from fusion_rt.plan import OUTSIDE, Plan
from fusion_rt.scene import EVENTS

# modality -> its columns; the order is that of the network's input.
GROUPS: dict[str, tuple[str, ...]] = {
    "motion": ("known", "on", "since_5", "since_30", "since_300", "share_60"),
    "contact": ("known", "open", "since_5", "since_30", "since_300", "way_out", "out_5", "out_30", "out_300"),
    "presence": ("known", "on", "since_60"),
    "air": (
        *("temperature", "t", "t_slope", "humidity", "h", "h_slope_2", "h_slope_10"),
        *("co2", "c", "c_slope_5", "c_slope_15"),
    ),
    "light": ("known", "lux", "since_30", "since_600"),
    "power": ("known", "watts", "since_30", "since_600"),
    "sound": ("known", "level", "level_5", "speech", "speech_5", *EVENTS),
    "beacon": ("known", "nearest", "second"),
    "radar": ("known", "points", "moving", "fastest", "snr", "height"),
    "camera": ("known", "people", "score"),
    "facts": ("room", "area", "doors", "outside"),
}
COLUMNS = tuple(f"{group}.{name}" for group, names in GROUPS.items() for name in names)
SLICES: dict[str, slice] = {}
for _group, _names in GROUPS.items():
    _first = sum(s.stop - s.start for s in SLICES.values())
    SLICES[_group] = slice(_first, _first + len(_names))

Array = NDArray[np.float32]


class RoomFeatures:
    """Pure: equal histories give equal rows."""

    def __init__(self, plan: Plan, canvas: Canvas) -> None:
        self._canvas = canvas
        row = {room: i for i, room in enumerate(canvas.rooms)}
        # sensor -> rows that it tells about, and whether it is at a way out of the home
        self._rows = {slug: ([row[s.room]] if s.room in row else []) for slug, s in plan.sensors.items()}
        self._outer: set[str] = set()
        for door in plan.doors.values():
            if door.contact:
                self._rows[door.contact] = [row[r] for r in door.rooms if r != OUTSIDE]
                if OUTSIDE in door.rooms:
                    self._outer.add(door.contact)

    def at(self, now_ns: int, histories: dict[str, History]) -> Array:
        """(16, COLUMNS) float32."""
        table = np.zeros((ROOMS, len(COLUMNS)), dtype=np.float32)
        table[:, SLICES["facts"]] = self._canvas.facts
        for slug, history in histories.items():
            if history.status(now_ns) != "used":
                continue
            for row in self._rows[slug]:
                self._fill(table[row], slug, history, now_ns)
        return table

    def _fill(self, row: Array, slug: str, history: History, now_ns: int) -> None:
        if isinstance(history, Readings):
            _READING[history.sensor.kind](row, history, now_ns, slug in self._outer)
        elif isinstance(history, Microphone):
            _sound(row[SLICES["sound"]], history)
        elif isinstance(history, Beacons):
            near = sorted(history.near(now_ns))[:2]
            group = row[SLICES["beacon"]]
            group[0] = 1.0
            for i, distance in enumerate(near):
                group[1 + i] = max(group[1 + i], math.exp(-distance / 3.0))
        elif isinstance(history, Radar):
            row[SLICES["radar"].start] = 1.0
        elif isinstance(history, Camera):
            row[SLICES["camera"].start] = 1.0


def _since(now_ns: int, then_ns: int, scale_s: float) -> float:
    return math.exp(-max(0.0, (now_ns - then_ns) / 1e9) / scale_s)


def _most(group: Array, *values: float) -> None:
    """Several sensors of a kind in a room: the largest of each number counts."""
    for i, value in enumerate(values):
        group[i] = max(group[i], value)


def _motion(row: Array, h: Readings, now: int, outer: bool) -> None:
    until = now if h.value == 1.0 else (h.changed_ns if h.on_ns > 0 else h.on_ns)
    since = (_since(now, until, scale) for scale in (5.0, 30.0, 300.0))
    _most(row[SLICES["motion"]], 1.0, h.value, *since, h.share_on(now, 60.0))


def _contact(row: Array, h: Readings, now: int, outer: bool) -> None:
    group = row[SLICES["contact"]]
    changed = h.changed_ns if len(h.past) > 1 else -(1 << 62)  # the first word is no change
    since = [_since(now, changed, scale) for scale in (5.0, 30.0, 300.0)]
    _most(group, 1.0, h.value, *since)
    if outer:
        _most(group[5:], 1.0, *since)


def _presence(row: Array, h: Readings, now: int, outer: bool) -> None:
    until = now if h.value == 1.0 else h.changed_ns
    _most(row[SLICES["presence"]], 1.0, h.value, _since(now, until, 60.0))


def _temperature(row: Array, h: Readings, now: int, outer: bool) -> None:
    row[SLICES["air"]][:3] = 1.0, (h.value - 20.0) / 10.0, _bounded(10.0 * h.slope(now, 300.0))


def _humidity(row: Array, h: Readings, now: int, outer: bool) -> None:
    group = row[SLICES["air"]]
    group[3:7] = 1.0, h.value / 100.0, _bounded(h.slope(now, 120.0)), _bounded(2.0 * h.slope(now, 600.0))


def _humidity_ratio(row: Array, h: Readings, now: int, outer: bool) -> None:
    group = row[SLICES["air"]]
    if group[3] == 0.0:
        scaled = 5000.0  # about % a kg/kg, at room temperature
        fast, slow = h.slope(now, 120.0) * scaled, h.slope(now, 600.0) * scaled
        group[3:7] = 1.0, h.value * scaled / 100.0, _bounded(fast), _bounded(2.0 * slow)


def _co2(row: Array, h: Readings, now: int, outer: bool) -> None:
    group = row[SLICES["air"]]
    fast, slow = _bounded(h.slope(now, 300.0) / 10.0), _bounded(h.slope(now, 900.0) / 10.0)
    group[7:11] = 1.0, min((h.value - 420.0) / 1000.0, 4.0), fast, slow


def _light(row: Array, h: Readings, now: int, outer: bool) -> None:
    since = (_since(now, h.jumped_ns, scale) for scale in (30.0, 600.0))
    _most(row[SLICES["light"]], 1.0, math.log1p(h.value) / 7.0, *since)


def _power(row: Array, h: Readings, now: int, outer: bool) -> None:
    since = (_since(now, h.jumped_ns, scale) for scale in (30.0, 600.0))
    _most(row[SLICES["power"]], 1.0, math.log1p(max(h.value, 0.0)) / 8.0, *since)


def _level(row: Array, h: Readings, now: int, outer: bool) -> None:
    lately = max(value for stamp_ns, value in h.past if now - stamp_ns <= 5e9 or stamp_ns == h.stamp_ns)
    _most(row[SLICES["sound"]], 1.0, (h.value - 40.0) / 40.0, (lately - 40.0) / 40.0)


def _nothing(row: Array, h: Readings, now: int, outer: bool) -> None:
    """Tells of events, not of who is there."""


_READING = {
    "motion": _motion,
    "contact": _contact,
    "presence": _presence,
    "temperature": _temperature,
    "humidity": _humidity,
    "humidity_ratio": _humidity_ratio,
    "co2": _co2,
    "illuminance": _light,
    "power": _power,
    "energy": _nothing,
    "sound_level": _level,
    "button": _nothing,
    "smoke": _nothing,
}


def _sound(group: Array, h: Microphone) -> None:
    told = np.array([(level, speech, *events) for _, level, speech, events in h.past], dtype=np.float32)
    peak = told.max(axis=0)
    level, speech = told[-1, 0], told[-1, 1]
    _most(group, 1.0, (level - 40.0) / 40.0, (peak[0] - 40.0) / 40.0, speech, told[:, 1].mean(), *peak[2:])


def _bounded(value: float) -> float:
    return max(-3.0, min(3.0, value))
