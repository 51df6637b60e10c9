"""Many topics' receiver. It gives the messages one by one, each read-only and as its publisher wrote it."""

from __future__ import annotations

import os
import socket as system
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import zmq
from msgspec import Struct
from msgspec.structs import force_setattr

from fusion_rt import messages
from fusion_rt.bus import endpoints, forks, tcp, wire
from fusion_rt.bus.clocks import Clock, local_ns
from fusion_rt.bus.counters import Received
from fusion_rt.bus.keys import Curve
from fusion_rt.bus.lease import Segment
from fusion_rt.errors import BusError, MessageError
from fusion_rt.messages import TracePoint

QUEUED = 1000  # messages that wait in the socket, and at most as many taken out of it
QUEUED_ALL = 100_000  # in the socket of a subscriber that keeps everything
RECONNECT_MS = 50  # until a publisher is there, or there again
SEGMENTS = 32  # mapped at a time; a publisher has one, and a new one when it restarts or grows
MAX_FRAME_BYTES = 256 << 20

Unpack = Callable[[bytes, list[Any]], Any]


class _Pending(Struct):
    order_ns: int
    envelope: wire.Envelope
    body: memoryview


class Subscriber:
    """Connects to each topic's endpoint, now or whenever its publisher comes.

    Of a sensor's or state's topic only the newest message is given; all of an event's or log's. Among what
    waits, the earliest published comes first, so no topic starves another.

    keep_all   give every message of every topic, for a recorder
    busy_poll  look again and again instead of sleeping: the core stays awake, at its full clock and with warm
               caches, and what follows a message is done sooner; it is a whole core's work
    unpack     makes a header and buffers a message, or raises MessageError
    queued     messages that wait in the socket; None: 1000, or 100,000 to keep all
    clocks     other hosts' clocks, as they are known at each message: the ages of what these hosts sent

    counters  topic -> Received

    For one thread at a time, and not for a fork: `recv` raises BusError. Messages may go to any thread; a
    fork may read those of its parent for as long as the parent holds them. Raises BusError where an endpoint
    is not allowed."""

    def __init__(
        self,
        topics: Mapping[str, str],
        *,
        keep_all: bool = False,
        busy_poll: bool = False,
        context: zmq.Context[Any] | None = None,
        curve: Curve | None = None,
        unpack: Unpack = messages.unpack,
        queued: int | None = None,
        clocks: Mapping[str, Clock] | None = None,
    ):
        self._topics = {wire.prefix(topic): topic for topic in topics}
        for endpoint in topics.values():
            endpoints.check(endpoint, secured=curve is not None)
        self.counters = {topic: Received() for topic in topics}
        self._keep_all, self._busy_poll, self._unpack = keep_all, busy_poll, unpack
        self._wait_ms = -1  # what the socket is told, as it begins
        self._in_use = threading.Lock()
        self._pid = os.getpid()
        self._host = system.gethostname()
        self._clocks = {} if clocks is None else clocks
        self._next: dict[str, tuple[int, int]] = {}  # topic -> instance, the seq that should come
        self._waiting: dict[str, deque[_Pending]] = {topic: deque() for topic in topics}
        self._queued = 0  # in all of them
        self._segments: OrderedDict[str, Segment] = OrderedDict()
        self._own_context = zmq.Context() if context is None else None
        context = context or self._own_context
        assert context is not None
        self._socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        try:
            self._socket.linger = 0
            self._socket.rcvhwm = queued or (QUEUED_ALL if keep_all else QUEUED)
            self._socket.maxmsgsize = MAX_FRAME_BYTES
            self._socket.reconnect_ivl = RECONNECT_MS
            if any(endpoints.ipc_path(endpoint) is None for endpoint in topics.values()):
                tcp.tune(self._socket)
            for topic, endpoint in topics.items():
                self._socket.subscribe(wire.prefix(topic))
                if curve is not None and endpoint.startswith("tcp://") and endpoint in curve.servers:
                    curve.join(self._socket, endpoint)
                elif curve is not None:
                    endpoints.check(endpoint, secured=False)
                self._socket.connect(endpoint)
            self._poller = zmq.Poller()
            self._poller.register(self._socket, zmq.POLLIN)
        except zmq.ZMQError as error:
            self.close()
            raise BusError(f"{endpoint}: cannot be subscribed to: {error.strerror}") from error
        except BaseException:
            self.close()
            raise

    def recv(self, timeout_s: float | None = None) -> Any:
        """The next message, or None when none came in `timeout_s` (None: wait as long as it takes).

        Its arrays are read-only and may lie in the publisher's ring: the slot stays as it is until the last
        of them is collected, or `release(message)`. Whatever is malformed is counted, never raised."""
        forks.check(self._pid, "subscriber")
        if not self._in_use.acquire(blocking=False):
            raise BusError("another thread is in recv of this subscriber: give each thread its own")
        try:
            return self._recv(timeout_s)
        finally:
            self._in_use.release()

    def _recv(self, timeout_s: float | None) -> Any:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._drain()
            topic = self._earliest()
            if topic is not None:
                self._queued -= 1
                message = self._open(topic, self._waiting[topic].popleft())
                if message is not None:
                    return message
                continue
            wait_ms = -1
            if deadline is not None:
                remaining_ms = (deadline - time.monotonic()) * 1000
                if remaining_ms <= 0:
                    return None
                wait_ms = int(remaining_ms) + 1
            if self._busy_poll:
                self._poller.poll(0)
            else:
                self._wait(wait_ms)

    def close(self) -> None:
        """Disconnect; messages already given stay valid. Later calls do nothing, nor does one in a fork.
        Raises BusError while another thread is in `recv`."""
        if os.getpid() != self._pid:
            return
        if not self._in_use.acquire(blocking=False):
            raise BusError("another thread is in recv of this subscriber: end its loop first")
        self._socket.close()
        self._in_use.release()
        self._segments.clear()
        if self._own_context is not None:
            self._own_context.term()
            self._own_context = None

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drain(self) -> None:
        """Take what has come out of the socket. What does not fit stays there, and makes `log` publishers
        wait."""
        room = 1 if self._keep_all else QUEUED
        # Asked first, since pyzmq's exception for "nothing" costs more than a message.
        while self._queued < room and int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._take(*self._receive(zmq.NOBLOCK))

    def _wait(self, wait_ms: int) -> None:
        """Until a message came, which is taken, or for so long; -1: without end."""
        if wait_ms != self._wait_ms:
            self._socket.setsockopt(zmq.RCVTIMEO, wait_ms)
            self._wait_ms = wait_ms
        try:
            frame, parts = self._receive(0)
        except zmq.Again:
            return
        self._take(frame, parts)

    def _receive(self, flags: int) -> tuple[bytes, int]:
        """The first part of the next message, and how many it has. Raises zmq.Again."""
        frame, parts = self._socket.recv(flags), 1
        while self._socket.getsockopt(zmq.RCVMORE):
            self._socket.recv(zmq.NOBLOCK)  # all parts of a message are here, or none
            parts += 1
        return frame, parts

    def _take(self, frame: bytes, parts: int = 1) -> None:
        """Queue the first of a message's parts, of which there must be one."""
        start = wire.after_topic(frame)
        topic = self._topics.get(frame[:start])
        if topic is None:
            return  # cannot be: the socket is subscribed to nothing else
        counters = self.counters[topic]
        try:
            if parts > 1:
                raise MessageError(f"a message of {parts} parts: ours have one")
            envelope, body = wire.decode(frame, start)
        except MessageError as error:
            counters.refuse(error)
            return
        instance, expected = self._next.get(topic, (envelope.instance, envelope.seq))
        if instance != envelope.instance:
            counters.restarts += 1
        elif envelope.seq < expected:
            counters.refuse(f"a replay: number {envelope.seq} after {expected - 1}")  # never reordered
            return
        else:
            counters.lost += envelope.seq - expected
        self._next[topic] = (envelope.instance, envelope.seq + 1)
        waiting = self._waiting[topic]
        if waiting and envelope.kind in ("sensor", "state") and not self._keep_all:
            counters.skipped += len(waiting)
            self._queued -= len(waiting)
            waiting.clear()
        now = time.monotonic_ns()
        order = min(envelope.published_ns, now) if envelope.host == self._host else now
        waiting.append(_Pending(order, envelope, body))
        self._queued += 1

    def _earliest(self) -> str | None:
        if not self._queued:
            return None
        heads = ((queue[0].order_ns, topic) for topic, queue in self._waiting.items() if queue)
        return min(heads)[1]

    def _open(self, topic: str, pending: _Pending) -> Any:
        """The message, or None where it cannot be read: counted."""
        counters, envelope = self.counters[topic], pending.envelope
        try:
            buffers = self._buffers(envelope, pending.body)
            if buffers is None:
                counters.wrong_generation += 1
                return None
            message = self._unpack(envelope.header, buffers)
        except MessageError as error:
            counters.refuse(error)
            return None
        now = time.monotonic_ns()
        counters.received += 1
        sent_ns: int | None = envelope.published_ns
        if envelope.host != self._host:
            sent_ns = local_ns(self._clocks, envelope.host, envelope.published_ns)
        if sent_ns is not None:
            counters.age_s = (now - sent_ns) / 1e9
            counters.age_max_s = max(counters.age_s, counters.age_max_s or 0.0)
        points = (
            TracePoint("published", envelope.published_ns, envelope.host),
            TracePoint("received", now, self._host),
        )
        header = message.header
        force_setattr(header, "trace", header.trace + points)  # nobody else has seen it yet
        return message

    def _buffers(self, envelope: wire.Envelope, body: memoryview) -> list[Any] | None:
        """The arrays' bytes in order; None where the ring has moved on. Raises MessageError."""
        lease = None
        if envelope.slot is not None:
            try:
                segment = self._segment(envelope.slot.segment)
            except FileNotFoundError:
                return None  # its writer has removed it
            lease = segment.lease(envelope.slot.index, envelope.slot.generation)
            if lease is None:
                return None
        buffers: list[Any] = []
        for place in envelope.arrays:
            if not place.in_slot:
                buffers.append(wire.inline_view(body, place))
            elif lease is None:
                raise MessageError("an array in a slot, and no slot")
            else:
                buffers.append(lease.view(place.offset, place.nbytes))
        return buffers

    def _segment(self, name: str) -> Segment:
        segment = self._segments.get(name)
        if segment is None:
            segment = self._segments[name] = Segment(name)
            if len(self._segments) > SEGMENTS:
                self._segments.popitem(last=False)
        else:
            self._segments.move_to_end(name)
        return segment
