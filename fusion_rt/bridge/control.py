"""Two bridges' small talk, on a connection of its own where no image is in the way: who serves what on which
port, what arrived, and the four stamps of the clock (`bus/clocks.py`)."""

from __future__ import annotations

import socket as system
import threading
import time
from collections.abc import Mapping
from typing import Annotated, Any

import msgspec
import zmq
from msgspec import Meta, Struct

from fusion_rt.bus import clocks, endpoints, tcp
from fusion_rt.bus.clocks import Clock, ClockEstimator
from fusion_rt.bus.counters import Received
from fusion_rt.bus.keys import Curve
from fusion_rt.errors import BusError

PROTOCOL = 1
PERIOD_S = 1.0
FIRST_S = 0.05  # between the first ones, so that ages are known soon
FIRST = 20
SILENT_S = 5.0  # a server that has not answered for so long is away, or knows another key
AWAY_S = 5.0  # a client that has not asked for so long fetches nothing
MAX_BYTES = 1 << 16
QUEUED = 16
MOST = 1000  # clients that are remembered

Stamp = Annotated[int, Meta(ge=-(1 << 62), le=1 << 62)]
Text = Annotated[str, Meta(max_length=255)]


class Ask(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """From who fetches.

    asked_ns  its CLOCK_MONOTONIC
    received  topic -> what came of it; those that it wants, and no others
    begin     topics whose stream it cannot decode before the next key frame
    """

    protocol: int
    host: Text
    asked_ns: Stamp
    received: dict[str, Received]
    begin: tuple[str, ...] = ()


class Answer(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """From who serves.

    asked_ns                  of the question
    received_ns, answered_ns  its own CLOCK_MONOTONIC
    wall_ns                   its UNIX time minus its CLOCK_MONOTONIC
    boot_id                   names the CLOCK_MONOTONIC
    ports                     topic -> where it is served
    """

    protocol: int
    host: Text
    asked_ns: Stamp
    received_ns: Stamp
    answered_ns: Stamp
    wall_ns: Stamp
    boot_id: Text
    ports: dict[str, Annotated[int, Meta(gt=0, lt=65536)]]


class Server(threading.Thread):
    """Answers whoever is allowed to ask; remembers what they said last. Raises BusError."""

    def __init__(
        self,
        context: zmq.Context[Any],
        address: str,
        ports: Mapping[str, int],
        curve: Curve | None,
    ):
        super().__init__(name="bridge: control", daemon=True)
        endpoints.check(address, secured=curve is not None)
        self._address, self._ports, self._curve = address, dict(ports), curve
        self._host, self._boot = system.gethostname(), clocks.boot_id()
        self._decoder = msgspec.msgpack.Decoder(Ask)
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._asked: dict[bytes, tuple[float, Ask]] = {}  # by connection
        self._begin: set[str] = set()
        self.malformed = 0
        self._socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        try:
            tcp.tune(self._socket)
            self._socket.linger = 0
            self._socket.sndhwm = self._socket.rcvhwm = QUEUED
            self._socket.maxmsgsize = MAX_BYTES
            if curve is not None:
                curve.serve(self._socket)
            self._revocations = 0 if curve is None else curve.revocations
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._socket.close()
            raise BusError(f"{address}: cannot be served from: {error.strerror}") from error
        except BaseException:
            self._socket.close()
            raise

    def run(self) -> None:
        while not self._done.is_set():
            if self._curve is not None and self._curve.revocations != self._revocations:
                self._revocations = self._curve.revocations
                tcp.rebind(self._socket, self._address)
            if self._socket.poll(200, zmq.POLLIN):
                self._answer(time.monotonic_ns(), self._socket.recv_multipart())
        self._socket.close()

    def stop(self) -> None:
        """Stop answering. Later calls do nothing."""
        self._done.set()
        if self.ident is None:
            self._socket.close()
        else:
            self.join()

    def wanted(self, topic: str) -> bool:
        """Whether anyone who is there fetches the topic."""
        return any(topic in ask.received for ask in self.peers())

    def peers(self) -> list[Ask]:
        """What those who are there said last."""
        limit = time.monotonic() - AWAY_S
        with self._lock:
            self._asked = {peer: said for peer, said in self._asked.items() if said[0] > limit}
            return [ask for _, ask in self._asked.values()]

    def begin(self, topic: str) -> bool:
        """Whether somebody needs a key frame since the last call."""
        with self._lock:
            needed = topic in self._begin
            self._begin.discard(topic)
        return needed

    def _answer(self, received_ns: int, parts: list[bytes]) -> None:
        try:
            ask = self._decoder.decode(parts[1] if len(parts) == 2 else b"")
        except msgspec.DecodeError:
            self.malformed += 1
            return
        with self._lock:
            if ask.protocol == PROTOCOL and (parts[0] in self._asked or len(self._asked) < MOST):
                self._asked[parts[0]] = (time.monotonic(), ask)
                self._begin.update(topic for topic in ask.begin if topic in self._ports)
        answer = Answer(
            PROTOCOL,
            self._host,
            ask.asked_ns,
            received_ns,
            time.monotonic_ns(),
            clocks.wall_minus_monotonic_ns(),
            self._boot,
            self._ports,
        )
        self._socket.send_multipart([parts[0], msgspec.msgpack.encode(answer)])


class Client:
    """Asks one server again and again. For one thread.

    keys  public keys of the server, tried in turn; none: plain, which `endpoints.check` allows on loopback

    answer  the last one; None: not there
    silent  whether it has been waited for in vain
    key     with which it answered
    clock   of the server; it is kept while the server is away, and grows less certain

    Raises BusError where the address is not allowed."""

    def __init__(self, context: zmq.Context[Any], address: str, keys: tuple[str, ...], curve: Curve | None):
        endpoints.check(address, secured=curve is not None and bool(keys))
        self._context, self._address, self._keys, self._curve = context, address, keys, curve
        self._host = system.gethostname()
        self._decoder = msgspec.msgpack.Decoder(Answer)
        self._estimator = ClockEstimator()
        self._boot = ""
        self._tries = 0
        self._count = 0
        self._heard = time.monotonic()
        self.answer: Answer | None = None
        self.silent = False
        self.clock: Clock | None = None
        self._socket = self._connect()

    @property
    def key(self) -> str | None:
        return self._keys[self._tries % len(self._keys)] if self._keys else None

    def turn(self, received: dict[str, Received], begin: tuple[str, ...] = ()) -> None:
        """Ask once and wait for answers until it is time to ask again."""
        ask = Ask(PROTOCOL, self._host, time.monotonic_ns(), received, begin)
        soon = self._count < FIRST
        try:
            self._socket.send(msgspec.msgpack.encode(ask), zmq.NOBLOCK)
        except zmq.Again:
            soon = True  # not connected yet
        end = time.monotonic() + (FIRST_S if soon else PERIOD_S)
        while (left := end - time.monotonic()) > 0:
            if self._socket.poll(int(left * 1000) + 1, zmq.POLLIN):
                self._take(time.monotonic_ns(), self._socket.recv())
        self.clock = self._estimator.clock(time.monotonic_ns())
        if time.monotonic() - self._heard > SILENT_S:
            self.answer, self.silent = None, True
            self._tries += 1
            self._heard = time.monotonic()
            self._socket.close()
            self._socket = self._connect()

    def close(self) -> None:
        self._socket.close()

    def _connect(self) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        tcp.tune(socket)
        socket.linger = 0
        socket.immediate = True  # questions do not wait for a server: their stamps would be old
        socket.sndhwm = socket.rcvhwm = QUEUED
        socket.maxmsgsize = MAX_BYTES
        if self._curve is not None and self.key is not None:
            curve = msgspec.structs.replace(self._curve, servers={self._address: self.key})
            curve.join(socket, self._address)
        socket.connect(self._address)
        return socket

    def _take(self, back_ns: int, data: bytes) -> None:
        try:
            answer = self._decoder.decode(data)
        except msgspec.DecodeError:
            return  # of another version: as if it were silent
        if answer.protocol != PROTOCOL:
            return
        if answer.boot_id != self._boot:
            self._boot, self._estimator, self._count = answer.boot_id, ClockEstimator(), 0
        self._count += 1
        self.answer, self.silent, self._heard = answer, False, time.monotonic()
        wall_ns = answer.wall_ns - clocks.wall_minus_monotonic_ns()
        self._estimator.add(answer.asked_ns, answer.received_ns, answer.answered_ns, back_ns, wall_ns)
