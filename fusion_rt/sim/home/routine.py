"""What people do, one after the other: a simulation of events in which a person who has finished something
chooses the next by the hour, finds a free place for it, and walks there."""

from __future__ import annotations

import heapq
import math

import numpy as np
from msgspec import Struct

from fusion_rt.plan import Plan
from fusion_rt.sim.home.config import HomeSimConfig
from fusion_rt.sim.home.furniture import REACH_M, Piece, Place, places
from fusion_rt.sim.home.routes import Floor, Routes
from fusion_rt.transforms import Array

DAY_S = 86400.0
AWAY = "away"
FALLS_M = 0.25  # how far ahead of the feet the middle of the body comes down
FALL_S = 0.6  # from upright to the floor: Hsiao & Robinovitch, J. Biomech. 31, 1998, measured 0.6-0.8 s


class Leg(Struct, frozen=True, kw_only=True):
    """A piece of one person's life from start_s to end_s.

    doing     "walk", "stay" or "fall"
    place     where (an index into Home.places); AWAY: -1
    path      of a walk, (M, 2) m; of a fall or a stay: where, first
    """

    doing: str
    start_s: float
    end_s: float
    place: int
    path: Array
    activity: str
    posture: str
    support: float = 0.0
    facing: float = 0.0


class Dweller(Struct, kw_only=True):
    """One person: id, walking speed (m/s), height and mass, and habits by the hour of the own clock."""

    name: str
    speed_mps: float
    height_m: float
    mass_kg: float
    wakes_h: float
    sleeps_h: float
    works: bool
    resident: bool = True

    @property
    def surface_m2(self) -> float:
        """Of the body: DuBois & DuBois, Arch. Intern. Med. 17, 1916."""
        return 0.007184 * (self.height_m * 100) ** 0.725 * self.mass_kg**0.425


# task -> steps: (kinds of places by preference, activity, posture, shortest and longest stay in s)
Step = tuple[tuple[str, ...], str, str, float, float]
STAND, SIT, LIE = "standing", "sitting", "lying"
TASKS: dict[str, tuple[Step, ...]] = {
    "toilet": (
        (("toilet", "basin"), "other", SIT, 60, 300),
        (("basin", "sink", "spot"), "other", STAND, 15, 50),
    ),
    "shower": (
        (("shower", "basin"), "other", STAND, 240, 600),
        (("basin", "wardrobe", "spot"), "other", STAND, 60, 240),
    ),
    "coffee": ((("counter", "sink", "cooker"), "cooking", STAND, 40, 150),),
    "cook": (
        (("fridge", "counter"), "cooking", STAND, 8, 25),
        (("counter", "sink"), "cooking", STAND, 60, 240),
        (("cooker", "counter"), "cooking", STAND, 90, 400),
        (("sink", "counter"), "cooking", STAND, 20, 90),
        (("cooker", "counter"), "cooking", STAND, 120, 500),
        (("counter", "cooker"), "cooking", STAND, 30, 100),
    ),
    "dishes": ((("sink", "counter"), "other", STAND, 90, 400),),
    "eat": ((("chair", "sofa", "desk", "bed"), "sitting", SIT, 500, 1500),),
    "snack": (
        (("fridge", "counter", "sink"), "other", STAND, 10, 40),
        (("chair", "sofa", "desk"), "sitting", SIT, 120, 500),
    ),
    "tv": ((("sofa", "chair", "bed"), "sitting", SIT, 1200, 5400),),
    "read": ((("sofa", "chair", "bed"), "sitting", SIT, 900, 3600),),
    "nap": ((("sofa", "bed"), "sleeping", LIE, 900, 3600),),
    "desk": ((("desk", "chair", "sofa"), "sitting", SIT, 1500, 5400),),
    "tidy": tuple((("spot", "shelf", "wardrobe"), "other", STAND, 8, 60) for _ in range(5)),
    "dress": ((("wardrobe", "spot"), "other", STAND, 40, 150),),
    "stretch": ((("floor", "spot"), "other", LIE, 120, 600),),
    "chat": ((("sofa", "chair", "spot"), "sitting", SIT, 900, 3600),),
}  # fmt: skip


class Household(Struct, kw_only=True):
    """Who lives where, and what they did: legs a person, in time order."""

    plan: Plan
    pieces: list[Piece]
    places: list[Place]
    routes: Routes
    people: list[Dweller]
    legs: list[list[Leg]]
    falls: list[tuple[float, int]]
    visits: list[float]


def settle(plan: Plan, pieces: list[Piece], config: HomeSimConfig, rng: np.random.Generator) -> Household:
    """The people of a home and their lives for the whole run."""
    routes = Routes(Floor(plan), pieces)
    there, cells = _reachable(plan, routes, places(pieces), rng)
    people = _people(config, rng)
    life = _Life(plan, routes, there, cells, people, config, rng)
    life.run()
    return Household(
        plan=plan,
        pieces=pieces,
        places=there,
        routes=routes,
        people=people,
        legs=life.legs,
        falls=life.falls,
        visits=life.visits,
    )


def _people(config: HomeSimConfig, rng: np.random.Generator) -> list[Dweller]:
    n = config.routine.people or int(rng.choice([1, 2, 3, 4], p=[0.3, 0.35, 0.2, 0.15]))
    visitors = rng.poisson(config.routine.visitors_per_day * max(config.hours / 24, 1e-9))
    guests = min(int(visitors > 0) + int(visitors > 3), 2)
    people = []
    for i in range(n + guests):
        people.append(
            Dweller(
                name=f"p{i + 1}" if i < n else f"guest{i - n + 1}",
                speed_mps=float(np.clip(rng.normal(config.routine.speed_mps, 0.12), 0.4, 1.6)),
                height_m=float(np.clip(rng.normal(1.70, 0.1), 1.45, 2.0)),
                mass_kg=float(np.clip(rng.normal(72, 13), 40, 130)),
                wakes_h=float(np.clip(rng.normal(7.0, 0.7), 5, 9.5)),
                sleeps_h=float(np.clip(rng.normal(22.8, 0.7), 21, 24.8)),
                works=bool(rng.random() < config.routine.works_out),
                resident=i < n,
            )
        )
    return people


def _reachable(
    plan: Plan, routes: Routes, found: list[Place], rng: np.random.Generator
) -> tuple[list[Place], list[int]]:
    """The places that people can walk to, spots to stand on added, and the cell from which each is used."""
    largest = max(
        (routes.nearest(_middle(plan, slug), slug) for slug in plan.rooms),
        key=lambda cell: -1 if cell is None else int(routes.reachable(cell).sum()),
    )
    if largest is None:
        return [], []
    reachable = routes.reachable(largest)
    for slug in plan.rooms:
        rows, columns = np.nonzero(routes.floor.room_cells(slug) & reachable.reshape(routes.free.shape))
        if not len(rows):
            continue
        for k in range(4):
            i = int(rng.integers(len(rows)))
            at = routes.centre(int(rows[i] * routes.free.shape[1] + columns[i]))
            found.append(
                Place(
                    kind="floor" if k == 3 else "spot",
                    room=slug,
                    position=(float(at[0]), float(at[1])),
                    facing=float(rng.uniform(-math.pi, math.pi)),
                )
            )
    for exit_at in routes.exits.values():
        found.append(Place(kind=AWAY, room="", position=exit_at, facing=0.0))
    kept, cells = [], []
    for place in found:
        if place.kind == AWAY:
            cell: int | None = routes.cell(place.position)
            if cell is None or not reachable[cell]:
                continue
        else:
            cell = routes.nearest(place.position, place.room, reachable)
        if cell is None or np.hypot(*(routes.centre(cell) - place.position)) > REACH_M:
            continue
        kept.append(place)
        cells.append(cell)
    return kept, cells


def _middle(plan: Plan, slug: str) -> tuple[float, float]:
    x, y = plan.rooms[slug].corners.mean(axis=0)
    return float(x), float(y)


class _Life:
    """The simulation of events: a heap of who is free when."""

    def __init__(
        self,
        plan: Plan,
        routes: Routes,
        there: list[Place],
        cells: list[int],
        people: list[Dweller],
        config: HomeSimConfig,
        rng: np.random.Generator,
    ) -> None:
        self.plan, self.routes, self.places, self.cells = plan, routes, there, cells
        self.people, self.config, self.rng = people, config, rng
        self.by_kind: dict[str, list[int]] = {}
        for i, place in enumerate(there):
            self.by_kind.setdefault(place.kind, []).append(i)
        self.taken_until = np.full(len(there), -1.0)
        self.end_s = config.hours * 3600
        self.clock0_s = (config.start_ns // 1_000_000_000 + config.utc_offset_h * 3600) % DAY_S
        self.legs: list[list[Leg]] = [[] for _ in people]
        self.falls: list[tuple[float, int]] = []
        self.visits: list[float] = []
        n = rng.poisson(config.routine.falls_per_day * config.hours / 24)
        self.due_falls = sorted(float(t) for t in rng.uniform(0, self.end_s, n))
        self.todo: list[list[Step]] = [[] for _ in people]
        self.last: list[dict[str, float]] = [{} for _ in people]
        self.beds = self._beds()

    def run(self) -> None:
        if all(place.kind == AWAY for place in self.places):
            return
        free: list[tuple[float, int]] = []
        for person, dweller in enumerate(self.people):
            if dweller.resident:
                heapq.heappush(free, (self._begin(person), person))
            else:
                heapq.heappush(free, (self._wait_away(person, 0.0, None), person))
        while free:
            now, person = heapq.heappop(free)
            if now < self.end_s:
                heapq.heappush(free, (self._next(person, now), person))

    # -- where one is

    def _hour(self, now: float) -> float:
        return ((self.clock0_s + now) % DAY_S) / 3600

    def _asleep(self, dweller: Dweller, now: float) -> bool:
        hour = self._hour(now)
        low, high = dweller.sleeps_h % 24, dweller.wakes_h
        return low <= hour < high if low < high else hour >= low or hour < high

    def _beds(self) -> dict[int, list[int]]:
        """Whose bed is which: two to a room, in order."""
        beds = self.by_kind.get("bed", []) or self.by_kind.get("sofa", [])
        return {p: [beds[p % len(beds)]] if beds else [] for p in range(len(self.people))}

    def _begin(self, person: int) -> float:
        """Where one is at first: in bed by night, else at home or out."""
        dweller = self.people[person]
        if self._asleep(dweller, 0.0):
            steps: list[Step] = [self._sleep_step(dweller, 0.0)]
        elif dweller.works and 9 <= self._hour(0.0) < 17 and self.by_kind.get(AWAY):
            return self._wait_away(person, 0.0, None)
        else:
            steps = list(TASKS[str(self.rng.choice(["tv", "read", "tidy", "desk", "cook"]))])
        self.todo[person] = steps[1:]
        kinds, activity, posture, low, high = steps[0]
        place = self._find(person, kinds, 0.0)
        end = float(self.rng.uniform(low, high)) * float(self.rng.uniform(0.2, 1.0)) / self._pace(steps[0])
        self._stay(person, 0.0, end, place, activity, posture)
        return end

    def _wait_away(self, person: int, now: float, length_s: float | None) -> float:
        """Out of the house until the end that is returned."""
        if length_s is None:
            dweller = self.people[person]
            if dweller.resident:
                length_s = float(self.rng.uniform(1800, 4 * 3600)) / self.config.routine.pace
            else:  # comes when visitors come
                visits = max(self.config.routine.visitors_per_day, 1e-9)
                length_s = (
                    float(self.rng.exponential(DAY_S / visits))
                    if now
                    else float(self.rng.uniform(0, self.end_s))
                )
        end = now + length_s
        away = self.by_kind.get(AWAY)
        if not away:
            place = int(self.rng.integers(len(self.places)))
            self._stay(person, now, end, place, "other", STAND)
            return end
        place = (
            away[int(self.rng.integers(len(away)))] if not self.legs[person] else self.legs[person][-1].place
        )
        self._stay(person, now, end, place if self.places[place].kind == AWAY else away[0], AWAY, "unknown")
        return end

    # -- what next

    def _next(self, person: int, now: float) -> float:
        dweller = self.people[person]
        current = self.legs[person][-1]
        if not self.todo[person]:
            if self.places[current.place].kind == AWAY and not dweller.resident:
                self.visits.append(now)
            self.todo[person] = list(self._choose(person, now))
        kinds, activity, posture, low, high = self.todo[person].pop(0)
        if kinds == (AWAY,):
            if self.places[current.place].kind != AWAY:
                away = self.by_kind[AWAY]
                arrived = self._walk(person, now, away[int(self.rng.integers(len(away)))])
            else:
                arrived = now
            return self._wait_away(person, arrived, None if high <= 0 else float(self.rng.uniform(low, high)))
        place = self._find(person, kinds, now)
        start = self._walk(person, now, place)
        pace = self._pace((kinds, activity, posture, low, high))
        stay = max(float(self.rng.uniform(low, high)) / pace, 3.0)
        self._stay(person, start, start + stay, place, activity, posture)
        return start + stay

    def _pace(self, step: Step) -> float:
        """How much shorter than in life a step is: nights end when the clock says so."""
        return 1.0 if step[1] == "sleeping" and step[4] > 3600 else self.config.routine.pace

    def _sleep_step(self, dweller: Dweller, now: float) -> Step:
        left = ((dweller.wakes_h - self._hour(now)) % 24) * 3600
        return (("own_bed",), "sleeping", LIE, left * 0.98, left * 1.02 + 60)

    def _choose(self, person: int, now: float) -> list[Step]:
        dweller, rng, hour, last = self.people[person], self.rng, self._hour(now), self.last[person]
        pace = self.config.routine.pace

        def since(task: str) -> float:
            return (now - last.get(task, -DAY_S)) * pace

        def do(task: str) -> list[Step]:
            last[task] = now
            return list(TASKS[task])

        if not dweller.resident:
            if self.legs[person] and since("chat") < 7200:
                return [((AWAY,), AWAY, "unknown", 0.0, 0.0)]
            return [*do("chat"), *(do("eat") if rng.random() < 0.4 else [])]
        if self._asleep(dweller, now):
            if since("sleep") < 6 * 3600 and rng.random() < 0.7:  # up at night
                return [*do("toilet"), self._sleep_step(dweller, now)]
            last["sleep"] = now
            night = self._sleep_step(dweller, now)
            if night[4] > 3 * 3600 and rng.random() < 0.35:
                part = night[3] * float(rng.uniform(0.3, 0.7))
                night = (*night[:3], part, part)
            return [*do("toilet"), *do("dress"), night]
        if since("toilet") > 3 * 3600 * float(rng.uniform(0.6, 1.4)):
            return do("toilet")
        if hour < dweller.wakes_h + 2 and since("shower") > 15 * 3600:
            return [*do("shower"), *do("dress")]
        if hour < 11 and since("breakfast") > 15 * 3600:
            last["breakfast"] = now
            return [*do("coffee"), *do("eat")]
        if dweller.works and hour < 10 and since("work") > 15 * 3600 and self.by_kind.get(AWAY):
            last["work"] = now
            length = float(rng.uniform(7, 9)) * 3600 / pace
            return [((AWAY,), AWAY, "unknown", length * 0.95, length * 1.05)]
        if (11.8 < hour < 14 or 17.5 < hour < 20.5) and since("meal") > 4 * 3600:
            last["meal"] = now
            cook = do("cook") if rng.random() < 0.75 else do("coffee")
            return [*cook, *do("eat"), *(do("dishes") if rng.random() < 0.6 else [])]
        tasks = ["tv", "read", "desk", "tidy", "snack", "coffee", "nap", "stretch", "chat", "errand", "cook"]
        evening = hour > 18
        weights = np.array(
            [3.0 if evening else 1.0, 1.0, 0.5 if evening else 2.5, 1.6, 1.0, 0.8, 0.25, 0.15, 0.5, 0.6, 0.25]
        )
        task = str(rng.choice(tasks, p=weights / weights.sum()))
        if task == "errand":
            return [((AWAY,), AWAY, "unknown", 0.0, 0.0)] if self.by_kind.get(AWAY) else do("tidy")
        return do(task)

    def _find(self, person: int, kinds: tuple[str, ...], now: float) -> int:
        """A free place of the first of these kinds that has one; else any free one."""
        if kinds == ("own_bed",):
            own = self.beds[person]
            if own:
                return own[0]
            kinds = ("sofa", "spot")
        for kind in (*kinds, "spot", "floor"):
            free = [i for i in self.by_kind.get(kind, []) if self.taken_until[i] <= now]
            if free:
                current = self.legs[person][-1].place if self.legs[person] else -1
                near = [i for i in free if current >= 0 and self.places[i].room == self.places[current].room]
                pool = near if near and kind != "spot" and self.rng.random() < 0.6 else free
                return int(pool[int(self.rng.integers(len(pool)))])
        inside = [i for i, place in enumerate(self.places) if place.kind != AWAY]
        return inside[int(self.rng.integers(len(inside)))]

    # -- doing it

    def _stay(self, person: int, start: float, end: float, place: int, activity: str, posture: str) -> None:
        where = self.places[place]
        if where.kind != AWAY:
            self.taken_until[place] = max(self.taken_until[place], end)
        # One stands at a cooker though the step said otherwise, and sits where a place has a seat.
        if posture == SIT and where.support == 0:
            posture, activity = STAND, "other" if activity == "sitting" else activity
        support = where.support if posture != STAND else 0.0
        self.legs[person].append(
            Leg(
                doing="stay",
                start_s=start,
                end_s=end,
                place=place,
                path=np.array([where.position]),
                activity=activity,
                posture=posture,
                support=support,
                facing=where.facing,
            )
        )

    def _walk(self, person: int, now: float, place: int) -> float:
        """Goes there; returns when one has arrived and sits, lies or stands."""
        legs, speed = self.legs[person], self.people[person].speed_mps * float(self.rng.uniform(0.85, 1.15))
        before = legs[-1]
        if before.place == place:
            return now
        way = self.routes.way(self.cells[before.place], self.cells[place])
        if way is None:
            return now
        here = before.path[-1] if before.doing == "fall" else np.array(self.places[before.place].position)
        path = np.concatenate([[here], way, [np.array(self.places[place].position)]])
        if before.posture in (SIT, LIE) and before.doing == "stay":
            rise = 1.5 if before.posture == SIT else 3.5
            now = self._change(person, now, now + rise, before, "up")
        length = float(np.hypot(*np.diff(path, axis=0).T).sum())
        if self.due_falls and now >= self.due_falls[0] and length > 1.5 and before.activity != AWAY:
            middle = _cut(path, float(self.rng.uniform(0.3, 0.7)) * length)
            if self.plan.room_at(*middle[0][-1]):
                self.due_falls.pop(0)
                now = self._fall(person, now, speed, middle[0], place)
                path = np.concatenate([legs[-1].path, middle[1]])
                length = float(np.hypot(*np.diff(path, axis=0).T).sum())
        end = now + length / speed + 0.8
        legs.append(_walking(now, end, place, path))
        return end

    def _change(self, person: int, start: float, end: float, before: Leg, _: str) -> float:
        """Getting up, at the place itself."""
        self.legs[person].append(
            Leg(
                doing="stay",
                start_s=start,
                end_s=end,
                place=before.place,
                path=before.path,
                activity="other",
                posture="sitting" if before.posture == LIE else STAND,
                support=before.support if before.posture == LIE else 0.0,
                facing=before.facing,
            )
        )
        return end

    def _fall(self, person: int, now: float, speed: float, path: Array, place: int) -> float:
        length = float(np.hypot(*np.diff(path, axis=0).T).sum())
        legs = self.legs[person]
        down = now + length / speed + 0.4
        legs.append(_walking(now, down, place, path))
        self.falls.append((down, person))
        at, step = path[-1], path[-1] - path[-2]
        facing = math.atan2(step[1], step[0]) if np.hypot(*step) > 1e-6 else 0.0
        floor = at + FALLS_M * np.array([math.cos(facing), math.sin(facing)])
        lying = down + FALL_S + float(self.rng.uniform(0.05, 1.0)) * self.config.routine.fall_lying_s
        for begin, end, posture, where in (
            (down, lying, LIE, at),
            (lying, lying + float(self.rng.uniform(3, 8)), SIT, floor),
        ):
            legs.append(
                Leg(
                    doing="fall",
                    start_s=begin,
                    end_s=end,
                    place=place,
                    path=where[None],
                    activity="other",
                    posture=posture,
                    facing=facing,
                )
            )
        return legs[-1].end_s


def _walking(start: float, end: float, place: int, path: Array) -> Leg:
    return Leg(
        doing="walk", start_s=start, end_s=end, place=place, path=path, activity="walking", posture=STAND
    )


def _cut(path: Array, at_m: float) -> tuple[Array, Array]:
    """A way cut in two at a distance from its start."""
    lengths = np.hypot(*np.diff(path, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    i = int(np.searchsorted(along, at_m, side="right") - 1)
    i = min(max(i, 0), len(lengths) - 1)
    u = (at_m - along[i]) / max(lengths[i], 1e-9)
    point = path[i] + u * (path[i + 1] - path[i])
    return np.concatenate([path[: i + 1], [point]]), np.concatenate([[point], path[i + 1 :]])
