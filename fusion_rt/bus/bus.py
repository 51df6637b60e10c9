"""A node's way to the others: publishers, subscribers, its heartbeat, and whether to stop."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

import psutil
import zmq
from msgspec import Struct

from fusion_rt.bus import endpoints, health
from fusion_rt.bus.allow_list import AllowList
from fusion_rt.bus.clocks import Clock
from fusion_rt.bus.counters import Received, Sent
from fusion_rt.bus.keys import Curve, KeyPair
from fusion_rt.bus.publisher import Publisher
from fusion_rt.bus.subscriber import Subscriber
from fusion_rt.bus.wire import Kind
from fusion_rt.errors import BusError
from fusion_rt.messages import Header


class BusConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where topics are: `bus:` in a scenario.

    run_dir  the folder of this run's sockets; null: a folder of your user that all runs share, so that other
             programs find the topics
    topics   topic -> endpoint, for those that are not in run_dir: tcp://127.0.0.1:5000, or another host's
    keys     file with this process's key pair, as `KeyPair.save` writes it; needed beyond loopback
    clients  public keys that may subscribe to us
    allow    file with more of them, as `fusion-rt keys allow` writes it; read again when it changes
    servers  tcp endpoint -> its public key
    """

    run_dir: str | None = None
    topics: dict[str, str] = {}
    keys: str | None = None
    clients: tuple[str, ...] = ()
    allow: str | None = None
    servers: dict[str, str] = {}


class Bus:
    """Opened by one node, used by its thread, closed by it; everything it gave out is closed with it. A fork
    opens one of its own.

    node        whose heartbeat is published on `health.<node>`; None: none is, for tools that only look
    parent_pid  the process without which this one must not live on

    detail          the node's own counters and measures, which its health tells
    sent, received  of sockets that the node has beside the bus's, name -> counters, for its health as well
    clocks          other hosts' clocks as the node knows them
    context, curve  for such sockets

    Raises BusError."""

    def __init__(self, config: BusConfig, node: str | None = None, *, parent_pid: int | None = None):
        self._config, self._pid = config, os.getpid()
        self.curve = _curve(config)
        run_dir = Path(config.run_dir) if config.run_dir else endpoints.runtime_root() / "default"
        self._folder = endpoints.RunFolder(run_dir.absolute())
        self.run_dir = self._folder.path
        self.detail: dict[str, float] = {}
        self.sent: dict[str, Sent] = {}
        self.received: dict[str, Received] = {}
        self.clocks: dict[str, Clock] = {}
        self._publishers: list[Publisher] = []
        self._subscribers: list[Subscriber] = []
        self._stop = threading.Event()
        self._handlers: dict[int, Any] = {}
        self._loop_ns: int | None = None
        self.context: zmq.Context[Any] = zmq.Context()
        self._doorkeeper = self._heartbeat = None
        try:
            if self.curve is not None:
                self._doorkeeper = self.curve.doorkeeper(self.context)
            if node is not None:
                self._heartbeat = _Heartbeat(self, node, parent_pid)
                self._heartbeat.start()
        except BaseException:
            self.close()
            raise

    def publisher(self, topic: str, kind: Kind | None = None, *, slots: int = 8) -> Publisher:
        """The topic's only sender. Raises BusError where another process has it."""
        publisher = Publisher(
            self.endpoint(topic), topic, kind=kind, slots=slots, context=self.context, curve=self.curve
        )
        self._publishers.append(publisher)
        return publisher

    def subscriber(
        self, topics: Iterable[str], *, keep_all: bool = False, busy_poll: bool = False
    ) -> Subscriber:
        """Listens to these topics, whoever publishes them and whenever."""
        subscriber = Subscriber(
            {topic: self.endpoint(topic) for topic in topics},
            keep_all=keep_all,
            busy_poll=busy_poll,
            context=self.context,
            curve=self.curve,
        )
        self._subscribers.append(subscriber)
        return subscriber

    def health(self, nodes: Iterable[str]) -> Subscriber:
        """Listens to what these nodes say about themselves: recv gives NodeHealth."""
        subscriber = Subscriber(
            {health.topic(node): self.endpoint(health.topic(node)) for node in nodes},
            context=self.context,
            curve=self.curve,
            unpack=health.unpack,
        )
        self._subscribers.append(subscriber)
        return subscriber

    def endpoint(self, topic: str) -> str:
        """The configured endpoint, or the topic's socket in the run's folder."""
        return self._config.topics.get(topic) or endpoints.ipc_endpoint(self.run_dir, topic)

    @property
    def stopping(self) -> bool:
        """Whether the node's loop should end. Asking is the loop's sign of life."""
        self._loop_ns = time.monotonic_ns()
        return self._stop.is_set()

    def each(self, subscriber: Subscriber, *, drain_s: float = 2.0) -> Iterator[Any]:
        """The subscriber's messages until the loop should end, then what waits already, for `drain_s` at
        most: nothing that was received is lost."""
        while not self.stopping:
            message = subscriber.recv(0.1)
            if message is not None:
                yield message
        end = time.monotonic() + drain_s
        while time.monotonic() < end:
            message = subscriber.recv(0.05)
            if message is None:
                return
            yield message

    def stop(self) -> None:
        """End the node's loop; from any thread, or from a signal handler."""
        self._stop.set()

    def wait(self, seconds: float) -> bool:
        """Sleep, unless or until the loop should end. Returns `stopping`."""
        self._stop.wait(seconds)
        return self.stopping

    def stop_on_signals(self) -> None:
        """SIGTERM and SIGINT end the loop instead of the process, until `close`. Main thread only."""

        def handler(number: int, frame: FrameType | None) -> None:
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            self._handlers[number] = signal.signal(number, handler)

    def close(self) -> None:
        """Close everything; what was published may take up to 250 ms to leave. Later calls do nothing, nor
        does one in a fork."""
        if os.getpid() != self._pid:
            return
        self.stop()
        if self._heartbeat is not None:
            self._heartbeat.finish()
            self._heartbeat = None
        for publisher in self._publishers:
            publisher.close()
        for subscriber in self._subscribers:
            subscriber.close()
        if self._doorkeeper is not None:
            self._doorkeeper.stop()
            self._doorkeeper = None
        self.context.term()
        self._folder.close()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()

    def __enter__(self) -> Bus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _curve(config: BusConfig) -> Curve | None:
    if config.keys is None:
        if config.allow is not None or config.clients or config.servers:
            raise BusError("bus: other hosts' keys are given, and no `keys` of our own: fusion-rt keys make")
        return None
    pair = KeyPair.load(Path(config.keys).expanduser())
    return Curve(pair=pair, servers=config.servers, allow=AllowList(config.clients, config.allow))


class _Heartbeat(threading.Thread):
    """Publishes NodeHealth from a thread of its own, so that a node that is busy is seen to be alive, and
    one that hangs is seen to hang."""

    def __init__(self, bus: Bus, node: str, parent_pid: int | None):
        super().__init__(name=f"heartbeat of {node}", daemon=True)
        self._bus, self._node, self._parent_pid = bus, node, parent_pid
        self._done = threading.Event()
        self._process = psutil.Process()
        self._counts: dict[str, int] = {}
        self._counted_ns = time.monotonic_ns()
        self._seq = 0
        topic = health.topic(node)
        self._publisher = Publisher(
            bus.endpoint(topic),
            topic,
            kind="state",
            context=bus.context,
            curve=bus.curve,
            pack=health.pack,
        )

    def run(self) -> None:
        while not self._done.wait(health.PERIOD_S if self._seq else 0.0):
            if self._parent_pid is not None and os.getppid() != self._parent_pid:
                self._bus.stop()
            self._publisher.send(self._report())
        self._publisher.send(self._report())

    def finish(self) -> None:
        """One last report, then the end."""
        self._done.set()
        if self.ident is not None:
            self.join()
        self._publisher.close()

    def _report(self) -> health.NodeHealth:
        bus = self._bus
        now = time.monotonic_ns()
        sent = {p.topic: p.counters for p in bus._publishers} | bus.sent
        received = {t: c for s in bus._subscribers for t, c in s.counters.items()} | bus.received
        counts = {t: c.received for t, c in received.items()} | {t: c.published for t, c in sent.items()}
        elapsed_s = max(now - self._counted_ns, 1) / 1e9
        rates = {t: (n - self._counts.get(t, 0)) / elapsed_s for t, n in counts.items()}
        self._counts, self._counted_ns = counts, now
        loop_ns = bus._loop_ns
        times = self._process.cpu_times()
        self._seq += 1
        return health.NodeHealth(
            header=Header(sensor_id=self._node, frame_id="", seq=self._seq - 1, stamp_ns=time.time_ns()),
            node=self._node,
            pid=os.getpid(),
            state="stopping" if bus._stop.is_set() else "starting" if loop_ns is None else "running",
            loop_s=0.0 if loop_ns is None else (now - loop_ns) / 1e9,
            rss_bytes=self._process.memory_info().rss,
            cpu_s=times.user + times.system,
            sent=sent,
            received=received,
            rates_hz={t: round(r, 2) for t, r in rates.items()},
            detail=dict(bus.detail),
            clocks=dict(bus.clocks),
        )
