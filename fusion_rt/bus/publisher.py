"""One topic's sender. Large arrays go through the ring, small messages through the socket."""

from __future__ import annotations

import math
import os
import secrets
import socket as system
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import numpy as np
import zmq
from numpy.typing import DTypeLike, NDArray

from fusion_rt import messages
from fusion_rt.bus import endpoints, wire
from fusion_rt.bus.counters import Sent
from fusion_rt.bus.keys import Curve
from fusion_rt.bus.ring import Ring, layout
from fusion_rt.bus.wire import Kind, Place, Slot
from fusion_rt.errors import BusError

INLINE_BYTES = 16 << 10  # below it, a copy through the socket costs less than a slot
QUEUED = 1000  # messages that wait for one subscriber
LINGER_MS = 250  # what was sent may still leave when the publisher closes
LOG_WAIT_MS = 1000  # how long a `log` publisher waits for a reader to make room
GROWTH = 1.25  # point clouds vary in size: the ring is made a little larger than asked

Pack = Callable[[Any], tuple[bytes, list[NDArray[Any]]]]
ArraySpec = tuple[tuple[int, ...], DTypeLike]

_KINDS: dict[str, Kind] = {"image": "sensor", "points": "sensor"}


class Publisher:
    """Binds `endpoint` and numbers what it sends there as `topic`.

    kind        how the topic is kept (`wire.Kind`); None: sensor for images and point clouds, event for
                everything else
    slots       of the ring
    slot_bytes  of the ring's first segment; None: from the first message
    context     whose owner closes it; None: an own one
    curve       keys, needed beyond loopback; with a foreign context its owner runs the doorkeeper
    pack        makes a message a header and arrays

    For one thread. Raises BusError: the endpoint is in use or not allowed, no shared memory."""

    def __init__(
        self,
        endpoint: str,
        topic: str,
        *,
        kind: Kind | None = None,
        slots: int = 8,
        slot_bytes: int | None = None,
        context: zmq.Context[Any] | None = None,
        curve: Curve | None = None,
        pack: Pack = messages.pack,
    ):
        if kind is not None and kind not in get_args(Kind):
            raise BusError(f"{topic}: kind {kind!r} is not one of {', '.join(get_args(Kind))}")
        endpoints.check(endpoint, secured=curve is not None)
        self.endpoint, self.topic, self.kind = endpoint, topic, kind
        self.counters = Sent()
        self._prefix = wire.prefix(topic)
        self._host = system.gethostname()
        self._pack = pack
        self._instance = secrets.randbits(63)
        self._seq = 0
        self._subscribers = 0
        self._slots, self._slot_bytes = slots, slot_bytes
        self._ring: Ring | None = None
        self._local = endpoints.ipc_path(endpoint) is not None
        self._claim = _claim(endpoint, topic)
        self._own_context = zmq.Context() if context is None else None
        self._doorkeeper: Any = None
        context = context or self._own_context
        assert context is not None
        self._socket: zmq.Socket[bytes] = context.socket(zmq.XPUB)
        try:
            self._socket.linger = LINGER_MS
            self._socket.sndhwm = QUEUED
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            if kind == "log":
                self._socket.setsockopt(zmq.XPUB_NODROP, 1)
                self._socket.sndtimeo = LOG_WAIT_MS
            if curve is not None and not self._local:
                curve.serve(self._socket)
                if self._own_context is not None:
                    self._doorkeeper = curve.doorkeeper(context)
            self._socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise BusError(_why_not(endpoint, topic, error)) from error
        except BaseException:
            self.close()
            raise

    def send(self, message: Any) -> bool:
        """Copy the message out to whoever listens. False: dropped, and counted."""
        header, arrays = self._pack(message)
        offsets, size = layout([array.nbytes for array in arrays])
        if size < INLINE_BYTES or not self._ringed:
            return self._put(message, header, wire.inline_places(arrays), arrays, None)
        ring = self._ring_of(size)
        slot = ring.take()
        if slot is None:
            return self._drop()
        memory = ring.slot(slot)
        for array, offset in zip(arrays, offsets):
            memory[offset : offset + array.nbytes] = array.reshape(-1).view(np.uint8)
        places = tuple(Place(True, offset, array.nbytes) for array, offset in zip(arrays, offsets))
        return self._put(message, header, places, (), Slot(ring.name, slot, ring.commit(slot)))

    def loan(self, shape: tuple[int, ...], dtype: DTypeLike, *more: ArraySpec) -> Loan:
        """Arrays in the ring to be written in place, one for each (shape, dtype).

        Where readers hold every slot the arrays are ordinary memory and `publish` drops the message: the
        caller, a driver, need not care."""
        specs = [(tuple(shape), np.dtype(dtype)), *((tuple(s), np.dtype(d)) for s, d in more)]
        sizes = [math.prod(s) * d.itemsize for s, d in specs]
        offsets, size = layout(sizes)
        ring = slot = None
        if self._ringed:
            ring = self._ring_of(size)
            slot = ring.take()
        memory = np.empty(size, np.uint8) if ring is None or slot is None else ring.slot(slot)
        arrays = [
            memory[offset : offset + nbytes].view(d).reshape(s)
            for (s, d), nbytes, offset in zip(specs, sizes, offsets)
        ]
        return Loan(self, ring, slot, memory, arrays)

    @property
    def subscribers(self) -> int:
        """How many listen to the topic now."""
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            change = self._socket.recv(zmq.NOBLOCK)
            if change[1:] == self._prefix:
                self._subscribers += 1 if change[0] else -1
        return self._subscribers

    def wait_for_subscribers(self, count: int, timeout_s: float) -> bool:
        """Until `count` listen; False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.subscribers < count:
            remaining = deadline - time.monotonic()
            if remaining <= 0 or not self._socket.poll(int(remaining * 1000) + 1, zmq.POLLIN):
                return self.subscribers >= count
        return True

    def close(self) -> None:
        """Unbind and remove the ring; what was sent may take 250 ms to leave. Later calls do nothing."""
        self._socket.close()
        if self._doorkeeper is not None:
            self._doorkeeper.stop()
            self._doorkeeper = None
        if self._own_context is not None:
            self._own_context.term()
            self._own_context = None
        if self._ring is not None:
            self._ring.close()
            self._ring = None
        path, lock = endpoints.ipc_path(self.endpoint), _lock_path(self.endpoint)
        if self._claim >= 0 and path is not None and lock is not None:
            Path(path).unlink(missing_ok=True)
            lock.unlink(missing_ok=True)  # before its lock goes: see endpoints.claim
            os.close(self._claim)
            self._claim = -1

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _ringed(self) -> bool:
        """Slots are reused, so a topic that must keep everything does not use them; nor do other hosts."""
        return self._local and self.kind != "log"

    def _ring_of(self, size: int) -> Ring:
        if self._ring is None or self._ring.slot_bytes < size:
            larger = Ring(max(int(size * GROWTH), self._slot_bytes or 0), self._slots)
            if self._ring is not None:
                self._ring.close()
            self._ring = larger
        return self._ring

    def _publish_loan(self, loan: Loan, message: Any) -> bool:
        header, arrays = self._pack(message)
        if loan._slot is None and self._ringed:
            return self._drop()
        inside = [_offset(loan._memory, array) if loan._slot is not None else None for array in arrays]
        outside = [array for array, offset in zip(arrays, inside) if offset is None]
        inline = iter(wire.inline_places(outside))
        places = tuple(
            next(inline) if offset is None else Place(True, offset, array.nbytes)
            for array, offset in zip(arrays, inside)
        )
        slot = None
        if loan._ring is not None and loan._slot is not None:
            slot = Slot(loan._ring.name, loan._slot, loan._ring.commit(loan._slot))
        return self._put(message, header, places, outside, slot)

    def _put(
        self,
        message: Any,
        header: bytes,
        places: tuple[Place, ...],
        inline: Sequence[NDArray[Any]],
        slot: Slot | None,
    ) -> bool:
        kind = self.kind or _KINDS.get(messages.kind(message), "event")
        envelope = wire.Envelope(
            kind, self._instance, self._seq, time.monotonic_ns(), self._host, header, places, slot
        )
        try:
            self._socket.send(wire.encode(self._prefix, envelope, inline))
        except zmq.Again:
            return self._drop()
        self._seq += 1
        self.counters.published += 1
        self.counters.bytes += sum(place.nbytes for place in places)
        if self._seq % 64 == 0:
            _ = self.subscribers  # takes what subscribers said out of the socket's queue
        return True

    def _drop(self) -> bool:
        self._seq += 1  # a gap that every subscriber sees
        self.counters.dropped += 1
        return False


class Loan:
    """Memory of the ring, to be filled and published; leaving the `with` block unpublished gives it back.

    array   the first array, writable until `publish`
    arrays  all of them
    """

    def __init__(
        self,
        publisher: Publisher,
        ring: Ring | None,
        slot: int | None,
        memory: NDArray[np.uint8],
        arrays: list[NDArray[Any]],
    ):
        self.arrays = arrays
        self._publisher, self._ring, self._slot, self._memory = publisher, ring, slot, memory
        self._open = True

    @property
    def array(self) -> NDArray[Any]:
        """The first array."""
        return self.arrays[0]

    def publish(self, message: Any) -> bool:
        """Send a message made of these arrays, or of parts of them; arrays from elsewhere go through the
        socket. False: dropped, and counted. Raises BusError when called twice."""
        if not self._open:
            raise BusError(f"{self._publisher.topic}: this loan was published or given back; take a new one")
        sent = self._publisher._publish_loan(self, message)
        self._open = False
        for array in self.arrays:
            array.flags.writeable = False  # readers look at it now
        return sent

    def close(self) -> None:
        """Give the memory back unpublished. Later calls do nothing."""
        if self._open and self._ring is not None and self._slot is not None:
            self._ring.abandon(self._slot)
        self._open = False

    def __enter__(self) -> Loan:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _offset(memory: NDArray[np.uint8], array: NDArray[Any]) -> int | None:
    """Where the array lies in `memory`; None: elsewhere."""
    offset = int(array.__array_interface__["data"][0]) - int(memory.__array_interface__["data"][0])
    return offset if offset >= 0 and offset + array.nbytes <= memory.nbytes else None


def _claim(endpoint: str, topic: str) -> int:
    """ZeroMQ would take a socket's file away from a living publisher: a lock beside it says who has it.
    Returns the lock's descriptor; -1 for tcp, where the port itself is the lock."""
    path = _lock_path(endpoint)
    if path is None:
        return -1
    endpoints.private_folder(path.parent)
    fd = endpoints.claim(path)
    if fd is None:
        owner = path.read_text() if path.exists() else "of another run"
        raise BusError(
            f"{endpoint}: {topic!r} is already published by process {owner}: stop it, or use another run_dir"
        )
    os.ftruncate(fd, 0)
    os.write(fd, str(os.getpid()).encode())
    return fd


def _lock_path(endpoint: str) -> Path | None:
    path = endpoints.ipc_path(endpoint)
    return None if path is None else Path(f"{path}.lock")


def _why_not(endpoint: str, topic: str, error: zmq.ZMQError) -> str:
    if error.errno == zmq.EADDRINUSE:
        return f"{endpoint}: in use, {topic!r} cannot be published: stop the other program or change the port"
    return f"{endpoint}: {topic!r} cannot be published there: {error.strerror}"
