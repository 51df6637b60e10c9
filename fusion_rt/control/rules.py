"""A file of rules, checked against the plan before anything moves.

zone: Europe/Vienna
rules:
  kitchen_light_off:
    when: {room: kitchen, empty_s: 300}
    then: [{device: kitchen_ceiling, command: off}]
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from datetime import time, tzinfo
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from fusion_rt import config
from fusion_rt.control import payloads
from fusion_rt.control.payloads import Shape
from fusion_rt.errors import ConfigError
from fusion_rt.plan import Plan
from fusion_rt.scene import ACTIVITIES, EVENTS

ASKED = "asked"
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
Names: TypeAlias = str | tuple[str, ...]
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=7 * 86400)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Count: TypeAlias = Annotated[float, Meta(gt=0, le=10_000)]


class Condition(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that is so or not; all that is given must be.

    room      which room the next four are about
    occupied  somebody is in it, or nobody
    empty_s   nobody has been in it for so long
    people    at least so many are
    activity  one of these is what they do
    between   from the first time of day to the second, in the rules' zone; over midnight if it is later
    days      of the week; a time after midnight belongs to its own day
    """

    room: str = ""
    occupied: bool | None = None
    empty_s: Seconds | None = None
    people: Annotated[int, Meta(ge=1)] | None = None
    activity: Names = ()
    between: tuple[str, str] | None = None
    days: tuple[Day, ...] = ()

    def __post_init__(self) -> None:
        if self.of_room and not self.room:
            raise ConfigError("which room? Give `room`")
        if self.between is not None:
            self.window()

    @property
    def of_room(self) -> bool:
        """Whether it asks for a room's state."""
        return bool(
            self.occupied is not None or self.empty_s is not None or self.people is not None or self.activity
        )

    @property
    def of_time(self) -> bool:
        """Whether it asks for the time."""
        return self.between is not None or bool(self.days)

    def window(self) -> tuple[time, time]:
        """`between` as times. Raises ConfigError."""
        assert self.between is not None
        start, end = (_time(word) for word in self.between)
        if start == end:
            raise ConfigError(f"between: {self.between[0]} to itself: leave it out for the whole day")
        return start, end


class When(Condition, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What sets a rule off. With `intent` or `event`: each time that one comes, if the conditions hold then;
    `room` is also where it must come from. Without: when the conditions begin to hold.

    intent  what somebody asks for; event: what happens
    p_min   how sure it must be
    also    further conditions, of other rooms
    """

    intent: Names = ()
    event: Names = ()
    p_min: Share = 0.5
    also: tuple[Condition, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.intent and self.event:
            raise ConfigError("an intent and an event never come at once: write two rules")
        if not (self.intent or self.event or self.of_room or any(c.of_room for c in self.also)):
            raise ConfigError(
                "give `intent`, `event`, or a room's `occupied`, `empty_s`, `people`, `activity`"
            )


class Action(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device's command.

    device   of the plan; "asked": those that the intent names, in its room
    command  on, off, toggle, open, close, stop, lock, unlock, brightness, position, temperature; "asked": as
             the intent says
    value    of brightness (%), position (% open), temperature (°C)
    """

    device: str
    command: str | bool  # YAML reads a bare `on` as true
    value: float | None = None

    @property
    def word(self) -> str:
        """The command as a word."""
        if isinstance(self.command, bool):
            return "on" if self.command else "off"
        return self.command


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """allow_safety  locks, alarms and heaters may be moved by this rule
    rest_s  after it has acted, it does not for so long
    """

    when: When
    then: tuple[Action, ...]
    allow_safety: bool = False
    rest_s: Seconds = 0.0


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Commands a minute for one device, and for all; beyond them they are refused. A device that is sent back
    and forth `flips` times within a minute is left alone for `calm_s`: rules may be answering each other."""

    device_per_minute: Count = 12
    all_per_minute: Count = 60
    flips: Annotated[int, Meta(ge=2)] = 6
    calm_s: Seconds = 300.0


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """zone      of times of day: a name such as Europe/Vienna, or `local` for this machine's
    dry_run   decide and write down, but send nothing
    limits    on commands
    payloads  device -> how its commands are written: zigbee2mqtt, tasmota, plain; else by its topic
    rules     name -> rule
    """

    zone: str = "UTC"
    dry_run: bool = False
    limits: Limits = Limits()
    payloads: dict[str, Shape] = {}
    rules: dict[str, Rule]

    @classmethod
    def load(cls, path: str | Path, plan: Plan) -> Rules:
        """The rules of a YAML file, checked. Raises ConfigError."""
        rules = config.load(path, cls)
        rules.check(plan, str(path))
        return rules

    @classmethod
    def from_yaml(cls, text: str, plan: Plan, source: str = "rules") -> Rules:
        """The rules of a YAML text, checked; `source` names it in errors. Raises ConfigError."""
        rules = config.parse(text, cls, source)
        rules.check(plan, source)
        return rules

    def check(self, plan: Plan, source: str) -> None:
        """Raises ConfigError at the first thing that can never work."""
        tz(self.zone, f"{source}: zone")
        for name in self.payloads:
            _known(name, plan.devices, f"{source}: payloads", "device")
        for slug, device in plan.devices.items():
            if device.topic:
                payloads.check_topic(device.topic, f"devices.{slug}.topic")
        for name, rule in self.rules.items():
            where = f"{source}: rules.{name}"
            if not rule.then:
                raise ConfigError(f"{where}.then: nothing, so there is nothing to do")
            for place, condition in (("when", rule.when), *(("when.also", c) for c in rule.when.also)):
                if condition.room:
                    _known(condition.room, plan.rooms, f"{where}.{place}.room", "room")
                for activity in names(condition.activity):
                    _known(activity, ACTIVITIES, f"{where}.{place}.activity", "activity")
            for event in names(rule.when.event):
                _known(event, EVENTS, f"{where}.when.event", "event")
            for i, action in enumerate(rule.then):
                self._check_action(action, rule, plan, f"{where}.then[{i}]")

    def shape(self, plan: Plan, device: str) -> Shape:
        """How a device's commands are written."""
        return self.payloads.get(device) or payloads.shape_of(plan.devices[device].topic)

    def _check_action(self, action: Action, rule: Rule, plan: Plan, where: str) -> None:
        if ASKED in (action.device, action.word) and not rule.when.intent:
            raise ConfigError(f"{where}: {ASKED!r} without an intent: nobody has asked for anything")
        if action.device == ASKED:
            if action.word != ASKED and action.word not in payloads.COMMANDS:
                _known(action.word, payloads.COMMANDS, f"{where}.command", "command")
            return
        _known(action.device, plan.devices, f"{where}.device", "device")
        device = plan.devices[action.device]
        if not device.topic:
            raise ConfigError(f"{where}.device: {action.device} has no topic in the plan")
        if device.safety and not rule.allow_safety:
            raise ConfigError(
                f"{where}.device: {action.device} is of kind {device.kind}, where a mistake can hurt:"
                " write `allow_safety: true` into the rule if it really may"
            )
        if action.word != ASKED:
            payloads.render(device, self.shape(plan, action.device), action.word, action.value, where)


def names(given: Names) -> tuple[str, ...]:
    """One or several, as several."""
    return (given,) if isinstance(given, str) else given


def tz(zone: str, where: str) -> tzinfo | None:
    """The zone; None is this machine's. Raises ConfigError."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if zone == "local":
        return None
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"{where}: no zone {zone!r}: use a name such as Europe/Vienna, UTC or local; on a machine without"
            " time zones: pip install tzdata"
        ) from error


def _time(word: str) -> time:
    hours, colon, minutes = word.partition(":")
    numbers = hours.isdecimal() and minutes.isdecimal() and len(hours) <= 2 == len(minutes)
    if colon and numbers and int(hours) < 24 and int(minutes) < 60:
        return time(int(hours), int(minutes))
    raise ConfigError(f'between: {word!r} is no time of day: write "22:30", in quotes')


def _known(name: str, known: Iterable[str], where: str, what: str) -> None:
    there = list(known)
    if name not in there:
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ConfigError(f"{where}: no {what} {name!r}; {hint}there are: {', '.join(there) or 'none'}")
