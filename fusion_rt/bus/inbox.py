"""Where a subscriber's frames come from: `ZmqInbox` through libzmq, `local_inbox.LocalInbox` without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import zmq

from fusion_rt.bus import endpoints, tcp, wire
from fusion_rt.bus.keys import Curve
from fusion_rt.bus.receiving import Usual
from fusion_rt.errors import BusError

MAX_FRAME_BYTES = 256 << 20
RECONNECT_S = 0.05  # until a publisher is there, or there again


class Inbox(Protocol):
    """Connected to every endpoint, now or whenever its publisher comes. For one thread at a time."""

    def take(self, wait_s: float, room: int, usual: Usual | None = None) -> list[tuple[bytes, int]]:
        """What came, oldest first: each message's first part, and how many it had. Where nothing has, wait
        for so long; -1: without end. Not many more than `room`: the rest stays where it is."""
        ...

    def close(self) -> None: ...


class ZmqInbox:
    """A SUB socket with a thread that takes messages in while the subscriber is busy: for those that keep
    everything, and for other hosts.

    queued  messages that wait in the socket

    Raises BusError where an endpoint is not allowed."""

    def __init__(
        self,
        topics: Mapping[str, str],
        *,
        queued: int,
        context: zmq.Context[Any] | None,
        curve: Curve | None,
    ):
        self._wait_ms = -1  # what the socket is told, as it begins
        self._own_context = zmq.Context() if context is None else None
        context = context or self._own_context
        assert context is not None
        self._socket: zmq.Socket[bytes] = context.socket(zmq.SUB)
        try:
            self._socket.linger = 0
            self._socket.rcvhwm = queued
            self._socket.maxmsgsize = MAX_FRAME_BYTES
            self._socket.reconnect_ivl = int(RECONNECT_S * 1000)
            if any(endpoints.ipc_path(endpoint) is None for endpoint in topics.values()):
                tcp.tune(self._socket)
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

    def take(self, wait_s: float, room: int, usual: Usual | None = None) -> list[tuple[bytes, int]]:
        taken = []
        if wait_s and not self._waits():
            wait_ms = -1 if wait_s < 0 else int(wait_s * 1000) + 1
            if wait_ms != self._wait_ms:
                self._socket.setsockopt(zmq.RCVTIMEO, wait_ms)
                self._wait_ms = wait_ms
            try:
                taken.append(self._receive(0))
            except zmq.Again:
                return taken
        # Asked first, since pyzmq's exception for "nothing" costs more than a message.
        while len(taken) < room and self._waits():
            taken.append(self._receive(zmq.NOBLOCK))
        return taken

    def close(self) -> None:
        self._socket.close()
        if self._own_context is not None:
            self._own_context.term()
            self._own_context = None

    def _waits(self) -> bool:
        return bool(int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN)

    def _receive(self, flags: int) -> tuple[bytes, int]:
        """The first part of the next message, and how many it has. Raises zmq.Again."""
        frame, parts = self._socket.recv(flags), 1
        while self._socket.getsockopt(zmq.RCVMORE):
            self._socket.recv(zmq.NOBLOCK)  # all parts of a message are here, or none
            parts += 1
        return frame, parts
