"""What can be set from outside: `set/<name>` in, `setting/<name>` out. Whatever comes in is doubted."""

from __future__ import annotations

import math
from collections import Counter
from datetime import datetime, timezone
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from fusion_rt.plan import Plan, Room

MICROPHONE = "microphone"
RULES = "rules"
HOLD_MAX_S = 600
MAX_BYTES = 512
MAX_AGE_S = 5.0
# Of one setting: so many at once, and one a second on and on. A slider that is pulled sends several a second.
BURST = 10
PER_S = 1.0

Value = float | bool


class Setting(Struct, frozen=True, kw_only=True):
    """One thing that can be set.

    kind  "hold": seconds, `low` to `high`; "microphone", "rules": on or off
    room  "" where it is the whole home's
    value  until somebody has set it
    """

    name: str
    kind: Literal["hold", "microphone", "rules"]
    room: str
    value: Value
    low: float = 0.0
    high: float = 0.0


class Refused(ValueError):
    """A command that is not obeyed: `cause` is what is counted, the text what is logged."""

    def __init__(self, cause: str, what: str):
        super().__init__(what)
        self.cause = cause


class _Stamped(Struct, frozen=True, forbid_unknown_fields=True):
    value: float | bool | Annotated[str, Meta(max_length=16)]
    stamp: Annotated[datetime, Meta(tz=True)] | None = None


def hold_name(room: str) -> str:
    """The setting of a room's hold time."""
    return f"{room}_hold"


def microphone_name(room: str) -> str:
    """The setting of a room's microphones."""
    return f"{room}_mic"


def hold_max_s(room: Room) -> int:
    """The longest hold time that can be set: a plan's own is always allowed."""
    return max(HOLD_MAX_S, math.ceil(room.hold_s))


def settings(plan: Plan, *, rules: bool = False) -> dict[str, Setting]:
    """Name -> setting, of a plan."""
    found = []
    for slug, room in plan.rooms.items():
        found.append(
            Setting(name=hold_name(slug), kind="hold", room=slug, value=room.hold_s, high=hold_max_s(room))
        )
        if any(s.kind == MICROPHONE and s.room == slug for s in plan.sensors.values()):
            found.append(Setting(name=microphone_name(slug), kind="microphone", room=slug, value=True))
    if rules:
        found.append(Setting(name=RULES, kind="rules", room="", value=True))
    return {setting.name: setting for setting in found}


def parse(setting: Setting, payload: bytes, now_ns: int) -> Value:
    """What a command asks for: "30", "ON", or {"value": 30, "stamp": "2026-01-31T12:00:00.000Z"}.

    now_ns: UNIX ns, for the age of one that is stamped. Raises Refused."""
    if len(payload) > MAX_BYTES:
        raise Refused("size", f"{len(payload)} bytes, expected {MAX_BYTES} at most")
    try:
        text = payload.decode("utf-8").strip()
    except UnicodeDecodeError as error:
        raise Refused("encoding", f"not UTF-8: {error.reason} at byte {error.start}") from error
    value: float | bool | str = text
    if text.startswith("{"):
        try:
            stamped = msgspec.json.decode(text, type=_Stamped)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Refused("type", f"not a command: {error}") from error
        if stamped.stamp is not None:
            _check_age(stamped.stamp, now_ns)
        value = stamped.value
    return _number(setting, value) if setting.kind == "hold" else _switch(value)


def text(value: Value) -> bytes:
    """A setting as its topic tells it."""
    if isinstance(value, bool):
        return b"ON" if value else b"OFF"
    return f"{value:g}".encode()


class Throttle:
    """Of each name BURST at once and PER_S after that."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[float, float]] = {}  # name -> how many, at which time

    def allows(self, name: str, now_s: float) -> bool:
        """Whether one more may pass; it then counts."""
        left, at_s = self._left.get(name, (float(BURST), now_s))
        left = min(left + max(now_s - at_s, 0.0) * PER_S, float(BURST))
        self._left[name] = (left - 1 if left >= 1 else left, now_s)
        return left >= 1


class Commands:
    """Commands as they come: what they set, or why not.

    refused  cause -> how many"""

    def __init__(self, known: dict[str, Setting]):
        self._known, self._throttle = known, Throttle()
        self.refused: Counter[str] = Counter()

    def take(
        self, name: str, payload: bytes, *, retained: bool, now_ns: int, now_s: float
    ) -> tuple[Setting, Value]:
        """The setting and its value. now_s: monotonic. Raises Refused, counted."""
        try:
            setting = self._known.get(name)
            if setting is None:
                raise Refused("unknown", "no such setting")
            if retained:
                raise Refused("retained", "one that the broker keeps, which may be of long ago")
            if not self._throttle.allows(name, now_s):
                raise Refused("rate", "too many of them")
            return setting, parse(setting, payload, now_ns)
        except Refused as refused:
            self.refused[refused.cause] += 1
            raise


def _check_age(stamp: datetime, now_ns: int) -> None:
    age_s = now_ns / 1e9 - stamp.astimezone(timezone.utc).timestamp()
    if not -MAX_AGE_S <= age_s <= MAX_AGE_S:
        raise Refused("age", f"its stamp is {age_s:.1f} s old, expected {MAX_AGE_S:g} s at most")


def _number(setting: Setting, value: float | bool | str) -> float:
    if isinstance(value, bool):
        raise Refused("type", "expected a number")
    try:
        number = float(value)
    except ValueError as error:
        raise Refused("type", f"{str(value)[:40]!r} is not a number") from error
    if not math.isfinite(number) or not setting.low <= number <= setting.high:
        raise Refused("range", f"{number:g} is not in {setting.low:g} to {setting.high:g}")
    return number


def _switch(value: float | bool | str) -> bool:
    if isinstance(value, bool):
        return value
    if value in ("ON", "OFF"):
        return value == "ON"
    raise Refused("type", f"{str(value)[:40]!r} is neither ON nor OFF")
