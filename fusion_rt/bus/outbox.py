"""Where a publisher's frames leave: `ZmqOutbox` through libzmq, `local_outbox.LocalOutbox` without it."""

from __future__ import annotations

import time
from typing import Any, Protocol

import zmq

from fusion_rt.bus import tcp
from fusion_rt.bus.keys import Curve
from fusion_rt.bus.wire import Kind

QUEUED: dict[Kind, int] = {"sensor": 64, "state": 64, "event": 1000, "log": 1000}
"""Messages that wait for one subscriber of this host."""
LINGER_MS = 250  # what was sent may still leave when the publisher closes
LOG_WAIT_MS = 1000  # how long a `log` publisher waits for a reader to make room
COUNT_NS = 1_000_000_000  # between looks at who listens


class Outbox(Protocol):
    """One bound socket. The publisher's lock is around every call but `wait` and `close`."""

    def send(self, frame: bytes, kind: Kind) -> bool:
        """To everyone who listens, as far as they have room. False: a `log` reader did not make any."""
        ...

    def announce(self) -> None:
        """Wake readers of this host that sleep: a large message will follow."""
        ...

    @property
    def subscribers(self) -> int: ...

    def wait(self, timeout_s: float) -> None:
        """Until somebody comes or goes, or for a short time."""
        ...

    def close(self) -> None: ...


class ZmqOutbox:
    """XPUB or, `newest`, PUB with CONFLATE: for other hosts, and for topics whose publisher waits.

    kind    of the topic; None: as the first message has it, and until then a sensor's
    queued  messages that wait for one subscriber; None: as the kind has it. Whoever wants few wants them
            fresh, so little waits in the kernel either

    Raises zmq.ZMQError."""

    def __init__(
        self,
        endpoint: str,
        prefix: bytes,
        *,
        kind: Kind | None,
        newest: bool,
        queued: int | None,
        context: zmq.Context[Any] | None,
        curve: Curve | None,
    ):
        self._endpoint, self._prefix, self._newest = endpoint, prefix, newest
        self._local = endpoint.startswith("ipc://")
        self._sized = newest or queued is not None
        self._subscribers = 0
        self._count_ns = 0
        self._curve = None if self._local else curve
        self._own_context = zmq.Context() if context is None else None
        self._doorkeeper: Any = None
        context = context or self._own_context
        assert context is not None
        self._socket: zmq.Socket[bytes] = context.socket(zmq.PUB if newest else zmq.XPUB)
        try:
            self._socket.linger = LINGER_MS
            if newest:
                self._socket.setsockopt(zmq.CONFLATE, 1)
            else:
                self._socket.sndhwm = queued or QUEUED["event"]
                self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            if kind == "log":
                self._socket.setsockopt(zmq.XPUB_NODROP, 1)
                self._socket.sndtimeo = LOG_WAIT_MS
            if not self._local:
                tcp.tune(self._socket, kind if kind is not None and queued is None else "sensor")
            if self._curve is not None:
                self._curve.serve(self._socket)
                self._revocations = self._curve.revocations
                if self._own_context is not None:
                    self._doorkeeper = self._curve.doorkeeper(context)
            self._socket.bind(endpoint)
        except BaseException:
            self.close()
            raise

    def send(self, frame: bytes, kind: Kind) -> bool:
        if not self._local:
            if not self._sized:
                self._socket.sndhwm = tcp.QUEUED[kind]
                self._sized = True
            self._cut_off_the_revoked()
        if not self._newest and time.monotonic_ns() > self._count_ns:
            self._count()
        try:
            self._socket.send(frame)
        except zmq.Again:
            return False
        return True

    def announce(self) -> None:
        """Its readers have threads of libzmq's, which would not hand it on."""

    @property
    def subscribers(self) -> int:
        if not self._newest:
            self._count()
        return self._subscribers

    def wait(self, timeout_s: float) -> None:
        self._socket.poll(int(min(timeout_s * 1000, 20)) + 1, zmq.POLLIN)

    def close(self) -> None:
        self._socket.close()
        if self._doorkeeper is not None:
            self._doorkeeper.stop()
            self._doorkeeper = None
        if self._own_context is not None:
            self._own_context.term()
            self._own_context = None

    def _count(self) -> None:
        """Take what subscribers said out of the socket's queue."""
        while int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            change = self._socket.recv(zmq.NOBLOCK)
            if change[1:] == self._prefix:
                self._subscribers += 1 if change[0] else -1
        self._count_ns = time.monotonic_ns() + COUNT_NS

    def _cut_off_the_revoked(self) -> None:
        """Whose key was withdrawn is sent nothing from here on."""
        if self._curve is not None and self._curve.revocations != self._revocations:
            self._revocations = self._curve.revocations
            tcp.rebind(self._socket, self._endpoint)
