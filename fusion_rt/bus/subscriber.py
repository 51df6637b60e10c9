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
from fusion_rt.bus import endpoints, forks, wire
from fusion_rt.bus.clocks import Clock, local_ns
from fusion_rt.bus.counters import Received
from fusion_rt.bus.inbox import Inbox, ZmqInbox
from fusion_rt.bus.keys import Curve
from fusion_rt.bus.lease import Segment
from fusion_rt.bus.local_inbox import LocalInbox
from fusion_rt.bus.receiving import Usual
from fusion_rt.errors import BusError, MessageError
from fusion_rt.messages import TracePoint

QUEUED = 1000  # messages that wait in the sockets, and at most as many taken out of them
QUEUED_ALL = 100_000  # in the socket of a subscriber that keeps everything
SEGMENTS = 32  # mapped at a time; a publisher has one, and a new one when it restarts or grows

Unpack = Callable[[bytes | memoryview, list[Any]], Any]


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
    queued     messages that wait in the socket, through libzmq; None: 1000, or 100,000 to keep all
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
        self._in_use = threading.Lock()
        self._pid = os.getpid()
        self._host = system.gethostname()
        self._clocks = {} if clocks is None else clocks
        self._next: dict[str, tuple[int, int]] = {}  # topic -> instance, the seq that should come
        self._waiting: dict[str, deque[_Pending]] = {topic: deque() for topic in topics}
        self._queued = 0  # in all of them
        self._segments: OrderedDict[str, Segment] = OrderedDict()
        self._newest: tuple[str, Segment | None] = "", None  # of the segments
        self._sole = ""  # the topic, where there is only one
        self._usual: Usual | None = None
        if keep_all or queued is not None or any(endpoints.ipc_path(e) is None for e in topics.values()):
            self._inbox: Inbox | None = ZmqInbox(
                topics, queued=queued or (QUEUED_ALL if keep_all else QUEUED), context=context, curve=curve
            )
        else:
            self._inbox = LocalInbox(topics)
            if len(topics) == 1:
                self._sole = next(iter(topics))
                self._usual = Usual(wire.prefix(self._sole), self._host)

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
        wait_s = 0.0
        while True:
            self._fill(wait_s)
            if self._usual is not None:
                if self._usual.arrived:
                    message = self._take_usual(self._usual)
                    if message is not None:
                        return message
                elif self._usual.announced:
                    self._rehearse(self._usual)
                    wait_s = 0.0  # it may be here by now
                    continue
            topic = self._earliest()
            if topic is not None:
                self._queued -= 1
                message = self._open(topic, self._waiting[topic].popleft())
                if message is not None:
                    return message
                wait_s = 0.0
                continue
            if deadline is not None:
                wait_s = deadline - time.monotonic()
                if wait_s <= 0:
                    return None
            else:
                wait_s = -1.0
            if self._busy_poll:
                wait_s = 0.0

    def close(self) -> None:
        """Disconnect; messages already given stay valid. Later calls do nothing, nor does one in a fork.
        Raises BusError while another thread is in `recv`."""
        if os.getpid() != self._pid:
            return
        if not self._in_use.acquire(blocking=False):
            raise BusError("another thread is in recv of this subscriber: end its loop first")
        inbox, self._inbox = self._inbox, None
        self._in_use.release()
        if inbox is not None:
            inbox.close()
        self._newest = "", None
        if self._usual is not None:
            self._usual.forget()
        self._segments.clear()

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _fill(self, wait_s: float) -> None:
        """Take what has come out of the sockets, or wait for it. What does not fit stays there, and makes
        `log` publishers wait."""
        if self._inbox is None:
            raise BusError("this subscriber is closed")
        room = (1 if self._keep_all else QUEUED) - self._queued
        if self._usual is None or self._queued:
            taken = self._inbox.take(wait_s, room)
        else:
            self._usual.expect(self._next.get(self._sole), *self._newest)
            taken = self._inbox.take(wait_s, room, self._usual)
        for frame, parts in taken:
            self._take(frame, parts)

    def _take_usual(self, usual: Usual) -> Any:
        """The message, or None where it is not one: counted."""
        instance, seq = self._next[self._sole]
        self._next[self._sole] = (instance, seq + 1)
        published_ns, header, arrays = usual.take()
        return self._unpacked(self.counters[self._sole], header, arrays, published_ns, self._host)

    def _rehearse(self, usual: Usual) -> None:
        """Open the newest message again, for nothing: what the next one needs has left the processor's
        caches, and comes back while that one is still being copied."""
        again = usual.again()
        if again is not None:
            published_ns, header, arrays = again
            self._unpacked(Received(), header, arrays, published_ns, self._host)

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
        if len(self._waiting) == 1:
            return next(iter(self._waiting))
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
        except MessageError as error:
            counters.refuse(error)
            return None
        return self._unpacked(counters, envelope.header, buffers, envelope.published_ns, envelope.host)

    def _unpacked(
        self,
        counters: Received,
        packed: bytes | memoryview,
        buffers: list[Any],
        published_ns: int,
        host: str,
    ) -> Any:
        try:
            message = self._unpack(packed, buffers)
        except MessageError as error:
            counters.refuse(error)
            return None
        now = time.monotonic_ns()
        counters.received += 1
        sent_ns: int | None = published_ns
        if host != self._host:
            sent_ns = local_ns(self._clocks, host, published_ns)
        if sent_ns is not None:
            counters.age_s = (now - sent_ns) / 1e9
            counters.age_max_s = max(counters.age_s, counters.age_max_s or 0.0)
        points = (
            TracePoint("published", published_ns, host),
            TracePoint("received", now, self._host),
        )
        header = message.header
        force_setattr(header, "trace", header.trace + points)  # nobody else has seen it yet
        return message

    def _buffers(self, envelope: wire.Envelope, body: memoryview) -> list[Any] | None:
        """The arrays' bytes in order; None where the ring has moved on. Raises MessageError."""
        memory = None
        if envelope.slot is not None:
            try:
                segment = self._segment(envelope.slot.segment)
            except FileNotFoundError:
                return None  # its writer has removed it
            lease = segment.lease(envelope.slot.index, envelope.slot.generation)
            if lease is None:
                return None
            memory = lease.memory()
        buffers: list[Any] = []
        for place in envelope.arrays:
            if not place.in_slot:
                buffers.append(wire.inline_view(body, place))
            elif memory is None:
                raise MessageError("an array in a slot, and no slot")
            elif place.offset + place.nbytes > len(memory):
                raise MessageError(f"{place.nbytes} bytes from {place.offset} on, in a slot of {len(memory)}")
            else:
                buffers.append(memory[place.offset : place.offset + place.nbytes])
        return buffers

    def _segment(self, name: str) -> Segment:
        self._newest = name, None
        segment = self._segments.get(name)
        if segment is None:
            segment = self._segments[name] = Segment(name)
            if len(self._segments) > SEGMENTS:
                self._segments.popitem(last=False)
        else:
            self._segments.move_to_end(name)
        self._newest = name, segment
        return segment
