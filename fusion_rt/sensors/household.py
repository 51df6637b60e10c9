"""Messages of household devices into readings. Pure: a message and its time of arrival go in.

household = Household(sources, plan)
readings = household.push("zigbee2mqtt/kitchen", payload, retained=False, arrival_ns=now)
"""

from __future__ import annotations

import difflib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import Meta, Struct
from msgspec.structs import replace

from fusion_rt.errors import ConfigError
from fusion_rt.header import Header
from fusion_rt.home_packets import READINGS, HomeReading
from fusion_rt.plan import Plan
from fusion_rt.sensors import shapes, values
from fusion_rt.sensors.shapes import Malformed, NotThere, Shape

FUTURE_S = 5.0  # a payload's own time may be so far ahead
FRESH_S = 10.0  # and so far behind a message that came just now: the two clocks, and the way
UNKNOWN_AGE_S = 86_400.0
BURST = 20  # messages of one sensor that are told at once before its rate is held down
Rate = Annotated[float, Meta(gt=0, le=1000)]


class Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one sensor of the plan speaks.

    topic         of the broker; "+" may stand for one part, and is then the `entity`: a beacon's name
    shape         zigbee2mqtt, esphome, tasmota, espresense; json, plain for everything else
    field         in JSON, "a.b" for one within another; "": what the shape calls the sensor's kind
    unit          of its numbers, where neither message nor shape tells; "": ours (docs/home_sensors.md)
    scale         numbers are multiplied by it
    inverted      0 means 1. That zigbee2mqtt's contact is true where closed is known
    on            words that mean 1, all others meaning 0: the actions of a button
    availability  topic that says online or offline; null: the shape's own; "": none
    max_rate_hz   beyond it only the newest is told
    """

    topic: str
    shape: Shape
    field: str = ""
    unit: str = ""
    scale: float = 1.0
    inverted: bool = False
    on: tuple[str, ...] = ()
    availability: str | None = None
    max_rate_hz: Rate = 10.0


class Household:
    """The sensors of `sources` (sensor_id -> where it speaks), whose kinds the plan knows.

    topics  to subscribe to
    counts  sensor_id -> cause -> messages: "malformed", "too_large", "type", "unit", "range" (left out);
    "no_field"
            (nothing of this kind in it); "retained" (of unknown age), "future", "replayed" (own time was
            far from arrival); "flood" (replaced by a newer one); "offline", "unknown" (told as NaN)

    A retained message without a time of its own may be of any age: it is stamped UNKNOWN_AGE_S before its
    arrival, so that it is known and stale, and left out where the sensor has spoken since we listen.
    Presses of a button that were retained are left out.

    Raises ConfigError."""

    def __init__(self, sources: Mapping[str, Source], plan: Plan) -> None:
        self._sources = dict(sources)
        self._kinds = {slug: _kind(slug, source, plan) for slug, source in sources.items()}
        self._speaking: dict[str, list[str]] = defaultdict(list)  # topic -> sensors
        self._watching: dict[str, list[str]] = defaultdict(list)  # availability topic -> sensors
        for slug, source in sources.items():
            self._speaking[source.topic].append(slug)
            own = shapes.availability(source.shape, source.topic)
            for topic in own if source.availability is None else (source.availability,):
                if topic:
                    self._watching[topic].append(slug)
        self.topics = tuple({**self._speaking, **self._watching})
        self._wild = [topic for topic in self._speaking if "+" in topic.split("/")]
        self.counts: dict[str, Counter[str]] = {slug: Counter() for slug in sources}
        self._seqs = dict.fromkeys(sources, 0)
        self._buckets = {slug: (float(BURST), 0) for slug in sources}
        self._held: dict[str, tuple[str, float, int, int]] = {}

    def push(self, topic: str, payload: bytes, *, retained: bool, arrival_ns: int) -> list[HomeReading]:
        """The readings of one message; [] where it has none, or is none."""
        readings = [
            r for slug in self._watching.get(topic, ()) for r in self._offline(slug, payload, arrival_ns)
        ]
        for pattern in (topic, *self._wild) if topic in self._speaking else self._wild:
            entity = _matches(pattern, topic)
            if entity is None:
                continue
            for slug in self._speaking[pattern]:
                readings += self._read(slug, entity or slug, payload, retained, arrival_ns)
        return readings

    def due(self, now_ns: int) -> list[HomeReading]:
        """The newest of those that were held down, where the rate allows."""
        ready = [slug for slug in self._held if self._take(slug, now_ns)]
        return [self._reading(slug, *self._held.pop(slug)) for slug in ready]

    def _offline(self, slug: str, payload: bytes, arrival_ns: int) -> list[HomeReading]:
        if shapes.online(payload) is not False:
            return []
        self.counts[slug]["offline"] += 1
        self._held.pop(slug, None)
        return [self._reading(slug, slug, math.nan, arrival_ns, arrival_ns)]

    def _read(
        self, slug: str, entity: str, payload: bytes, retained: bool, arrival_ns: int
    ) -> list[HomeReading]:
        counts, source, kind = self.counts[slug], self._sources[slug], self._kinds[slug]
        try:
            data = shapes.decoded(payload)
            number = read(source, kind, data)
        except NotThere:
            counts["no_field"] += 1
            return []
        except (Malformed, values.Refused) as refused:
            counts[str(refused)] += 1
            return []
        own_ns = shapes.measured_ns(data)
        known = self._seqs[slug] > 0  # what it said since is newer than what the broker kept
        if retained and (kind == "button" or (known and own_ns is None)):
            counts["retained"] += 1
            return []
        if kind == "button" and not number > 0:
            return []
        if math.isnan(number):
            counts["unknown"] += 1
        stamp_ns = self._stamp(slug, own_ns, retained, arrival_ns)
        if self._held.pop(slug, None) is not None:
            counts["flood"] += 1
        if not self._take(slug, arrival_ns):
            self._held[slug] = (entity, number, stamp_ns, arrival_ns)
            return []
        return [self._reading(slug, entity, number, stamp_ns, arrival_ns)]

    def _stamp(self, slug: str, own_ns: int | None, retained: bool, arrival_ns: int) -> int:
        if own_ns is not None and own_ns > arrival_ns + FUTURE_S * 1e9:
            self.counts[slug]["future"] += 1
            own_ns = None
        if own_ns is not None and (retained or own_ns < arrival_ns - FRESH_S * 1e9):
            if not retained:
                self.counts[slug]["replayed"] += 1
            return min(own_ns, arrival_ns)
        if retained:
            self.counts[slug]["retained"] += 1
            return arrival_ns - round(UNKNOWN_AGE_S * 1e9)
        return arrival_ns

    def _take(self, slug: str, now_ns: int) -> bool:
        """Whether the sensor's rate allows one more (a token bucket)."""
        tokens, then_ns = self._buckets[slug]
        gained = max(now_ns - then_ns, 0) / 1e9 * self._sources[slug].max_rate_hz
        tokens = min(tokens + gained, float(BURST))
        taken = tokens >= 1
        self._buckets[slug] = (tokens - taken, now_ns)
        return taken

    def _reading(self, slug: str, entity: str, number: float, stamp_ns: int, arrival_ns: int) -> HomeReading:
        seq, kind = self._seqs[slug], self._kinds[slug]
        self._seqs[slug] += 1
        header = Header(sensor_id=slug, frame_id="", seq=seq, stamp_ns=stamp_ns)
        reading = HomeReading(header=header, entity=entity, kind=kind, value=number, unit=READINGS[kind])
        return told(reading, arrival_ns)


def told(reading: HomeReading, now_ns: int) -> HomeReading:
    """The same, said now; as it is where it was measured just before."""
    late = now_ns - reading.header.stamp_ns > FRESH_S * 1e9
    return replace(reading, told_ns=now_ns) if late else reading


def read(source: Source, kind: str, data: Any) -> float:
    """What a decoded message says of this kind, in READINGS' unit. Raises NotThere, Malformed, Refused."""
    raw, unit = data, source.unit or shapes.SHAPE_UNITS.get((source.shape, kind), "")
    if isinstance(data, dict):
        names = (source.field,) if source.field else shapes.FIELDS.get(source.shape, {}).get(kind, ("value",))
        raw = shapes.field(data, names)
        if kind == "temperature" and isinstance(data.get(shapes.TEMPERATURE_UNIT), str):
            unit = data[shapes.TEMPERATURE_UNIT]
    elif (source.field or source.shape in ("zigbee2mqtt", "espresense", "json")) and not values.unknown(data):
        raise Malformed("malformed")
    if kind == "button" and raw == "":
        raise NotThere  # Zigbee2MQTT says "" after each press
    on = source.on
    if kind == "button" and isinstance(raw, str) and not on:
        on = (raw,)  # whatever it is, something was pressed
    inverted = source.inverted != ((source.shape, kind) in shapes.INVERTED)
    return float(values.value(kind, raw, unit=unit, scale=source.scale, on=on, inverted=inverted))


def _matches(pattern: str, topic: str) -> str | None:
    """What stands for "+", "" where there is no "+"; None where the topic is another."""
    if pattern == topic:
        return ""
    parts, others = pattern.split("/"), topic.split("/")
    if len(parts) != len(others) or any(p not in ("+", o) for p, o in zip(parts, others)):
        return None
    return next((o for p, o in zip(parts, others) if p == "+"), None)


def _kind(slug: str, source: Source, plan: Plan) -> str:
    """Raises ConfigError."""
    if slug not in plan.sensors:
        near = difflib.get_close_matches(slug, plan.sensors, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(plan.sensors)}"
        raise ConfigError(f"sensors.{slug}: not a sensor of the plan; {hint}")
    kind = plan.sensors[slug].kind
    if kind not in READINGS:
        raise ConfigError(f"sensors.{slug}: the plan says {kind}, which does not speak by MQTT")
    if "#" in source.topic or not source.topic:
        raise ConfigError(
            f"sensors.{slug}.topic: {source.topic!r}: name one topic; '+' may stand for one part"
        )
    known = shapes.FIELDS.get(source.shape)
    if known is not None and not source.field and kind not in known:
        raise ConfigError(
            f"sensors.{slug}: {source.shape} has no usual field for {kind}: give `field`;"
            f" known are {', '.join(known)}"
        )
    if source.unit and not values.known_unit(kind, source.unit):
        units = [unit for unit in values.UNITS if values.known_unit(kind, unit)]
        known_units = ", ".join(units) or "none: it is 0 or 1"
        raise ConfigError(f"sensors.{slug}.unit: {kind} in {source.unit!r}? Known are {known_units}")
    return kind
