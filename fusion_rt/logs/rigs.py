"""Rigs of recordings: sensors renamed, and several rigs as one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from fusion_rt.errors import LogError
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
