"""The edge alone: events through the bus, scenes by a stand-in, the node `homeassistant` and a broker, all of
them processes."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from fusion_rt import __version__
from fusion_rt.bench.driving import machine
from fusion_rt.bench.home.broker import mosquitto
from fusion_rt.bench.home.running import cpu_s, memory_mb, module, node
from fusion_rt.bench.home.stand_in import KINDS, says_occupied
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import NodeError
from fusion_rt.header import Header
from fusion_rt.home_packets import HomeReading, RadarPoints
from fusion_rt.homeassistant import Topics
from fusion_rt.homeassistant.states import iso, on_off
from fusion_rt.metrics.latency import Histogram, Percentiles
from fusion_rt.plan import OUTSIDE, Plan
from fusion_rt.scenario import find_file
from fusion_rt.sinks.mqtt import Broker, Incoming, Session

STARTS_S = 30.0
ANSWER_S = 2.0  # an event without an answer by then has none
STAND_IN, STAND_IN_MODULE = "stand-in", "fusion_rt.bench.home.stand_in"
Say = Callable[[str], None]


class Tail(Struct, frozen=True, kw_only=True):
    """Of one kind of event: how many were answered, and after how long."""

    kind: str
    sent: int
    ms: Percentiles
    p999: float | None


class HomeResult(Struct, frozen=True, kw_only=True):
    """cpu: node -> share of one core; rss_mb: node -> memory"""

    version: str
    machine: str
    broker: str
    seconds: float
    rate_hz: float
    tails: tuple[Tail, ...]
    cpu: dict[str, float]
    rss_mb: dict[str, float]


def measure(
    *,
    plan: str = "flat",
    seconds: float = 20.0,
    rate_hz: float = 20.0,
    broker: Broker | None = None,
    say: Say = lambda line: None,
) -> HomeResult:
    """broker None: a Mosquitto of our own. Raises ConfigError, NodeError where a process does not come up."""
    file = find_file(plan, "home")
    loaded = Plan.load(file)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frt-")))
        place = broker or Broker(host="127.0.0.1", port=stack.enter_context(mosquitto()).port)
        config = BusConfig(run_dir=str(folder / "run"))
        bus = stack.enter_context(Bus(config))
        pids = {STAND_IN: stack.enter_context(module(STAND_IN_MODULE, str(config.run_dir), str(file)))}
        content = msgspec.to_builtins(place) | {"plan": str(file), "state_file": str(folder / "state.json")}
        pids["homeassistant"] = stack.enter_context(node("homeassistant", content, config))
        topics = Topics.of(loaded)
        states = topics.state("+")
        listener = stack.enter_context(
            closing(_Listener(place, states, [topics.state(r) for r in loaded.rooms]))
        )
        events = _Events(bus, loaded)
        say("waiting for the nodes")
        _wait(listener, events)
        say(f"{seconds:g} s of events")
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        began = time.monotonic()
        sent = events.play(seconds, rate_hz, listener.poll)
        elapsed_s = time.monotonic() - began
        cpu = {name: (cpu_s(pid) - before[name]) / elapsed_s for name, pid in pids.items()}
        rss = {name: memory_mb(pid)[0] for name, pid in pids.items()}
        listener.poll(ANSWER_S)
    return HomeResult(
        version=__version__,
        machine=machine(),
        broker="mosquitto" if broker is None else f"{place.host}:{place.port}",
        seconds=seconds,
        rate_hz=rate_hz,
        tails=tuple(_tails(sent, listener.heard)),
        cpu=cpu,
        rss_mb=rss,
    )


class _Sent(Struct, frozen=True):
    kind: str
    room: str
    stamp_ns: int
    occupied: bool


class _Listener:
    """What the broker gives out, and when that came."""

    def __init__(self, broker: Broker, states: str, topics: list[str]):
        self.heard: dict[tuple[str, str, str], int] = {}  # room, stamp, occupied -> ns
        self._rooms = {topic: topic.split("/")[-2] for topic in topics}
        self._session = Session(broker, "fusion_rt_bench", topics=(states,), on_message=self._note)

    def poll(self, seconds: float) -> None:
        """Sleep; paho's thread listens."""
        time.sleep(seconds)

    def close(self) -> None:
        """Disconnect."""
        self._session.close()

    def _note(self, message: Incoming) -> None:
        now_ns = time.time_ns()
        state = msgspec.json.decode(message.payload)
        self.heard.setdefault((self._rooms[message.topic], state["stamp"], state["occupied"]), now_ns)


class _Events:
    """The sensors of the plan that tell events; each event turns its room over."""

    def __init__(self, bus: Bus, plan: Plan):
        self._plan = plan
        self._sensors = [
            slug for slug, s in plan.sensors.items() if s.kind in KINDS and s.room not in (OUTSIDE, "")
        ]
        self._publishers = {slug: bus.publisher(slug) for slug in self._sensors}
        self._occupied = dict.fromkeys(plan.rooms, False)
        self._seq = itertools.count()

    def send(self, slug: str) -> _Sent:
        """One event of this sensor, stamped now."""
        sensor = self._plan.sensors[slug]
        occupied = self._occupied[sensor.room] = not self._occupied[sensor.room]
        stamp_ns = time.time_ns()
        header = Header(sensor_id=slug, frame_id=slug, seq=next(self._seq), stamp_ns=stamp_ns)
        packet: HomeReading | RadarPoints
        if sensor.kind == "radar":
            n = 12 if occupied else 0
            packet = RadarPoints(
                header=header,
                xyz=np.full((n, 3), 1.0, np.float32),
                velocity=np.full(n, 0.3, np.float32),
                snr_db=np.full(n, 20.0, np.float32),
            )
        else:
            packet = HomeReading(header=header, entity=slug, kind=sensor.kind, value=float(occupied), unit="")
        assert says_occupied(packet) == occupied
        self._publishers[slug].send(packet)
        return _Sent(sensor.kind, sensor.room, stamp_ns, occupied)

    def play(self, seconds: float, rate_hz: float, wait: Callable[[float], None]) -> list[_Sent]:
        """Sensors in turn, at uneven times."""
        rng = np.random.default_rng(0)
        sent: list[_Sent] = []
        due = time.monotonic()
        end = due + seconds
        for slug in itertools.cycle(self._sensors):
            due += max(rng.exponential(1 / rate_hz), 0.002)
            if due >= end:
                return sent
            wait(max(due - time.monotonic(), 0.0))
            sent.append(self.send(slug))
        raise NodeError("the plan has no contact, motion sensor or radar in a room")

    def first(self) -> _Sent | None:
        """One, to see whether everybody is there."""
        return self.send(self._sensors[0]) if self._sensors else None


def _wait(listener: _Listener, events: _Events) -> None:
    end = time.monotonic() + STARTS_S
    while time.monotonic() < end:
        events.first()
        listener.poll(0.3)
        if listener.heard:
            listener.poll(1.0)
            return
    raise NodeError("no state came through the broker: is it there, and does the home node give scenes?")


def _tails(sent: list[_Sent], heard: dict[tuple[str, str, str], int]) -> Iterator[Tail]:
    """An answer says what the stand-in makes of the event."""
    histograms = {kind: Histogram() for kind in ("all", *KINDS)}
    counts = dict.fromkeys(histograms, 0)
    for event in sent:
        came = heard.get((event.room, iso(event.stamp_ns), on_off(event.occupied)))
        for name in ("all", event.kind):
            counts[name] += 1
            if came is not None:
                histograms[name].add((came - event.stamp_ns) / 1e6)
    for name, histogram in histograms.items():
        yield Tail(kind=name, sent=counts[name], ms=histogram.percentiles(), p999=histogram.quantile(0.999))
