"""When doors are open: people open them to pass, and close them by habit."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.plan import OUTSIDE, Plan
from fusion_rt.sim.home.furniture import role
from fusion_rt.sim.home.motion import HZ, People
from fusion_rt.transforms import Array


class Doors(Struct, frozen=True, kw_only=True):
    """D doors at T ticks; open (D, T) bool; passed: (door, tick, person, room one comes from) in time
    order."""

    names: tuple[str, ...]
    open: NDArray[np.bool_]
    passed: list[tuple[int, int, int, int]]

    def closed_bits(self) -> NDArray[np.uint32]:
        """(T,): bit d set where door d is closed."""
        bits = np.zeros(self.open.shape[1], np.uint32)
        for d in range(min(len(self.open), 32)):
            bits |= (~self.open[d]).astype(np.uint32) << np.uint32(d)
        return bits


def operate(plan: Plan, people: People, rng: np.random.Generator) -> Doors:
    """A door without a contact is an opening: always open. Others are opened by who passes; an outer door
    closes after him, a bathroom's while somebody is in, a bedroom's at night by habit."""
    ticks = people.xy.shape[1]
    is_open = np.ones((len(plan.doors), ticks), bool)
    passed: list[tuple[int, int, int, int]] = []
    rooms = list(plan.rooms)
    for d, door in enumerate(plan.doors.values()):
        mine = []
        for person in range(len(people.names)):
            for tick in _crossed(people.xy[person], np.array(door.at, np.float64)):
                mine.append((d, int(tick), person, int(people.room[person, tick])))
        mine.sort(key=lambda each: each[1])
        passed += mine
        if not door.contact:
            continue
        habit = {rooms.index(r): role(r, plan.rooms[r].name) for r in door.rooms if r != OUTSIDE}
        outer = OUTSIDE in door.rooms
        state = not outer and "bedroom" not in habit.values()
        is_open[d] = state
        for k, (_, tick, person, came_from) in enumerate(mine):
            begin = max(tick - round(rng.uniform(0.6, 1.6) * HZ), 0)
            is_open[d, begin:] = True
            after = tick + max(round(rng.uniform(1.2, 4.0) * HZ), 2)
            into = int(people.room[person, min(tick + 3, ticks - 1)])
            stays_open = not outer
            if habit.get(into) == "bathroom":
                stays_open = rng.random() < 0.1
            elif "bedroom" in habit.values():
                stays_open = rng.random() < 0.6
            elif habit.get(came_from) == "bathroom":
                stays_open = rng.random() < 0.7
            following = mine[k + 1][1] if k + 1 < len(mine) else ticks
            if not stays_open and after < following + HZ:
                is_open[d, after:] = False
    passed.sort(key=lambda each: each[1])
    return Doors(names=tuple(plan.doors), open=is_open, passed=passed)


def _crossed(xy: NDArray[np.float32], ends: Array) -> NDArray[np.int64]:
    """Ticks after which a way (T, 2) crosses the line between two ends (2, 2)."""
    a, edge = ends[0], ends[1] - ends[0]
    length = float(np.hypot(*edge))
    side = (xy - a) @ np.array([-edge[1], edge[0]]) / length
    along = (xy - a) @ edge / length
    with np.errstate(invalid="ignore"):
        changed = (side[:-1] > 0) != (side[1:] > 0)
        near = (np.abs(side[:-1]) < 0.5) & (along[:-1] > -0.2) & (along[:-1] < length + 0.2)
    return np.flatnonzero(changed & near & np.isfinite(side[1:]))
