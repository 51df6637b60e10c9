"""A simulated home as training needs it: what all sensors said at each tick and what was true, a few hundred
bytes a tick, in one .npz. Made by the same intake and observer as in the live engine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from fusion_rt import config
from fusion_rt.home.canvas import ROOMS, Canvas
from fusion_rt.home.intake import Intake
from fusion_rt.home.network import ROOM_ACTIVITIES
from fusion_rt.home.observation import Observation, Observer
from fusion_rt.home.room_features import COLUMNS
from fusion_rt.home_truth import HomeTruth, TrueEvent
from fusion_rt.messages import Packet
from fusion_rt.plan import Plan
from fusion_rt.scene import POSTURES

Array = NDArray[np.float32]
FALL_S = 6.0  # so long after its onset somebody is taught to have fallen
STUCK_S = 3600.0
PEOPLE = ("x", "y", "vx", "vy", "posture", "fall")


class Tape:
    """plan, canvas, observer  of the home; stamps (T,) int64.

    counts      (T, 16) int; activities (T, 16) int: places in ROOM_ACTIVITIES, -1 for none of them"""

    def __init__(self, path: Path) -> None:
        with np.load(path) as data:
            self._data = {name: data[name] for name in data.files}
        text = bytes(self._data.pop("plan")).decode()
        self.plan: Plan = config.convert(msgspec.json.decode(text), Plan, str(path))
        self.canvas = Canvas(self.plan)
        self.observer = Observer(self.plan, self.canvas)
        self.stamps = self._data["stamps"]
        self.counts, self.activities = self._data["counts"], self._data["activities"]

    def __len__(self) -> int:
        return len(self.stamps)

    def observation(self, tick: int) -> Observation:
        d = self._data
        r0, r1 = d["radar_at"][tick : tick + 2]
        s0, s1 = d["sights_at"][tick : tick + 2]
        rooms = np.zeros((ROOMS, len(COLUMNS)), dtype=np.float32)
        told = d["rooms"][tick]
        rooms[: len(told)] = told
        works = tuple(int(i) for i in np.flatnonzero(d["works"][tick]))
        return Observation(d["radar"][r0:r1].astype("f4"), d["sights"][s0:s1].astype("f4"), rooms, works)

    def falls(self) -> NDArray[np.int64]:
        """The ticks at which falls begin to be taught."""
        fallen = np.zeros(len(self) + 1, dtype=bool)
        rows = np.flatnonzero(self._data["people"][:, 5])
        fallen[1 + np.searchsorted(self._data["people_at"], rows, side="right") - 1] = True
        return np.flatnonzero(fallen[1:] & ~fallen[:-1])

    def people(self, tick: int) -> Array:
        """(P, 6) float32: PEOPLE; posture is a place in POSTURES."""
        d = self._data
        first, last = d["people_at"][tick : tick + 2]
        people: Array = d["people"][first:last]
        return people


def record(plan: Plan, stream: Iterable[Packet | HomeTruth], path: Path) -> int:
    """The ticks of a simulated home to a file; how many they are."""
    canvas = Canvas(plan)
    observer, intake = Observer(plan, canvas), Intake(plan, stuck_s=STUCK_S)
    ticks: list[Observation] = []
    truths: list[HomeTruth] = []
    for packet in stream:
        if isinstance(packet, HomeTruth):
            ticks.append(observer.at(packet.stamp_ns, intake.histories))
            truths.append(packet)
        else:
            intake.take(packet)
    used = len(plan.rooms)
    people, people_at = _people(truths)
    works = np.zeros((len(ticks), max(1, len(observer.spatial))), dtype=bool)
    for row, seen in zip(works, ticks):
        row[list(seen.spatial)] = True
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            plan=np.frombuffer(msgspec.json.encode(plan), dtype=np.uint8),
            stamps=np.array([t.stamp_ns for t in truths]),
            radar=np.concatenate([o.radar for o in ticks]).astype(np.float16),
            radar_at=_starts([len(o.radar) for o in ticks]),
            sights=np.concatenate([o.sights for o in ticks]).astype(np.float16),
            sights_at=_starts([len(o.sights) for o in ticks]),
            rooms=np.stack([o.rooms[:used] for o in ticks]).astype(np.float16),
            works=works,
            people=people,
            people_at=people_at,
            counts=_by_room(plan, truths, lambda truth, room: truth.counts.get(room, 0)),
            activities=_by_room(plan, truths, _activity),
        )
    partial.rename(path)
    return len(ticks)


def _activity(truth: HomeTruth, room: str) -> int:
    name = truth.activities.get(room, "")
    return ROOM_ACTIVITIES.index(name) if name in ROOM_ACTIVITIES else -1


def _by_room(plan: Plan, truths: list[HomeTruth], value: object) -> NDArray[np.int8]:
    table = np.zeros((len(truths), ROOMS), dtype=np.int8)
    for tick, truth in enumerate(truths):
        table[tick, : len(plan.rooms)] = [value(truth, room) for room in plan.rooms]  # type: ignore[operator]
    return table


def _starts(lengths: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _people(truths: list[HomeTruth]) -> tuple[Array, NDArray[np.int64]]:
    rows: list[tuple[float, ...]] = []
    falls: list[TrueEvent] = []
    places = [{p.person_id: (p.x, p.y) for p in truth.people} for truth in truths]
    for i, truth in enumerate(truths):
        falls += [e for e in truth.events if e.kind == "fall"]
        before, after = max(0, i - 1), min(len(truths) - 1, i + 1)
        dt_s = max((truths[after].stamp_ns - truths[before].stamp_ns) / 1e9, 1e-3)
        for person in truth.people:
            here = (person.x, person.y)
            a = places[before].get(person.person_id, here)
            b = places[after].get(person.person_id, here)
            fell = any(
                e.person_id == person.person_id
                and e.onset_ns + 2e8 <= truth.stamp_ns <= e.onset_ns + FALL_S * 1e9
                for e in falls[-4:]
            )
            velocity = ((b[0] - a[0]) / dt_s, (b[1] - a[1]) / dt_s)
            rows.append((*here, *velocity, POSTURES.index(person.posture), float(fell)))
    people = np.array(rows, dtype=np.float32).reshape(-1, len(PEOPLE))
    return people, _starts([len(truth.people) for truth in truths])
