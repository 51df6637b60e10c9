"""A scene as what the broker is told: one JSON object a topic. Times are ISO 8601, UTC."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from fusion_rt.scene import HomeEvent, Intent, Person, RoomState, Scene, Why

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def iso(stamp_ns: int) -> str:
    """UNIX ns as "2026-01-31T12:00:00.000Z"."""
    moment = EPOCH + timedelta(milliseconds=stamp_ns // 1_000_000)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def room_state(room: RoomState, stamp_ns: int, direct: Mapping[str, bool | None]) -> dict[str, Any]:
    """What is so in a room. direct: kind of sensor -> what it says itself, None where it does not."""
    return {
        "occupied": on_off(room.occupied),
        "p_occupied": _share(room.p_occupied),
        "people": room.people,
        "activity": room.activity,
        "since": iso(room.since_ns),
        "stamp": iso(stamp_ns),
        **{kind: None if value is None else on_off(value) for kind, value in direct.items()},
    }


def why(room: RoomState, stamp_ns: int) -> dict[str, Any]:
    """What a room's state was concluded from."""
    return {
        **_why(room.why),
        "p_occupied": _share(room.p_occupied),
        "people_p": [_share(p) for p in room.people_p],
        "activity_p": {activity: _share(p) for activity, p in room.activity_p.items()},
        "stamp": iso(stamp_ns),
    }


def event(happened: HomeEvent) -> dict[str, Any]:
    """Something that happened, at its onset."""
    return {
        "event_type": happened.kind,
        "p": _share(happened.p),
        "stamp": iso(happened.onset_ns),
        "id": happened.id,
        "room": happened.room,
        "why": _why(happened.why),
    }


def intent(asked: Intent) -> dict[str, Any]:
    """What somebody asked for."""
    return {
        "intent": asked.intent,
        "slots": asked.slots,
        "p": _share(asked.p),
        "room": asked.room,
        "stamp": iso(asked.stamp_ns),
    }


def people(scene: Scene) -> list[dict[str, Any]]:
    """Who is where, m in the home frame."""
    return [_person(person) for person in scene.people]


def encode(value: Any) -> bytes:
    """As JSON; NaN and infinities are null."""
    return msgspec.json.encode(value)


def on_off(value: bool) -> str:
    """As Home Assistant writes it."""
    return "ON" if value else "OFF"


def _person(person: Person) -> dict[str, Any]:
    return {
        "id": person.track_id,
        "x": round(person.position[0], 2),
        "y": round(person.position[1], 2),
        "std_m": round(math.sqrt(max(person.covariance[0] + person.covariance[3], 0.0) / 2), 2),
        "room": person.room,
        "posture": person.posture,
        "p": _share(person.existence),
        "coasting_s": round(person.coasting_s, 1),
    }


def _why(reason: Why) -> dict[str, Any]:
    return {
        "shares": {modality: _share(share) for modality, share in reason.shares.items()},
        "missing": list(reason.missing),
        "ages_ms": {sensor: round(age) for sensor, age in reason.ages_ms.items() if math.isfinite(age)},
    }


def _share(p: float) -> float:
    return round(p, 3)
