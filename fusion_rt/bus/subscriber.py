"""Many topics' receiver. It gives the messages one by one, each read-only and as its publisher wrote it."""

from __future__ import annotations

import socket as system
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import zmq
from msgspec import Struct
from msgspec.structs import replace

from fusion_rt import messages
from fusion_rt.bus import endpoints, wire
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

    counters  topic -> Received. For one thread; the messages' arrays may go to any. Raises BusError where
    an endpoint is not allowed."""

    def __init__(
        self,
        topics: Mapping[str, str],
        *,
        keep_all: bool = False,
        busy_poll: bool = False,
        context: zmq.Context[Any] | None = None,
        curve: Curve | None = None,
        unpack: Unpack = messages.unpack,
    ):
        for topic, endpoint in topics.items():
            wire.prefix(topic)
            endpoints.check(endpoint, secured=curve is not None)
        self.counters = {topic: Received() for topic in topics}
        self._keep_all, self._busy_poll, self._unpack = keep_all, busy_poll, unpack
        self._host = system.gethostname()
        self._next: dict[str, tuple[int, int]] = {}  # topic -> instance, the seq that should come
        self._waiting: dict[str, deque[_Pending]] = {topic: deque() for topic in topics}
        self._segments: OrderedDict[str, Segment] = OrderedDict()
        self._own_context = zmq.Context() if context is None else None
        context = context or self._own_context
        assert context is not None
        self._socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        try:
            self._socket.linger = 0
            self._socket.rcvhwm = QUEUED_ALL if keep_all else QUEUED
            self._socket.maxmsgsize = MAX_FRAME_BYTES
            self._socket.reconnect_ivl = RECONNECT_MS
            for topic, endpoint in topics.items():
                self._socket.subscribe(wire.prefix(topic))
                if curve is not None and endpoint.startswith("tcp://") and endpoint in curve.servers:
                    curve.join(self._socket, endpoint)
                elif curve is not None:
                    endpoints.check(endpoint, secured=False)
                self._socket.connect(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise BusError(f"{endpoint}: cannot be subscribed to: {error.strerror}") from error
        except BaseException:
            self.close()
            raise
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)

    def recv(self, timeout_s: float | None = None) -> Any:
        """The next message, or None when none came in `timeout_s` (None: wait as long as it takes).

        Its arrays are read-only and may lie in the publisher's ring: the slot stays as it is until the last
        of them is collected, or `release(message)`. Whatever is malformed is counted, never raised."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            self._drain()
            topic = self._earliest()
            if topic is not None:
                message = self._open(topic, self._waiting[topic].popleft())
                if message is not None:
                    return message
                continue
            wait_ms = None
            if deadline is not None:
                remaining_ms = (deadline - time.monotonic()) * 1000
                if remaining_ms <= 0:
                    return None
                wait_ms = int(remaining_ms) + 1
            self._poller.poll(0 if self._busy_poll else wait_ms)

    def close(self) -> None:
        """Disconnect; messages already given stay valid. Later calls do nothing."""
        self._socket.close()
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
        room = (1 if self._keep_all else QUEUED) - sum(map(len, self._waiting.values()))
        while room > 0:
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            room -= self._take(frame)

    def _take(self, frame: bytes) -> int:
        """Queue one frame; returns by how many the queue grew."""
        topic = frame.partition(b"\0")[0].decode("ascii", "replace")
        counters = self.counters.get(topic)
        if counters is None:
            return 0  # cannot be: the socket is subscribed to nothing else
        try:
            _, envelope, body = wire.decode(frame)
        except MessageError:
            counters.malformed += 1
            return 0
        instance, expected = self._next.get(topic, (envelope.instance, envelope.seq))
        if instance != envelope.instance:
            counters.restarts += 1
        elif envelope.seq < expected:
            counters.malformed += 1  # a replay: one connection never reorders
            return 0
        else:
            counters.lost += envelope.seq - expected
        self._next[topic] = (envelope.instance, envelope.seq + 1)
        waiting = self._waiting[topic]
        stale = 0
        if envelope.kind in ("sensor", "state") and not self._keep_all:
            stale = len(waiting)
            counters.skipped += stale
            waiting.clear()
        now = time.monotonic_ns()
        order = min(envelope.published_ns, now) if envelope.host == self._host else now
        waiting.append(_Pending(order, envelope, body))
        return 1 - stale

    def _earliest(self) -> str | None:
        heads = ((queue[0].order_ns, topic) for topic, queue in self._waiting.items() if queue)
        return min(heads, default=(0, None))[1]

    def _open(self, topic: str, pending: _Pending) -> Any:
        """The message, or None where it cannot be read: counted."""
        counters, envelope = self.counters[topic], pending.envelope
        try:
            buffers = self._buffers(envelope, pending.body)
            if buffers is None:
                counters.wrong_generation += 1
                return None
            message = self._unpack(envelope.header, buffers)
        except MessageError:
            counters.malformed += 1
            return None
        now = time.monotonic_ns()
        counters.received += 1
        if envelope.host == self._host:
            counters.age_s = (now - envelope.published_ns) / 1e9
            counters.age_max_s = max(counters.age_s, counters.age_max_s or 0.0)
        points = (
            TracePoint("published", envelope.published_ns, envelope.host),
            TracePoint("received", now, self._host),
        )
        header = message.header
        return replace(message, header=replace(header, trace=header.trace + points))

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
