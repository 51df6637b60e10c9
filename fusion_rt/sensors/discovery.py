"""Which sensors speak at a broker: from what was heard, a proposal of the household node's mapping."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from fusion_rt.home_packets import READINGS
from fusion_rt.plan import Plan
from fusion_rt.sensors import shapes, values
from fusion_rt.sensors.household import Source, read
from fusion_rt.sensors.shapes import Malformed, NotThere, Shape

# What to listen to. Home Assistant's discovery messages say what an ESPHome sensor measures.
TOPICS = (
    "zigbee2mqtt/+",
    "+/sensor/+/state",
    "+/binary_sensor/+/state",
    "tele/+/SENSOR",
    "espresense/devices/+/+",
    "homeassistant/+/+/config",
    "homeassistant/+/+/+/config",
)
# Home Assistant's device classes -> our kinds
CLASSES = {
    **{
        kind: kind
        for kind in ("temperature", "humidity", "illuminance", "power", "energy", "distance", "smoke")
    },
    **{"carbon_dioxide": "co2", "sound_pressure": "sound_level", "motion": "motion", "moving": "motion"},
    **{"occupancy": "presence", "presence": "presence"},
    **{"door": "contact", "window": "contact", "opening": "contact", "garage_door": "contact"},
}
# Words in a name -> kind, where nothing else tells
WORDS = {
    **{
        "temperature": "temperature",
        "temp": "temperature",
        "humidity": "humidity",
        "co2": "co2",
        "lux": "illuminance",
    },
    **{
        "illuminance": "illuminance",
        "light": "illuminance",
        "power": "power",
        "energy": "energy",
        "pir": "motion",
    },
    **{
        "motion": "motion",
        "presence": "presence",
        "occupancy": "presence",
        "door": "contact",
        "window": "contact",
    },
    **{
        "contact": "contact",
        "smoke": "smoke",
        "distance": "distance",
        "noise": "sound_level",
        "button": "button",
    },
}
LIKE = 0.6  # names that are less alike are not taken for the same sensor


class Found(Struct, frozen=True, kw_only=True):
    """One sensor that speaks.

    slug    its name: the plan's, or one made from the topic
    value   what it said last, in READINGS' unit
    planned  whether the plan has it
    """

    slug: str
    kind: str
    source: Source
    value: float
    planned: bool = False


def propose(heard: Mapping[str, bytes], plan: Plan | None = None) -> list[Found]:
    """The sensors behind messages (topic -> newest payload); each sensor of the plan once at most, given to
    the one of its kind whose name is most alike."""
    found = list(_found(heard))
    if plan is None:
        return _unique(found)
    pairs = sorted(
        (
            (-_alike(one.slug, slug, sensor.room), i, slug)
            for i, one in enumerate(found)
            for slug, sensor in plan.sensors.items()
            if sensor.kind == one.kind
        ),
    )
    names: dict[int, str] = {}
    for likeness, i, slug in pairs:
        if -likeness >= LIKE and i not in names and slug not in names.values():
            names[i] = slug
    return _unique(
        [
            msgspec.structs.replace(one, slug=names.get(i, one.slug), planned=i in names)
            for i, one in enumerate(found)
        ]
    )


def as_yaml(found: list[Found], plan: Plan | None, broker: str) -> str:
    """The household node's part of a scenario, with what was heard as comments."""
    host, _, port = broker.partition(":")
    lines = ["household:", "  plan: PLAN.yaml", f"  host: {host}"]
    lines += [f"  port: {port}"] if port else []
    lines.append("  sensors:")
    for one in found:
        unit = READINGS[one.kind]
        said = "not known now" if math.isnan(one.value) else f"{one.value:g} {unit}".strip()
        fields = {"topic": one.source.topic, "shape": one.source.shape, "field": one.source.field}
        mapping = ", ".join(f"{key}: {_scalar(text)}" for key, text in fields.items() if text)
        comment = f"{one.kind}: {said}"
        if plan is not None and not one.planned:
            comment += f"; not in the plan: add {one.slug}: {{kind: {one.kind}, room: ...}}"
        lines.append(f"    {one.slug}: {{{mapping}}}  # {comment}")
    if plan is not None:
        known = {one.slug for one in found}
        silent = [s for s, sensor in plan.sensors.items() if sensor.kind in READINGS and s not in known]
        if silent:
            lines.append(f"# in the plan and not heard: {', '.join(silent)}")
    return "\n".join(lines) + "\n"


def _found(heard: Mapping[str, bytes]) -> Iterator[Found]:
    classes = _classes(heard)
    beacons: set[str] = set()
    for topic, payload in sorted(heard.items()):
        parts = topic.split("/")
        try:
            data = shapes.decoded(payload)
        except Malformed:
            continue
        if parts[0] == "zigbee2mqtt" and len(parts) == 2 and isinstance(data, dict):
            yield from _of_fields("zigbee2mqtt", topic, parts[1], data)
        elif parts[0] == "tele" and parts[-1] == "SENSOR" and isinstance(data, dict):
            yield from _of_fields("tasmota", topic, parts[1], data)
        elif parts[0] == "espresense" and len(parts) == 4 and parts[3] not in beacons:
            beacons.add(parts[3])
            pattern = "/".join([*parts[:2], "+", parts[3]])
            yield from _made(_slug(parts[3], "beacon"), "distance", "espresense", pattern, data)
        elif len(parts) == 4 and parts[1] in ("sensor", "binary_sensor") and parts[3] == "state":
            kind = classes.get(topic) or _by_name(parts[2])
            if kind is not None and (kind in values.BINARY) == (parts[1] == "binary_sensor"):
                yield from _made(_slug(parts[0], parts[2]), kind, "esphome", topic, data)


def _of_fields(shape: Shape, topic: str, name: str, data: dict[str, Any]) -> Iterator[Found]:
    taken: set[str] = set()
    for kind, names in shapes.FIELDS[shape].items():
        if kind in ("distance", "presence") and "occupancy" in data:
            continue  # of a motion sensor
        for key in names:
            if key in taken:
                break
            try:
                shapes.field(data, (key,))
            except (NotThere, Malformed):
                continue
            taken.add(key)
            yield from _made(_slug(name, kind), kind, shape, topic, data)
            break


def _made(slug: str, kind: str, shape: Shape, topic: str, data: Any) -> Iterator[Found]:
    source = Source(topic=topic, shape=shape)
    try:
        number = read(source, kind, data)
    except (NotThere, Malformed, values.Refused):
        number = math.nan
    yield Found(slug=slug, kind=kind, source=source, value=number)


def _classes(heard: Mapping[str, bytes]) -> dict[str, str]:
    """State topic -> kind, by Home Assistant's discovery messages."""
    kinds = {}
    for topic, payload in heard.items():
        if not (topic.startswith("homeassistant/") and topic.endswith("/config")):
            continue
        try:
            data = shapes.decoded(payload)
        except Malformed:
            continue
        if isinstance(data, dict):
            state = data.get("state_topic") or data.get("stat_t")
            kind = CLASSES.get(str(data.get("device_class") or data.get("dev_cla")))
            if isinstance(state, str) and kind is not None:
                kinds[state] = kind
    return kinds


def _by_name(name: str) -> str | None:
    words = re.split(r"[^a-z0-9]+", name.lower())
    return next((WORDS[word] for word in reversed(words) if word in WORDS), None)


def _slug(*names: str) -> str:
    words: list[str] = []
    for name in names:
        for word in re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_").split("_"):
            if word and word not in words:
                words.append(word)
    return "_".join(words)[:64] or "sensor"


def _alike(made: str, planned: str, room: str) -> float:
    """0..1, by the letters and by the words that both have; a room in the name counts as one."""
    theirs, ours = set(made.split("_")), {*planned.split("_"), *room.split("_")}
    words = len(theirs & ours) / max(len(theirs | set(planned.split("_"))), 1)
    return max(difflib.SequenceMatcher(None, made, planned).ratio(), words)


def _unique(found: list[Found]) -> list[Found]:
    """Two that would have one name are told apart by a number; a planned one keeps its own."""
    used = {one.slug for one in found if one.planned}
    named = []
    for one in found:
        slug, n = one.slug, 2
        while not one.planned and slug in used:
            slug, n = f"{one.slug}_{n}", n + 1
        used.add(slug)
        named.append(msgspec.structs.replace(one, slug=slug))
    return named


def _scalar(text: str) -> str:
    """A name as YAML takes it."""
    return (
        text
        if re.fullmatch(r"[A-Za-z0-9_./+-]+", text) and text[0].isalpha()
        else msgspec.json.encode(text).decode()
    )
