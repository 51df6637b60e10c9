"""What is counted once a second of a home, and at its end."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from msgspec import Struct

from fusion_rt.home_truth import HomeTruth, TrueEvent
from fusion_rt.scene import HomeEvent, Scene
from fusion_rt.tracking.assignment import assign

MATCH_M = 1.0
EVENT_S = 1.0


class Tally:
    """counts: what was counted, by name; errors_m: of matched people. For all homes of one row."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.errors_m: list[float] = []
        self._was: dict[str, tuple[bool, bool]] = {}

    def begin(self) -> None:
        """Another home."""
        self._was.clear()

    def second(self, occupied: dict[str, bool], truth: HomeTruth, watched: Collection[str] = ()) -> None:
        """Occupied or not, of each room. watched: the rooms that have a radar or camera."""
        c = self.counts
        for room, people in truth.counts.items():
            there = people > 0
            c["rooms"] += 1
            c["rooms_right"] += occupied[room] == there
            c["watched"] += room in watched
            c["watched_right"] += room in watched and occupied[room] == there
            c["occupied"] += there
            c["empty"] += not there
            c["occupied_found"] += there and occupied[room]
            c["empty_found"] += not there and not occupied[room]
            before = self._was.get(room, (occupied[room], there))
            c["flips"] += before[0] != occupied[room]
            c["true_flips"] += before[1] != there
            self._was[room] = (occupied[room], there)

    def scene(self, scene: Scene, truth: HomeTruth, covered: Sequence[bool]) -> None:
        """Counts, activities, people. covered: of each true person, whether a radar or camera looks there."""
        c = self.counts
        for room in scene.rooms:
            true = min(truth.counts[room.room], 4)
            c["counted"] += 1
            c["count_right"] += room.people == true
            c["count_near"] += abs(room.people - true) <= 1
            activity = truth.activities[room.room]
            if true > 0 and activity != "unknown":
                doing = {a: p for a, p in room.activity_p.items() if a != "empty"}
                c["active"] += 1
                c["active_right"] += max(doing, key=lambda a: doing[a]) == activity
        pairs = matched(scene, truth)
        c["people"] += sum(covered)
        c["people_found"] += sum(covered[j] for j in pairs.values())
        c["tracks"] += len(scene.people)
        c["tracks_right"] += len(pairs)
        for i, j in pairs.items():
            person, real = scene.people[i], truth.people[j]
            self.errors_m.append(math.dist(person.position, (real.x, real.y)))
            c["posed"] += 1
            c["posed_right"] += person.posture == real.posture

    def events(self, told: Sequence[HomeEvent], true: Sequence[TrueEvent]) -> None:
        """All of one home. Each true event has at most one that was told, of its kind, within a second."""
        costs: dict[int, dict[int, float]] = {}
        for i, event in enumerate(told):
            for j, real in enumerate(true):
                late_s = abs(event.onset_ns - real.onset_ns) / 1e9
                if event.kind == real.kind and late_s <= EVENT_S:
                    costs.setdefault(i, {})[j] = late_s
        pairs = assign(costs)
        self.counts["events"] += len(true)
        self.counts["events_told"] += len(told)
        self.counts["events_right"] += len(pairs)
        for event in told:
            self.counts[f"told.{event.kind}"] += 1
        for real in true:
            self.counts[f"true.{real.kind}"] += 1
        for i in pairs:
            self.counts[f"right.{told[i].kind}"] += 1

    def scores(self) -> Scores:
        c = self.counts
        ordered = sorted(self.errors_m)
        kinds = sorted({name.partition(".")[2] for name in c if name.startswith(("true.", "told."))})
        return Scores(
            rooms=_share(c["rooms_right"], c["rooms"]),
            watched=_share(c["watched_right"], c["watched"]),
            occupied=_share(c["occupied_found"], c["occupied"]),
            empty=_share(c["empty_found"], c["empty"]),
            flips=_share(c["flips"], c["true_flips"]),
            counts=_share(c["count_right"], c["counted"]),
            counts_near=_share(c["count_near"], c["counted"]),
            activity=_share(c["active_right"], c["active"]),
            position_m=sum(ordered) / len(ordered) if ordered else None,
            position_p90_m=ordered[int(0.9 * len(ordered))] if ordered else None,
            people=_share(c["people_found"], c["people"]),
            precision=_share(c["tracks_right"], c["tracks"]),
            posture=_share(c["posed_right"], c["posed"]),
            events=_f1(c["events_right"], c["events_told"], c["events"]),
            by_event={k: _f1(c[f"right.{k}"], c[f"told.{k}"], c[f"true.{k}"]) for k in kinds},
        )


class Scores(Struct, frozen=True, kw_only=True):
    """One row; None where nothing was there to be judged.

    rooms        share of room-seconds that are rightly occupied or empty, and of the occupied, of the empty;
    watched      of those rooms alone that have a radar or camera
    flips        changes of `occupied`, by the true ones
    counts       share of room-seconds with the right number of people, and within one of it
    activity     share of occupied room-seconds
    position_m   mean of people matched within 1 m; position_p90_m: 90 % are nearer
    people       share found of those whom a radar or camera could see; precision: share of tracks that are
                 somebody
    posture      share of matched people
    events       F1, onset within 1 s; by_event: of each kind
    """

    rooms: float | None
    watched: float | None
    occupied: float | None
    empty: float | None
    flips: float | None
    counts: float | None
    counts_near: float | None
    activity: float | None
    position_m: float | None
    position_p90_m: float | None
    people: float | None
    precision: float | None
    posture: float | None
    events: float | None
    by_event: dict[str, float | None]


def matched(scene: Scene, truth: HomeTruth) -> dict[int, int]:
    """Track -> person, within 1 m, at least distance."""
    costs: dict[int, dict[int, float]] = {}
    for i, person in enumerate(scene.people):
        for j, real in enumerate(truth.people):
            far = math.dist(person.position, (real.x, real.y))
            if far <= MATCH_M:
                costs.setdefault(i, {})[j] = far
    return assign(costs)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _f1(right: int, told: int, true: int) -> float | None:
    return 2 * right / (told + true) if told + true else None
