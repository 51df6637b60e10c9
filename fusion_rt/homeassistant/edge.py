"""The home as Home Assistant knows it: scenes and readings in, messages for the broker out; commands in,
settings out. It opens no socket and reads no clock."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.home_packets import HomeReading
from fusion_rt.homeassistant import discovery, states
from fusion_rt.homeassistant.memory import Memory
from fusion_rt.homeassistant.outbox import Outbox
from fusion_rt.homeassistant.settings import Commands, Setting, Value, settings, text
from fusion_rt.homeassistant.topics import Topics
from fusion_rt.metrics.latency import span_ms
from fusion_rt.plan import Plan
from fusion_rt.scene import HomeEvent, Intent, RoomState, Scene
from fusion_rt.sinks.mqtt import Publication

ONLINE, OFFLINE = b"online", b"offline"
REMEMBERED = 1000  # events and intents that were told already
LATENCIES = 2000  # of the newest scenes: their percentiles are told
# Nobody has told for so many heartbeats: the last scene is not the present any more.
STALE_HEARTBEATS = 3


class Pace(Struct, frozen=True, kw_only=True):
    """How often what is told at least (heartbeat_s, health_s) or at most (why_s, people_s); people_s None:
    never."""

    heartbeat_s: float = 30.0
    why_s: float = 1.0
    health_s: float = 10.0
    people_s: float | None = None


class Edge:
    """memory is changed: the caller keeps it. `outbox` has what is to be sent.

    Times are of one monotonic clock, s."""

    def __init__(self, plan: Plan, topics: Topics, memory: Memory, pace: Pace, *, rules: bool = False):
        self.outbox = Outbox()
        self.settings = settings(plan, rules=rules)
        self.commands = Commands(self.settings)
        self.plan, self._topics, self._memory, self._pace = plan, topics, memory, pace
        self._devices = {
            topics.config(object_id): device
            for object_id, device in discovery.devices(
                plan, topics, heartbeat_s=pace.heartbeat_s, health_period_s=pace.health_s, rules=rules
            ).items()
        }
        self._direct: dict[str, dict[str, float | None]] = {slug: {} for slug in plan.rooms}
        for sensor_id in self.direct_sensors(plan):
            self._direct[plan.sensors[sensor_id].room][sensor_id] = None
        self._rooms: dict[str, RoomState] = {}
        self._told: dict[str, dict[str, Any]] = {}
        self._told_s: dict[str, float] = {}
        self._why_s: dict[str, float] = {}
        self._people_s = -math.inf
        self._seen: OrderedDict[Any, None] = OrderedDict()
        self._stamp_ns, self._scene_s = 0, -math.inf
        self._missing: tuple[str, ...] = ()
        self._dropped = 0
        self._latency_ms: deque[float] = deque(maxlen=LATENCIES)

    @staticmethod
    def direct_sensors(plan: Plan) -> tuple[str, ...]:
        """Sensors whose own word is told beside the scene's: their topics on the bus."""
        return tuple(
            slug
            for slug, sensor in plan.sensors.items()
            if sensor.kind in discovery.DIRECT and sensor.room in plan.rooms
        )

    @property
    def will(self) -> Publication:
        """What the broker tells when we vanish, and we when we go."""
        return Publication(self._topics.status, OFFLINE, 1, True)

    def announce(self, now_s: float) -> None:
        """After each connection, and when Home Assistant has started: devices, "online", then states."""
        messages = [*self._clean_up()]
        messages += [self._kept(topic, states.encode(device)) for topic, device in self._devices.items()]
        messages.append(self._kept(self._topics.status, ONLINE))
        messages += [self._kept(*self._setting(setting)) for setting in self.settings.values()]
        self.outbox.announce(messages)
        self._told.clear()
        self._tell_rooms(now_s)

    def announced(self) -> None:
        """The broker has taken it: what was before is forgotten."""
        self._memory.devices = {t: discovery.platforms(d) for t, d in self._devices.items()}
        self._memory.retained = self._retained()

    def intends(self) -> None:
        """Remember what is about to be announced, beside what was: whatever happens, it is cleaned up."""
        known = self._memory.devices
        for topic, device in self._devices.items():
            known[topic] = known.get(topic, {}) | discovery.platforms(device)
        self._memory.retained = sorted({*self._memory.retained, *self._retained()})

    def scene(self, scene: Scene, now_s: float, now_ns: int) -> None:
        """Tell what is new in it. now_ns: of CLOCK_MONOTONIC, for the latency."""
        self._rooms = {room.room: room for room in scene.rooms if room.room in self.plan.rooms}
        self._stamp_ns, self._scene_s = scene.header.stamp_ns, now_s
        for happened in scene.events:
            if happened.room in self.plan.rooms and self._is_new(happened.id):
                self._tell_event(happened, now_s)
        for asked in scene.intents:
            if self._is_new(
                ("intent", asked.stamp_ns, asked.intent, asked.room, *sorted(asked.slots.items()))
            ):
                self._tell_intent(asked, now_s)
        self._tell_rooms(now_s)
        self._tell_people(scene, now_s)
        self._measure(scene, now_ns)

    def reading(self, reading: HomeReading, now_s: float) -> None:
        """What a sensor says itself."""
        sensor_id = reading.header.sensor_id
        sensor = self.plan.sensors.get(sensor_id)
        if sensor is None or sensor_id not in self._direct.get(sensor.room, {}):
            return
        if reading.kind == sensor.kind:
            self._direct[sensor.room][sensor_id] = reading.value if math.isfinite(reading.value) else None
            if now_s - self._scene_s <= STALE_HEARTBEATS * self._pace.heartbeat_s:
                self._stamp_ns = max(self._stamp_ns, reading.header.stamp_ns)
                self._tell_room(sensor.room, now_s)

    def health(self, **counted: Any) -> None:
        """Tell how the home does; counted: what the caller has counted, causes of drops among it."""
        p50, p99 = self._percentiles()
        report = {
            "p50_ms": p50,
            "p99_ms": p99,
            "drops": self._dropped,
            "sensors_missing": self._missing,
            "raw_rooms": [slug for slug, room in self.plan.rooms.items() if room.raw],
            "commands_refused": dict(self.commands.refused),
            "events_late": self.outbox.late,
            **counted,
        }
        self.outbox.state(Publication(self._topics.health, states.encode(report), 0))

    def set(self, setting: Setting, value: Value) -> None:
        """Obeyed: remembered, and told."""
        self._memory.settings[setting.name] = value
        self.outbox.state(self._kept(*self._setting(setting)))

    def chosen(self) -> Iterator[tuple[Setting, Value]]:
        """What somebody has set, of this plan."""
        for name, setting in self.settings.items():
            if name in self._memory.settings:
                yield setting, self._memory.settings[name]

    def _clean_up(self) -> Iterator[Publication]:
        """Remove what the broker and Home Assistant know from before and this plan does not have."""
        for topic, components in self._memory.devices.items():
            device = self._devices.get(topic)
            if device is None:
                yield self._kept(topic, b"")
                continue
            now = discovery.platforms(device)
            # One whose platform has changed is another entity: also removed first.
            gone = {key: platform for key, platform in components.items() if now.get(key) != platform}
            if gone:
                yield self._kept(topic, states.encode(discovery.without(device, gone)))
        keep = set(self._retained())
        yield from (self._kept(topic, b"") for topic in self._memory.retained if topic not in keep)

    def _retained(self) -> list[str]:
        topics = self._topics
        rooms = [topics.state(room) for room in self.plan.rooms]
        return [topics.status, *rooms, *(topics.setting(name) for name in self.settings)]

    def _setting(self, setting: Setting) -> tuple[str, bytes]:
        value = self._memory.settings.get(setting.name, setting.value)
        return self._topics.setting(setting.name), text(value)

    def _tell_rooms(self, now_s: float) -> None:
        if now_s - self._scene_s > STALE_HEARTBEATS * self._pace.heartbeat_s:
            return  # what was so then is not told as if it were so now
        for slug in self._rooms:
            self._tell_room(slug, now_s)

    def _tell_room(self, slug: str, now_s: float) -> None:
        room = self._rooms.get(slug)
        if room is None:
            return
        state = states.room_state(room, self._stamp_ns, self._said(slug))
        before = self._told.get(slug)
        due = now_s - self._told_s.get(slug, -math.inf) >= self._pace.heartbeat_s
        if before is None or due or _differs(before, state):
            self._told[slug], self._told_s[slug] = state, now_s
            self.outbox.state(self._kept(self._topics.state(slug), states.encode(state)))
        if now_s - self._why_s.get(slug, -math.inf) >= self._pace.why_s:
            self._why_s[slug] = now_s
            payload = states.encode(states.why(room, self._stamp_ns))
            self.outbox.state(Publication(self._topics.why(slug), payload, 0))

    def _said(self, slug: str) -> dict[str, bool | None]:
        """Kind of sensor -> whether one of them in the room says so; None where none is available."""
        said: dict[str, bool | None] = {}
        for sensor_id, value in self._direct[slug].items():
            kind = self.plan.sensors[sensor_id].kind
            said.setdefault(kind, None)
            if value is not None:
                said[kind] = bool(said[kind]) or value >= 0.5
        return said

    def _tell_event(self, happened: HomeEvent, now_s: float) -> None:
        payload = states.encode(states.event(happened))
        self.outbox.event(Publication(self._topics.event(happened.room), payload, 1), now_s)

    def _tell_intent(self, asked: Intent, now_s: float) -> None:
        self.outbox.event(Publication(self._topics.intent, states.encode(states.intent(asked)), 1), now_s)

    def _tell_people(self, scene: Scene, now_s: float) -> None:
        if self._pace.people_s is None or now_s - self._people_s < self._pace.people_s:
            return
        self._people_s = now_s
        self.outbox.state(Publication(self._topics.people, states.encode(states.people(scene)), 0))

    def _measure(self, scene: Scene, now_ns: int) -> None:
        sensors = scene.certificate.sensors
        self._missing = tuple(use.sensor_id for use in sensors if use.status != "used")
        self._dropped = sum(n for use in sensors for n in use.dropped.values())
        trace = scene.header.trace
        # Two of our own points are on this host; before them comes what the packet that asked went through.
        if span_ms(trace, last="received") is not None:
            first = next(point for point in trace if point.stage == "published")
            self._latency_ms.append((now_ns - first.monotonic_ns) / 1e6)

    def _percentiles(self) -> tuple[float | None, float | None]:
        if not self._latency_ms:
            return None, None
        p50, p99 = np.percentile(self._latency_ms, (50, 99))
        return round(float(p50), 2), round(float(p99), 2)

    def _is_new(self, key: Any) -> bool:
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True

    @staticmethod
    def _kept(topic: str, payload: bytes) -> Publication:
        return Publication(topic, payload, 1, True)


def _differs(before: dict[str, Any], now: dict[str, Any]) -> bool:
    """Whether something that people act on has changed; the probability rides along."""
    return any(before[key] != now[key] for key in now if key not in ("p_occupied", "stamp"))
