"""Rigs and plans of recordings: sensors renamed, several as one, a plan's way into the file and out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from fusion_rt import config
from fusion_rt.errors import FusionError, LogError
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig

_KINDS = ("cameras", "lidars", "gnss", "imus")


def renamed(rig: Rig, names: Mapping[str, str]) -> Rig:
    """The same sensors, some under other names: old -> new. Raises LogError where a name is taken."""
    taken: set[str] = set()
    kinds: dict[str, Any] = {}
    for kind in _KINDS:
        kinds[kind] = {}
        for old, sensor in getattr(rig, kind).items():
            new = names.get(old, old)
            if new in taken:
                raise LogError(f"two sensors would be {new!r}: rename one to something else")
            taken.add(new)
            kinds[kind][new] = sensor
    return replace(rig, **kinds)


def united(rigs: Sequence[Rig]) -> Rig:
    """All their sensors. Raises LogError where two have a name in common and are not equal, or the vehicles
    differ."""
    first, *others = rigs
    for rig in others:
        if rig.vehicle != first.vehicle:
            raise LogError(f"the vehicles differ: {first.vehicle} and {rig.vehicle}")
    kinds: dict[str, dict[str, Any]] = {kind: {} for kind in _KINDS}
    where: dict[str, tuple[str, Any]] = {}
    for rig in rigs:
        for kind in _KINDS:
            for name, sensor in getattr(rig, kind).items():
                if where.setdefault(name, (kind, sensor)) != (kind, sensor):
                    raise LogError(f"{name} is two different sensors: rename one")
                kinds[kind][name] = sensor
    return replace(first, **kinds)


def plan_json(plan: Plan) -> str:
    """What a recording keeps of a plan."""
    return msgspec.json.encode(plan).decode()


def read_plan(records: Sequence[str], source: str) -> Plan | None:
    """The plan of a recording's records; None where it has none. Raises LogError."""
    if not records:
        return None
    try:
        plan = config.convert(msgspec.json.decode(records[0]), Plan, source)
        plan.check(source)
    except (FusionError, msgspec.DecodeError) as error:
        raise LogError(f"{error}; was the recording written by another version of fusion_rt?") from error
    return plan


def renamed_plan(plan: Plan | None, names: Mapping[str, str]) -> Plan | None:
    """The same home, some sensors under other names. Raises LogError where a name is taken."""
    if plan is None or not names:
        return plan
    sensors = {names.get(old, old): sensor for old, sensor in plan.sensors.items()}
    if len(sensors) != len(plan.sensors):
        raise LogError("two sensors would have one name: rename one to something else")
    doors = {
        slug: replace(door, contact=names.get(door.contact, door.contact))
        for slug, door in plan.doors.items()
    }
    return replace(plan, sensors=sensors, doors=doors)


def united_plan(plans: Sequence[Plan | None]) -> Plan | None:
    """The one plan of all that have one. Raises LogError where two differ."""
    known = [plan for plan in plans if plan is not None]
    if any(plan != known[0] for plan in known):
        raise LogError("the plans differ: these are recordings of different homes")
    return known[0] if known else None
