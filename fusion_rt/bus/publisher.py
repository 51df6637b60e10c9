"""One topic's sender. Large arrays go through the ring, small messages through the socket."""

from __future__ import annotations

import errno
import math
import os
import secrets
import socket as system
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, get_args

import numpy as np
import zmq
from numpy.typing import DTypeLike, NDArray

from fusion_rt import messages
from fusion_rt.bus import endpoints, forks, wire
from fusion_rt.bus.counters import Sent
from fusion_rt.bus.forks import Descriptor
from fusion_rt.bus.keys import Curve
from fusion_rt.bus.loan import Hold, Loan, address
from fusion_rt.bus.local_outbox import LocalOutbox
from fusion_rt.bus.native import copy
from fusion_rt.bus.outbox import Outbox, ZmqOutbox
from fusion_rt.bus.ring import Ring, layout
from fusion_rt.bus.wire import NEWEST_WINS, Kind, Place, Slot
from fusion_rt.errors import BusError

INLINE_BYTES = 16 << 10  # below it, a copy through the socket costs less than a slot
ANNOUNCED_BYTES = 256 << 10  # from there on the copy takes longer than a reader's waking up
GROWTH = 1.25  # point clouds vary in size: the ring is made a little larger than asked

Pack = Callable[[Any], tuple[bytes, list[NDArray[Any]]]]
ArraySpec = tuple[tuple[int, ...], DTypeLike]

_KINDS: dict[type, Kind] = {messages.Image: "sensor", messages.PointCloud: "sensor"}


class Publisher:
    """Binds `endpoint` and numbers what it sends there as `topic`.

    kind        how the topic is kept (`wire.Kind`); None: sensor for images and point clouds, event for
                everything else
    slots       of the ring
    slot_bytes  of the ring's first segment; None: from the first message
    context     for sockets to other hosts and of `log` topics, whose owner closes it; None: an own one
    curve       keys, needed beyond loopback; with a foreign context its owner runs the doorkeeper
    pack        makes a message a header and arrays
    newest      each peer of a tcp endpoint is sent the newest when it can take another, and nothing waits
                behind it; `subscribers` is then not known, and 0
    queued      messages that wait for one subscriber; None: `outbox.QUEUED`, on a tcp endpoint `tcp.QUEUED`

    Any thread may publish; the messages of one thread keep their order. A fork may not: its calls raise
    BusError, apart from `close`. Raises BusError: the endpoint is in use or not allowed, no shared memory."""

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
        newest: bool = False,
        queued: int | None = None,
    ):
        if kind is not None and kind not in get_args(Kind):
            raise BusError(f"{topic}: kind {kind!r} is not one of {', '.join(get_args(Kind))}")
        endpoints.check(endpoint, secured=curve is not None)
        self.endpoint, self.topic, self.kind = endpoint, topic, kind
        self.counters = Sent()
        self._name = f"publisher of {topic!r}"
        self._prefix = wire.prefix(topic)
        self._host = system.gethostname()
        self._pack = pack
        self._instance = secrets.randbits(63)
        self._seq = 0
        self._large = False  # the newest message that was copied, and so, most likely, the next
        self._closed = False
        self._slots, self._slot_bytes = slots, slot_bytes
        self._ring: Ring | None = None
        self._outgrown: deque[Ring] = deque()
        self._lock = threading.Lock()  # around the socket and the ring's order, never around a copy
        self._pid = os.getpid()
        # Slots are reused, so a topic that must keep everything does not use them; nor do other hosts.
        self._ringed = endpoints.ipc_path(endpoint) is not None and kind != "log"
        self._claim = _claim(endpoint, topic)
        try:
            path = endpoints.ipc_path(endpoint)
            if path is not None and kind != "log" and not newest:
                self._outbox: Outbox = LocalOutbox(path, self._prefix, queued=queued)
            else:
                self._outbox = ZmqOutbox(
                    endpoint,
                    self._prefix,
                    kind=kind,
                    newest=newest,
                    queued=queued,
                    context=context,
                    curve=curve,
                )
        except (OSError, zmq.ZMQError) as error:
            self._release()
            raise BusError(_why_not(endpoint, topic, error)) from error
        except BaseException:
            self._release()
            raise

    def send(self, message: Any) -> bool:
        """Copy the message out to whoever listens. False: dropped, and counted."""
        forks.check(self._pid, self._name)
        if self._large:
            with self._lock:
                self._outbox.announce()
        header, arrays = self._pack(message)
        kind = self.kind or _KINDS.get(type(message), "event")
        if not arrays:
            return self._put(kind, header, (), (), None)
        offsets, size = layout([array.nbytes for array in arrays])
        if size < INLINE_BYTES or not self._ringed:
            self._large = False
            return self._put(kind, header, wire.inline_places(arrays), arrays, None)
        self._large = size >= ANNOUNCED_BYTES and kind in NEWEST_WINS
        hold = self._take(size)
        if hold is None:
            return self._drop()
        pieces: list[int] = []
        places: list[Place] = []
        for array, offset in zip(arrays, offsets):
            nbytes = array.nbytes
            pieces += (offset, address(array), nbytes)
            places.append(Place(True, offset, nbytes))
        copy(hold.address, pieces)
        return self._put(kind, header, tuple(places), (), hold)

    def loan(self, shape: tuple[int, ...], dtype: DTypeLike, *more: ArraySpec) -> Loan:
        """Arrays in the ring to be written in place, one for each (shape, dtype).

        Where readers hold every slot the arrays are ordinary memory and `publish` drops the message: the
        caller, a driver, need not care."""
        specs = [(tuple(shape), np.dtype(dtype)), *((tuple(s), np.dtype(d)) for s, d in more)]
        sizes = [math.prod(s) * d.itemsize for s, d in specs]
        offsets, size = layout(sizes)
        forks.check(self._pid, self._name)
        hold = self._take(size) if self._ringed else None
        memory = np.empty(size, np.uint8) if hold is None else hold.memory()
        arrays = [
            memory[offset : offset + nbytes].view(d).reshape(s)
            for (s, d), nbytes, offset in zip(specs, sizes, offsets)
        ]
        return Loan(self, hold, arrays, offsets)

    @property
    def subscribers(self) -> int:
        """How many listen to the topic now."""
        forks.check(self._pid, self._name)
        with self._lock:
            self.counters.readers = self._outbox.subscribers
        return self.counters.readers

    def wait_for_subscribers(self, count: int, timeout_s: float) -> bool:
        """Until `count` listen; False after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while self.subscribers < count:
            remaining_s = deadline - time.monotonic()
            if remaining_s <= 0:
                return False
            self._outbox.wait(remaining_s)
        return True

    def close(self) -> None:
        """Unbind and remove the ring; what was sent may take 250 ms to leave. Later calls do nothing, nor
        does one in a fork."""
        if os.getpid() != self._pid or self._closed:
            return
        with self._lock:
            self._closed = True
        self._outbox.close()
        for ring in (self._ring, *self._outgrown):
            if ring is not None:
                ring.close()
        self._ring = None
        self._outgrown.clear()
        self._release()

    def _release(self) -> None:
        """The topic may be published again, by anyone."""
        path, lock = endpoints.ipc_path(self.endpoint), _lock_path(self.endpoint)
        if self._claim is not None and path is not None and lock is not None:
            Path(path).unlink(missing_ok=True)
            lock.unlink(missing_ok=True)  # before its lock goes: see endpoints.claim
            self._claim.close()
            self._claim = None

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _take(self, size: int) -> Hold | None:
        """A slot of at least `size` bytes; None where readers hold all."""
        with self._lock:
            ring = self._ring
            if ring is None or ring.slot_bytes < size:
                larger = Ring(max(int(size * GROWTH), self._slot_bytes or 0), self._slots)
                if ring is not None:
                    self._outgrown.append(ring)
                ring = self._ring = larger
            elif self._outgrown and ring.committed >= ring.slots and not self._outgrown[0].on_loan:
                # So a message stays as long as in a ring that did not grow: until `slots` newer ones came.
                self._outgrown.popleft().close()
            slot = ring.take()
            return None if slot is None else Hold(ring, slot)

    def _publish_loan(self, loan: Loan, message: Any) -> bool:
        forks.check(self._pid, self._name)
        header, arrays = self._pack(message)
        hold = loan._hold
        if hold is None and self._ringed:
            return self._drop()
        inside = loan.offsets(arrays)
        outside = [array for array, offset in zip(arrays, inside) if offset is None]
        inline = iter(wire.inline_places(outside) if outside else ())
        places = tuple(
            next(inline) if offset is None else Place(True, offset, array.nbytes)
            for array, offset in zip(arrays, inside)
        )
        kind = self.kind or _KINDS.get(type(message), "event")
        return self._put(kind, header, places, outside, hold)

    def _put(
        self,
        kind: Kind,
        header: bytes,
        places: tuple[Place, ...],
        inline: Sequence[NDArray[Any]],
        hold: Hold | None,
    ) -> bool:
        with self._lock:
            if self._closed:
                raise BusError(f"{self._name} is closed")
            slot = None if hold is None else Slot(hold.ring.name, hold.slot, hold.commit())
            envelope = wire.Envelope(
                kind, self._instance, self._seq, time.monotonic_ns(), self._host, header, places, slot
            )
            self._seq += 1  # also where it is dropped: a gap that every subscriber sees
            try:
                if not self._outbox.send(wire.encode(self._prefix, envelope, inline), kind):
                    self.counters.dropped += 1
                    return False
            except zmq.ZMQError as error:
                raise BusError(f"{self.endpoint}: {self.topic!r} cannot be sent: {error.strerror}") from error
            self.counters.published += 1
            self.counters.bytes += sum(place.nbytes for place in places)
            self.counters.readers = self._outbox.subscribers
        return True

    def _drop(self) -> bool:
        with self._lock:
            self._seq += 1
            self.counters.dropped += 1
        return False


def _claim(endpoint: str, topic: str) -> Descriptor | None:
    """ZeroMQ would take a socket's file away from a living publisher: a lock beside it says who has it.
    Returns the lock's descriptor; None for tcp, where the port itself is the lock."""
    path = _lock_path(endpoint)
    if path is None:
        return None
    endpoints.private_folder(path.parent)
    claim = endpoints.claim(path)
    if claim is None:
        owner = path.read_text() if path.exists() else "of another run"
        raise BusError(
            f"{endpoint}: {topic!r} is already published by process {owner}: stop it, or use another run_dir"
        )
    os.ftruncate(claim.fd, 0)
    os.write(claim.fd, str(os.getpid()).encode())
    return claim


def _lock_path(endpoint: str) -> Path | None:
    path = endpoints.ipc_path(endpoint)
    return None if path is None else Path(f"{path}.lock")


def _why_not(endpoint: str, topic: str, error: OSError | zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{endpoint}: in use, {topic!r} cannot be published: stop the other program or change the port"
    return f"{endpoint}: {topic!r} cannot be published there: {error.strerror}"
