"""The home for Home Assistant, over MQTT: scenes and readings out, settings in; all thinking is in Edge."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Annotated

from msgspec import Meta, field

from fusion_rt.bus import Bus
from fusion_rt.errors import ConfigError
from fusion_rt.home_packets import HomeReading
from fusion_rt.homeassistant.edge import Edge, Pace
from fusion_rt.homeassistant.memory import Memory, default_path
from fusion_rt.homeassistant.settings import MICROPHONE, Refused, Setting, Value, text
from fusion_rt.homeassistant.topics import BASE, DISCOVERY, Topics
from fusion_rt.plan import Plan
from fusion_rt.scenario import load_plan
from fusion_rt.scene import Scene
from fusion_rt.sinks.mqtt import Broker, Incoming, Publication, Session
from fusion_rt.telling import StandingOrders

BIRTH_WAIT_S = 3.0  # at random up to it: not all devices of a home speak at once
LOOK_S = 0.05  # how long a command may have to wait
LINE_S = 10.0  # between lines about refused commands


class HomeAssistantConfig(Broker, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker (`Broker`); beyond this machine it must ask for a password or a certificate.

    plan         the home: a YAML file, or the name of a bundled one
    base         topics are BASE/SITE/...
    discovery_prefix  Home Assistant's own setting of that name
    client_id    our name at the broker; "": BASE_SITE. A second node of that name throws the first out
    state_file   what must outlive us; "": homeassistant-SITE.json in your folder for state
    scene        topic of the bus with the scenes
    home_node    who is told of hold times: `hold` with its room and s
    microphone_nodes  microphone -> its node, where that has another name; it is told `mute` and `unmute`
    control_node who is told `pause` and `resume` where rules shall not act, or shall; "": there are none
    people_hz    how often who is where is told, at most; 0: never
    heartbeat_s  how often a state is told at least; why_s, at most one `why` in so long; health_s
    """

    plan: str
    base: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = BASE
    discovery_prefix: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_/-]{1,64}$")] = DISCOVERY
    client_id: str = ""
    state_file: str = ""
    scene: str = "scene"
    home_node: str = "home"
    microphone_nodes: dict[str, str] = field(default_factory=dict)
    control_node: str = ""
    people_hz: Annotated[float, Meta(ge=0, le=2)] = 0.0
    heartbeat_s: Annotated[float, Meta(ge=1, le=3600)] = 30.0
    why_s: Annotated[float, Meta(ge=1)] = 1.0
    health_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.trusted:
            raise ConfigError(
                f"host: {self.host} is not this machine: give username and password_file, or cert_file;"
                " a home is nobody else's business"
            )


def run(config: HomeAssistantConfig, bus: Bus) -> None:
    """Until told to stop; a broker that is away is tried again and again. Raises ConfigError."""
    plan = load_plan(config.plan)
    topics = Topics.of(plan, config.base, config.discovery_prefix)
    path = Path(config.state_file).expanduser() if config.state_file else default_path(plan.site)
    memory, said = Memory.load(path)
    if said:
        print(said, file=sys.stderr, flush=True)
    memory.save(path)  # one that cannot be written is said now
    pace = Pace(
        heartbeat_s=config.heartbeat_s,
        why_s=config.why_s,
        health_s=config.health_s,
        people_s=1 / config.people_hz if config.people_hz else None,
    )
    edge = Edge(plan, topics, memory, pace, rules=bool(config.control_node))
    listeners = _listeners(config, plan)
    with (
        closing(StandingOrders(bus, listeners)) as orders,
        closing(
            _Line(
                Session(
                    config,
                    config.client_id or f"{config.base}_{plan.site}",
                    will=edge.will,
                    topics=(topics.command("+"), topics.birth),
                ),
                edge,
            )
        ) as line,
    ):
        orders.start()
        for setting, value in edge.chosen():
            _tell(orders, config, plan, setting, value)
        _loop(config, bus, edge, topics, line, orders, lambda: _save(memory, path))


def _loop(
    config: HomeAssistantConfig,
    bus: Bus,
    edge: Edge,
    topics: Topics,
    line: _Line,
    orders: StandingOrders,
    save: Callable[[], None],
) -> None:
    inputs = bus.subscriber((config.scene, *edge.direct_sensors(edge.plan)))
    health_s = time.monotonic()
    announced = True
    birth_s: float | None = None
    while not bus.stopping:
        message = inputs.recv(LOOK_S)
        now_s = time.monotonic()
        if isinstance(message, Scene):
            edge.scene(message, now_s, time.monotonic_ns())
        elif isinstance(message, HomeReading):
            edge.reading(message, now_s)
        for incoming in line.session.take():
            if incoming.topic == topics.birth:
                if incoming.payload == b"online" and not incoming.retained and birth_s is None:
                    birth_s = now_s + random.uniform(0, BIRTH_WAIT_S)
            elif (change := line.command(incoming, topics, now_s)) is not None:
                edge.set(*change)
                save()
                _tell(orders, config, edge.plan, *change)
        born = birth_s is not None and now_s >= birth_s
        if line.is_new() or born:
            if born:
                edge.outbox.release_events()
            elif line.session.connections > 1:
                edge.outbox.hold_events(now_s)
            edge.announce(now_s)
            edge.intends()
            save()
            announced, birth_s = False, None
        edge.outbox.flush(line.publish, now_s)
        if not announced and not edge.outbox.announcing:
            edge.announced()
            save()
            announced = True
        if now_s >= health_s:
            health_s = now_s + config.health_s
            lost = sum(counters.missing for counters in inputs.counters.values())
            edge.health(scenes_lost=lost, incoming_left_out=line.session.left_out)
            bus.detail |= line.detail() | {"orders_due": float(orders.due)}
        if orders.error is not None:
            raise orders.error
    edge.outbox.flush(line.publish, time.monotonic())


def _save(memory: Memory, path: Path) -> None:
    """A disk that is full later stops nobody's home."""
    try:
        memory.save(path)
    except ConfigError as error:
        print(error, file=sys.stderr, flush=True)


class _Line:
    """The connection, and what it has to say for itself."""

    def __init__(self, session: Session, edge: Edge):
        self.session = session
        self._edge, self._connections, self._said_s = edge, 0, -LINE_S

    def is_new(self) -> bool:
        """Whether we are connected, and were not when this was last asked."""
        if news := self.session.news():
            print(news, file=sys.stderr, flush=True)
        count = self.session.connections
        new, self._connections = count != self._connections and self.session.connected, count
        return new

    def publish(self, message: Publication) -> bool:
        """False also over a connection that `is_new` has not told of: what it must hear first comes first."""
        return self._connections == self.session.connections and self.session.publish(message)

    def command(self, incoming: Incoming, topics: Topics, now_s: float) -> tuple[Setting, Value] | None:
        """What it sets; None where it is refused: counted, and now and then said."""
        name = incoming.topic.removeprefix(topics.command(""))
        try:
            return self._edge.commands.take(
                name, incoming.payload, retained=incoming.retained, now_ns=time.time_ns(), now_s=now_s
            )
        except Refused as refused:
            if now_s - self._said_s >= LINE_S:
                self._said_s = now_s
                print(f"set/{name[:80]!r} refused: {refused}", file=sys.stderr, flush=True)
            return None

    def detail(self) -> dict[str, float]:
        """For the node's health."""
        refused = self._edge.commands.refused
        return {
            "connected": float(self.session.connected),
            "left_out": self.session.left_out,
            **{f"refused.{cause}": n for cause, n in refused.items()},
        }

    def close(self) -> None:
        """Say goodbye."""
        self.session.close(self._edge.will)


def _listeners(config: HomeAssistantConfig, plan: Plan) -> dict[str, str]:
    """Who is told of settings -> the node behind it."""
    microphones = (slug for slug, sensor in plan.sensors.items() if sensor.kind == MICROPHONE)
    found = {slug: config.microphone_nodes.get(slug, slug) for slug in microphones}
    return found | {name: name for name in (config.home_node, config.control_node) if name}


def _tell(
    orders: StandingOrders, config: HomeAssistantConfig, plan: Plan, setting: Setting, value: Value
) -> None:
    if setting.kind == "hold":
        slots = {"room": setting.room, "s": text(value).decode()}
        orders.put(config.home_node, setting.name, "hold", slots)
    elif setting.kind == "rules":
        orders.put(config.control_node, setting.name, "resume" if value else "pause")
    else:
        for slug, sensor in plan.sensors.items():
            if sensor.kind == MICROPHONE and sensor.room == setting.room:
                orders.put(slug, setting.name, "unmute" if value else "mute")
