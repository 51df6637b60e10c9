"""What is said of each room: the network's counts, widened where no sensor tells any more, and `occupied`
with its hysteresis."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fusion_rt.home.config import HomeConfig
from fusion_rt.home.modalities import MODALITY
from fusion_rt.home.network import ROOM_ACTIVITIES, Answers
from fusion_rt.home.occupancy import Occupancy
from fusion_rt.home.reasons import Reasons
from fusion_rt.home.room_features import GROUPS
from fusion_rt.plan import OUTSIDE, Plan
from fusion_rt.scene import RoomState, Why

# Who is in a room that no sensor tells about any more.
UNSEEN = np.array([0.75, 0.18, 0.05, 0.015, 0.005], dtype=np.float32)
FILLS_P = 0.6  # a neighbour that becomes so likely is where somebody went

Array = NDArray[np.float32]


class Rooms:
    """Of a plan, in its order, which is the network's."""

    def __init__(self, config: HomeConfig, plan: Plan) -> None:
        self._config, self._plan = config, plan
        self._near = neighbours(plan)
        self.tells = sensors_of_rooms(plan)
        self._hold_s: dict[str, float] = {}  # what was set since the start
        self.forget()

    def forget(self) -> None:
        """As if nothing had been heard yet; hold times that were set stay."""
        config = self._config
        self._occupancy = {
            slug: Occupancy(room, on=config.on, off=config.off) for slug, room in self._plan.rooms.items()
        }
        for slug, hold_s in self._hold_s.items():
            self._occupancy[slug].hold(hold_s)
        self._p: dict[str, float] = dict.fromkeys(self._plan.rooms, 0.0)
        self._told_ns: dict[str, int] = {}  # room -> when a sensor told about it last

    def hold(self, room: str, hold_s: float) -> None:
        """Another hold time than the plan's. Raises KeyError for a room that is not in the plan."""
        self._occupancy[room].hold(hold_s)
        self._hold_s[room] = hold_s

    def moves(self, door: str, stamp_ns: int) -> None:
        """The contact `door` changed: somebody may have left the rooms at its doors."""
        for way in self._plan.doors.values():
            if way.contact == door:
                for side in way.rooms:
                    if side != OUTSIDE:
                        self._occupancy[side].leave(stamp_ns)

    def widened(self, counts: Array, status: Mapping[str, str], followed: set[str], now: int) -> Array:
        """A room that no sensor tells about any more is less and less known. One that none told about yet,
        and where nobody is followed, is not known at all: what the network believes of it is what homes are
        like. counts (R, 5); followed: rooms with a track."""
        counts = counts.copy()
        for row, (slug, room) in enumerate(self._plan.rooms.items()):
            if any(status[sensor] == "used" for sensor in self.tells[slug]):
                self._told_ns[slug] = now
            told_ns = self._told_ns.get(slug)
            if told_ns is None and slug not in followed:
                counts[row] = UNSEEN
            elif told_ns is not None and now > told_ns:
                known = np.float32(np.exp(-(now - told_ns) / 1e9 / max(room.absent_s, 1.0)))
                counts[row] = known * counts[row] + (1 - known) * UNSEEN
        return counts

    def take(self, counts: Array, left: list[str], now: int) -> None:
        """The counts of this scene; left: rooms that a track left."""
        for slug in left:
            self._occupancy[slug].leave(now, surely=True)
        for row, slug in enumerate(self._plan.rooms):
            p = 1.0 - float(counts[row, 0])
            if p >= FILLS_P > self._p[slug]:
                for beside in self._near[slug]:
                    self._occupancy[beside].leave(now)
            self._p[slug] = p

    def states(
        self,
        counts: Array,
        answers: Answers,
        reasons: Reasons,
        *,
        watched: set[str],
        present: tuple[str, ...],
        missing: tuple[str, ...],
        ages: dict[str, float],
        now: int,
    ) -> tuple[RoomState, ...]:
        """watched: rooms whose radar or camera works; present: modalities that work; missing: sensors that do
        not; ages: of each sensor's newest word, ms."""
        rooms = []
        for row, slug in enumerate(self._plan.rooms):
            state, p = self._occupancy[slug], self._p[slug]
            occupied = state.update(p, now, watched=slug in watched)
            chances = [float(v) for v in counts[row]]
            people = max(range(len(chances)), key=lambda n: chances[n])
            if occupied and people == 0:
                people = 1 + max(range(len(chances) - 1), key=lambda n: chances[n + 1])
            doing = {"empty": 1 - p}
            doing |= {name: p * float(v) for name, v in zip(ROOM_ACTIVITIES, answers.activities[row])}
            best = max(ROOM_ACTIVITIES, key=lambda name: doing[name])
            mine = tuple(s for s in self.tells[slug] if s in missing)
            heard = tuple(m for m in present if m in GROUPS and self._heard(slug, m, missing))
            rooms.append(
                RoomState(
                    room=slug,
                    p_occupied=p,
                    occupied=occupied,
                    people=people if occupied else 0,
                    people_p=tuple(chances),
                    activity=best if occupied else "empty",
                    activity_p=doing,
                    since_ns=state.since_ns,
                    why=Why(
                        shares=reasons.of_room(row, heard),
                        missing=mine,
                        ages_ms={s: ages[s] for s in self.tells[slug] if s in ages},
                    ),
                )
            )
        return tuple(rooms)

    def _heard(self, room: str, modality: str, missing: tuple[str, ...]) -> bool:
        sensors = self._plan.sensors
        return any(MODALITY[sensors[s].kind] == modality and s not in missing for s in self.tells[room])


def neighbours(plan: Plan) -> dict[str, set[str]]:
    """room -> rooms behind its doors."""
    near: dict[str, set[str]] = {slug: set() for slug in plan.rooms}
    for door in plan.doors.values():
        a, b = door.rooms
        if OUTSIDE not in (a, b):
            near[a].add(b)
            near[b].add(a)
    return near


def sensors_of_rooms(plan: Plan) -> dict[str, tuple[str, ...]]:
    """room -> the sensors that tell about it: in it, or at its doors."""
    tells: dict[str, list[str]] = {slug: [] for slug in plan.rooms}
    for slug, sensor in plan.sensors.items():
        ends = [set(d.rooms) for d in plan.doors.values() if d.contact == slug]
        for room in tells:
            if sensor.room == room or any(room in end for end in ends):
                tells[room].append(slug)
    return {room: tuple(slugs) for room, slugs in tells.items()}
