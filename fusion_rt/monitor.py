"""What the nodes say about themselves and what comes out, as one picture."""

from __future__ import annotations

import socket as system
from collections import Counter, deque
from collections.abc import Iterable
from types import TracebackType

from msgspec import Struct

from fusion_rt.bus import Bus, NodeHealth, Received
from fusion_rt.bus.clocks import Clock, local_ns
from fusion_rt.messages import Certificate, Header, Prediction, TracePoint
from fusion_rt.metrics.latency import Histogram, Percentiles, span_ms
from fusion_rt.scene import HomeEvent, Intent, Scene, SceneCertificate

PREDICTION = "prediction"
SCENE = "scene"
HAPPENED = 6  # events and intents at home that are kept to be shown
# Inference and nothing else, between the packet that asks and the answer; images are encoded before.
NETWORK = ("fuse", "refine")
RECENT = 100  # predictions that the live percentiles look back on


class TopicSummary(Struct, frozen=True, kw_only=True):
    """One topic over the whole run. Everything published is received, or in one of the others.

    rate_hz  when last reported, before the publisher was told to stop
    dropped  by the publisher: readers held every slot
    The rest is of the listener that missed most."""

    published: int
    rate_hz: float
    received: int
    dropped: int = 0
    lost: int = 0
    skipped: int = 0
    malformed: int = 0
    wrong_generation: int = 0
    age_ms: float | None = None
    age_max_ms: float | None = None

    @property
    def missing(self) -> int:
        """Messages that did not reach the listener."""
        return self.dropped + self.lost + self.skipped + self.malformed + self.wrong_generation


class Latest(Struct, frozen=True, kw_only=True):
    """The newest prediction, in short; of a home also the scene, and what happened lately."""

    rung: str
    objects: dict[str, int]
    stage_ms: dict[str, float]
    latency_ms: float | None
    scene: Scene | None = None
    happened: tuple[HomeEvent | Intent, ...] = ()


class Monitor:
    """Listens to the health of `nodes`, to predictions and a home's scenes. For one thread; close it."""

    def __init__(self, bus: Bus, nodes: Iterable[str], prediction: str = PREDICTION):
        self._host = system.gethostname()
        self._health = bus.health(nodes)
        self._predictions = bus.subscriber([prediction, SCENE])
        self._lives: dict[tuple[str, int], NodeHealth] = {}  # (node, pid) -> its last words
        self._rates: dict[tuple[str, int], dict[str, float]] = {}  # those while it worked
        self.latency = Histogram()
        self.rest = Histogram()  # latency without what the network took
        self.stages: dict[str, Histogram] = {}
        self.predictions = 0
        self.rungs: Counter[str] = Counter()
        self.objects: Counter[str] = Counter()
        self.deadlines_missed = 0
        self.latest: Latest | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._happened: deque[HomeEvent | Intent] = deque(maxlen=HAPPENED)

    def poll(self, timeout_s: float) -> None:
        """Take in what has come; wait for a prediction for at most `timeout_s`."""
        message = self._predictions.recv(timeout_s)
        while message is not None:
            if isinstance(message, Prediction):  # anyone may publish there
                labels = Counter(o.label for o in message.objects)
                self._take(message.header, message.certificate, labels)
                self.deadlines_missed += message.certificate.deadline_met is False
            elif isinstance(message, Scene):
                self._happened.extend((*message.events, *message.intents))
                self._take(message.header, message.certificate, Counter(people=len(message.people)), message)
            message = self._predictions.recv(0)
        while (health := self._health.recv(0)) is not None:
            self._lives[health.node, health.pid] = health
            if health.state != "stopping":
                self._rates[health.node, health.pid] = health.rates_hz

    def start_over(self) -> None:
        """Forget how long things took so far; what was counted stays counted."""
        self.latency, self.rest, self.stages, self.deadlines_missed = Histogram(), Histogram(), {}, 0

    def recent(self) -> Percentiles:
        """Latency of the last 100 predictions, ms."""
        recent = Histogram()
        for ms in self._recent:
            recent.add(ms)
        return recent.percentiles()

    def health(self, node: str, pid: int) -> NodeHealth | None:
        """What this life of the node said last; None: nothing yet."""
        return self._lives.get((node, pid))

    def topics(self) -> dict[str, TopicSummary]:
        """Every topic but health, over all lives of all nodes."""
        published: Counter[str] = Counter()
        dropped: Counter[str] = Counter()
        rates: dict[str, float] = {}
        own = [(t, c) for t, c in self._predictions.counters.items() if t != SCENE or c.received]
        listeners: dict[str, dict[str, Received]] = {topic: {"": counts} for topic, counts in own}
        for (node, pid), health in self._lives.items():  # a later life comes later
            rates_hz = self._rates.get((node, pid), health.rates_hz)
            for topic, sent in health.sent.items():
                published[topic] += sent.published
                dropped[topic] += sent.dropped
                rates[topic] = rates_hz.get(topic, 0.0)
            for topic, counts in health.received.items():
                rates.setdefault(topic, rates_hz.get(topic, 0.0))
                before = listeners.setdefault(topic, {}).get(node, Received())
                listeners[topic][node] = _sum(before, counts)
        found = {}
        for topic in sorted(published.keys() | listeners.keys()):
            worst = max(listeners.get(topic, {}).values(), key=lambda r: r.missing, default=Received())
            found[topic] = TopicSummary(
                published=published[topic],
                rate_hz=rates.get(topic, 0.0),
                received=worst.received,
                dropped=dropped[topic],
                lost=max(0, worst.lost - dropped[topic]),  # a drop is a gap in the sequence as well
                skipped=worst.skipped,
                malformed=worst.malformed,
                wrong_generation=worst.wrong_generation,
                age_ms=_ms(worst.age_s),
                age_max_ms=_ms(worst.age_max_s),
            )
        return found

    def clocks(self) -> dict[str, Clock]:
        """Other hosts' clocks, as the nodes that talk to them know them."""
        return {host: clock for health in self._lives.values() for host, clock in health.clocks.items()}

    def cpu_s(self, node: str) -> float:
        """Processor time of all the node's lives."""
        return sum(health.cpu_s for (name, _), health in self._lives.items() if name == node)

    def rss_mb(self, node: str) -> float:
        """Memory of the node's last life as last reported, MB."""
        return max(
            [h.rss_bytes / 1e6 for (name, _), h in self._lives.items() if name == node][-1:], default=0.0
        )

    def detail(self, node: str) -> dict[str, float]:
        """The node's own counters, of its last life."""
        lives = [h.detail for (name, _), h in self._lives.items() if name == node]
        return lives[-1] if lives else {}

    def close(self) -> None:
        """Stop listening."""
        self._health.close()
        self._predictions.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _local_ns(self, point: TracePoint) -> int | None:
        if point.host == self._host:
            return point.monotonic_ns
        return local_ns(self.clocks(), point.host, point.monotonic_ns)

    def _take(
        self,
        header: Header,
        certificate: Certificate | SceneCertificate,
        labels: Counter[str],
        scene: Scene | None = None,
    ) -> None:
        ms = span_ms(header.trace, local_ns=self._local_ns)
        if ms is not None:
            self.latency.add(ms)
            self._recent.append(ms)
            network_ms = sum(certificate.stage_ms.get(stage, 0.0) for stage in NETWORK)
            self.rest.add(max(0.0, ms - network_ms))
        for stage, spent_ms in certificate.stage_ms.items():
            self.stages.setdefault(stage, Histogram()).add(spent_ms)
        self.predictions += 1
        self.rungs[certificate.rung] += 1
        self.objects.update(labels)
        self.latest = Latest(
            rung=certificate.rung,
            objects=dict(sorted(labels.items())),
            stage_ms=certificate.stage_ms,
            latency_ms=ms,
            scene=scene,
            happened=tuple(self._happened),
        )


def _sum(one: Received, other: Received) -> Received:
    ages = [r.age_max_s for r in (one, other) if r.age_max_s is not None]
    return Received(
        received=one.received + other.received,
        lost=one.lost + other.lost,
        skipped=one.skipped + other.skipped,
        malformed=one.malformed + other.malformed,
        wrong_generation=one.wrong_generation + other.wrong_generation,
        restarts=one.restarts + other.restarts,
        age_s=other.age_s,
        age_max_s=max(ages, default=None),
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
