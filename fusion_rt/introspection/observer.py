"""The topics of a run, as their publishers and readers report them.

Nodes tell once a second what they sent and received, and that is all that is read of them. Of a topic whose
publisher is no node, descriptors alone are read: through a socket that keeps the newest and can never be full
(CONFLATE), without mapping the ring, so no slot is held and no publisher waits."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable
from types import TracebackType

import zmq
from msgspec import Struct

from fusion_rt.bus import Bus, BusConfig, NodeHealth, Received, Subscriber, endpoints, wire
from fusion_rt.errors import BusError, MessageError

HEALTH = "health."
GONE_S = 3.0  # a node that has not reported for so long is left out
FAR = "@"  # camera@car: the hop of `camera` between hosts, as a bridge reports it


class Reading(Struct, frozen=True, kw_only=True):
    """One reader of a topic.

    age_ms       of the newest message when it was given to the reader, and the largest; None: none yet
    missing      cause -> messages that did not reach it
    """

    node: str
    received: int
    age_ms: float | None
    age_max_ms: float | None
    missing: dict[str, int]


class TopicView(Struct, frozen=True, kw_only=True):
    """One topic, now.

    node           that publishes it; None: a program that is no node
    pid            of the publisher; None: on another host
    rate_hz        None: not known yet
    bytes_s        payload a second
    published      messages, and `dropped` by the publisher
    readers        nodes that listen
    other_readers  programs that listen and are no nodes
    """

    topic: str
    node: str | None
    pid: int | None
    rate_hz: float | None
    bytes_s: float | None
    published: int | None
    dropped: int
    readers: tuple[Reading, ...]
    other_readers: int

    @property
    def silent(self) -> bool:
        """Whether there is nobody who could publish it."""
        return self.node is None and self.pid is None and not self.rate_hz


class Observer:
    """Looks at a run. For one thread; close it. Raises BusError where the run's folder is not to be had."""

    def __init__(self, config: BusConfig):
        self._bus = Bus(config)
        self._configured = config.topics
        self._health: dict[str, Subscriber] = {}
        self._reports: dict[str, NodeHealth] = {}
        self._before: dict[str, NodeHealth] = {}
        self._heard: dict[str, float] = {}
        self._taps: dict[str, _Tap] = {}
        self._pids: dict[str, int] = {}

    def look(self, seconds: float) -> None:
        """Take in what is said in this time."""
        end = time.monotonic() + seconds
        while True:
            self._pids = endpoints.published(self._bus.run_dir)
            self._follow()
            for subscriber in self._health.values():
                while (report := subscriber.recv(0)) is not None:
                    self._take(report)
            for tap in self._taps.values():
                tap.look()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.05))

    def topics(self) -> tuple[TopicView, ...]:
        """Every topic but health, by name."""
        now = time.monotonic()
        nodes = {n: r for n, r in self._reports.items() if now - self._heard[n] < GONE_S}
        names = self._pids.keys() | self._configured.keys()
        for report in nodes.values():
            names |= report.sent.keys() | report.received.keys()
        return tuple(self._view(name, nodes) for name in sorted(names) if not name.startswith(HEALTH))

    def nodes(self) -> dict[str, int]:
        """Those that report, and their process numbers."""
        now = time.monotonic()
        return {n: r.pid for n, r in self._reports.items() if now - self._heard[n] < GONE_S}

    @property
    def run_dir(self) -> str:
        """Where it looks."""
        return str(self._bus.run_dir)

    def close(self) -> None:
        """Stop looking. Later calls do nothing."""
        for tap in self._taps.values():
            tap.close()
        self._taps.clear()
        self._bus.close()

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _follow(self) -> None:
        for topic in self._pids:
            if topic.startswith(HEALTH) and topic not in self._health:
                self._health[topic] = self._bus.health([topic.removeprefix(HEALTH)])
        told = {topic for report in self._reports.values() for topic in report.sent}
        for topic in [*self._pids, *self._configured]:
            if topic.startswith(HEALTH) or topic in told or topic in self._taps:
                continue
            self._taps[topic] = _Tap(self._bus, topic)
        for topic in told & self._taps.keys():
            self._taps.pop(topic).close()

    def _take(self, report: NodeHealth) -> None:
        last = self._reports.get(report.node)
        if last is not None and last.pid == report.pid:
            self._before[report.node] = last
        self._reports[report.node] = report
        self._heard[report.node] = time.monotonic()

    def _view(self, topic: str, nodes: dict[str, NodeHealth]) -> TopicView:
        publisher = next((r for r in nodes.values() if topic in r.sent), None)
        readers = tuple(_reading(n, r.received[topic]) for n, r in nodes.items() if topic in r.received)
        tap = self._taps.get(topic)
        rate = bytes_s = published = None
        dropped = others = 0
        if publisher is not None:
            sent = publisher.sent[topic]
            rate, published, dropped = publisher.rates_hz.get(topic), sent.published, sent.dropped
            bytes_s = self._bytes_s(publisher, topic)
            others = max(0, sent.readers - len(readers))
        elif tap is not None:
            rate, bytes_s = tap.rate_hz, tap.bytes_s
        elif readers:
            rate = next(r.rates_hz.get(topic) for r in nodes.values() if topic in r.received)
        return TopicView(
            topic=topic,
            node=None if publisher is None else publisher.node,
            pid=self._pids.get(topic) if publisher is None else publisher.pid,
            rate_hz=rate,
            bytes_s=bytes_s,
            published=published,
            dropped=dropped,
            readers=readers,
            other_readers=others,
        )

    def _bytes_s(self, report: NodeHealth, topic: str) -> float | None:
        before = self._before.get(report.node)
        if before is None or topic not in before.sent:
            return None
        seconds = (report.header.stamp_ns - before.header.stamp_ns) / 1e9
        sent = report.sent[topic].bytes - before.sent[topic].bytes
        return sent / seconds if seconds > 0 and sent >= 0 else None


class _Tap:
    """Descriptors of one topic, the newest alone; rates are from their numbers."""

    def __init__(self, bus: Bus, topic: str):
        endpoint = bus.endpoint(topic)
        secured = bus.curve is not None and endpoint in bus.curve.servers
        endpoints.check(endpoint, secured=secured)
        self._socket: zmq.Socket[bytes] = bus.context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.setsockopt(zmq.CONFLATE, 1)
        self._socket.subscribe(wire.prefix(topic))
        if secured and bus.curve is not None:
            bus.curve.join(self._socket, endpoint)
        self._socket.connect(endpoint)
        self._first: tuple[int, int, int] | None = None  # instance, seq, ns
        self._last = (0, 0)
        self._bytes = self._seen = 0

    def look(self) -> None:
        while self._socket.poll(0):
            frame = self._socket.recv()
            try:
                envelope, _ = wire.decode(frame, wire.after_topic(frame))
            except MessageError:
                continue
            if self._first is None or self._first[0] != envelope.instance:
                self._first = (envelope.instance, envelope.seq, envelope.published_ns)
                self._bytes = self._seen = 0
            self._last = (envelope.seq, envelope.published_ns)
            self._bytes += sum(place.nbytes for place in envelope.arrays)
            self._seen += 1

    @property
    def rate_hz(self) -> float | None:
        if self._first is None or self._last[1] <= self._first[2]:
            return None
        return (self._last[0] - self._first[1]) * 1e9 / (self._last[1] - self._first[2])

    @property
    def bytes_s(self) -> float | None:
        """From those that were seen; exact where they are all of one size."""
        rate = self.rate_hz
        return None if rate is None else rate * self._bytes / self._seen

    def close(self) -> None:
        self._socket.close()


def nearest(topic: str, there: Iterable[str], run_dir: str) -> BusError:
    """What to say of a topic that is not there."""
    names = sorted(there)
    if not names:
        return BusError(
            f"{topic!r}: nothing is published in {run_dir}: is a scenario running, and is it this one"
            " (--config)?"
        )
    near = difflib.get_close_matches(topic, names, n=3)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return BusError(f"{topic!r} is not published in {run_dir}: {hint}there are: {', '.join(names)}")


def _reading(node: str, counts: Received) -> Reading:
    causes = ("lost", "skipped", "malformed", "wrong_generation")
    return Reading(
        node=node,
        received=counts.received,
        age_ms=None if counts.age_s is None else counts.age_s * 1e3,
        age_max_ms=None if counts.age_max_s is None else counts.age_max_s * 1e3,
        missing={cause: getattr(counts, cause) for cause in causes if getattr(counts, cause)},
    )
