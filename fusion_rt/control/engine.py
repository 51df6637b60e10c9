"""Which rules a scene sets off. Time is the scene's, so a recording decides the same each time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from msgspec import Struct

from fusion_rt.control.rules import DAYS, Condition, Rule, Rules, names, tz
from fusion_rt.scene import HomeEvent, Intent, RoomState, Scene

REMEMBERED = 1000  # intents and events that were answered already
MOMENT_S = 5.0  # an intent or event that is older at the scene's stamp is history


class Firing(Struct, frozen=True, kw_only=True):
    """A rule that was set off, and by what.

    cause   what is written down
    intent  where one was it
    """

    rule: str
    stamp_ns: int
    cause: dict[str, Any]
    intent: Intent | None = None


class RuleEngine:
    """Scenes in, rules that are to act out."""

    def __init__(self, rules: Rules):
        self._rules, self._tz = rules.rules, tz(rules.zone, "zone")
        self._held: dict[str, bool] = {}
        self._acted_ns: dict[str, int] = {}
        self._seen: OrderedDict[Any, None] = OrderedDict()

    def push(self, scene: Scene) -> list[Firing]:
        """Of the first scene no rule acts on what holds already: a start of ours moves nothing."""
        rooms = {room.room: room for room in scene.rooms} if scene.certificate.rung != "none" else {}
        intents = [i for i in scene.intents if self._is_new((i.stamp_ns, i.intent, i.room, *i.slots.items()))]
        events = [e for e in scene.events if self._is_new(e.id)]
        found = []
        for name, rule in self._rules.items():
            for firing in self._fired(name, rule, scene, rooms, intents, events):
                if self._rested(name, rule, scene.header.stamp_ns):
                    self._acted_ns[name] = scene.header.stamp_ns
                    found.append(firing)
        return found

    def _fired(
        self,
        name: str,
        rule: Rule,
        scene: Scene,
        rooms: dict[str, RoomState],
        intents: list[Intent],
        events: list[HomeEvent],
    ) -> Iterator[Firing]:
        when, stamp_ns = rule.when, scene.header.stamp_ns
        now = datetime.fromtimestamp(stamp_ns // 1_000_000_000, timezone.utc).astimezone(self._tz)
        answers = [_holds(c, rooms, stamp_ns, now) for c in (when, *when.also)]
        # Where a room's state is not known now, what held before still does.
        holds = None if None in answers and False not in answers else all(answers)
        if when.intent or when.event:
            if not holds:
                return
            for asked in intents:
                if asked.intent in names(when.intent) and _counts(
                    when, asked.room, asked.p, asked.stamp_ns, stamp_ns
                ):
                    cause = {"intent": asked.intent, "slots": asked.slots, "room": asked.room, "p": asked.p}
                    yield Firing(rule=name, stamp_ns=stamp_ns, cause=cause, intent=asked)
            for happened in events:
                if happened.kind in names(when.event) and _counts(
                    when, happened.room, happened.p, happened.onset_ns, stamp_ns
                ):
                    cause = {
                        "event": happened.kind,
                        "id": happened.id,
                        "room": happened.room,
                        "p": happened.p,
                    }
                    yield Firing(rule=name, stamp_ns=stamp_ns, cause=cause)
        elif holds is not None:
            before, self._held[name] = self._held.get(name), holds
            if holds and before is False:
                yield Firing(rule=name, stamp_ns=stamp_ns, cause=_state(rule, rooms))

    def _rested(self, name: str, rule: Rule, stamp_ns: int) -> bool:
        acted_ns = self._acted_ns.get(name)
        return acted_ns is None or not 0 <= stamp_ns - acted_ns < rule.rest_s * 1e9

    def _is_new(self, key: Any) -> bool:
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True


def _counts(when: Any, room: str, p: float, moment_ns: int, stamp_ns: int) -> bool:
    here = not when.room or room == when.room
    return here and p >= when.p_min and stamp_ns - moment_ns <= MOMENT_S * 1e9


def _holds(condition: Condition, rooms: dict[str, RoomState], stamp_ns: int, now: datetime) -> bool | None:
    """None: the room's state is not known."""
    if condition.days and DAYS[now.weekday()] not in condition.days:
        return False
    if condition.between is not None:
        start, end = condition.window()
        at = now.time()
        inside = start <= at < end if start < end else at >= start or at < end
        if not inside:
            return False
    if not condition.of_room:
        return True
    room = rooms.get(condition.room)
    if room is None:
        return None
    empty_s = 0.0 if room.occupied else (stamp_ns - room.since_ns) / 1e9
    return (
        (condition.occupied is None or room.occupied == condition.occupied)
        and (condition.empty_s is None or (not room.occupied and empty_s >= condition.empty_s))
        and (condition.people is None or room.people >= condition.people)
        and (not condition.activity or room.activity in names(condition.activity))
    )


def _state(rule: Rule, rooms: dict[str, RoomState]) -> dict[str, Any]:
    """What the rule saw."""
    asked = dict.fromkeys(c.room for c in (rule.when, *rule.when.also) if c.of_room)
    return {
        "rooms": {
            slug: {
                "occupied": room.occupied,
                "p": round(room.p_occupied, 3),
                "people": room.people,
                "activity": room.activity,
                "shares": {modality: round(share, 3) for modality, share in room.why.shares.items()},
            }
            for slug in asked
            if (room := rooms.get(slug)) is not None
        }
    }
