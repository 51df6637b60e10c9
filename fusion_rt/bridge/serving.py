"""This host's topics for others: from the bus, coded, out over TCP. A thread a topic, so that an image that
is being coded keeps no IMU sample waiting."""

from __future__ import annotations

import secrets
import socket as system
import threading
from typing import Any

import zmq

from fusion_rt import messages, payloads
from fusion_rt.bridge import control
from fusion_rt.bridge.config import Serve, check_keys, port_of
from fusion_rt.bus import Bus, Publisher, Subscriber
from fusion_rt.errors import FusionError, MessageError
from fusion_rt.payloads import H264, Payload

STREAM_QUEUED = 8  # frames of a stream that wait for a slow peer; then it waits for a key frame
MEASURED_ANEW = ("image", "points")  # of which a slow peer gets the newest


class Serving:
    """Runs from the start until `close`. Raises BusError: the address is not to be had; and ConfigError: keys
    or a payload's library are missing."""

    def __init__(self, config: Serve, bus: Bus):
        self._bus, self._config = bus, config
        self._host = system.gethostname()
        check_keys(config.address, secured=bus.curve is not None)
        base = port_of(config.address)
        ports = {topic: base + 1 + i for i, topic in enumerate(config.topics)}
        self._context: zmq.Context[Any] = zmq.Context(io_threads=2)  # they encrypt
        self._doorkeeper = self._control = None
        self._topics: list[_Served] = []
        try:
            if bus.curve is not None:
                self._doorkeeper = bus.curve.doorkeeper(self._context)
            self._control = control.Server(self._context, config.address, ports, bus.curve)
            self._control.start()
            for topic, payload in config.topics.items():
                endpoint = f"{config.address.rpartition(':')[0]}:{ports[topic]}"
                self._topics.append(_Served(topic, payload, endpoint, bus, self._context, self._control))
            for served in self._topics:
                served.start()
        except BaseException:
            self.close()
            raise

    def watch(self) -> None:
        """Tell the bus what was sent, and what others say they received. Raises what a thread has raised."""
        assert self._control is not None
        peers = self._control.peers()
        self._bus.detail["peers"] = len(peers)
        if self._bus.curve is not None and self._bus.curve.allow is not None:
            self._bus.detail["refused"] = self._bus.curve.allow.refused
        for served in self._topics:
            served.check()
            name = f"{served.topic}@{self._host}"
            if served.publisher is not None:
                self._bus.sent[name] = served.publisher.counters
            reports = [ask.received[served.topic] for ask in peers if served.topic in ask.received]
            if reports:
                self._bus.received[name] = max(reports, key=lambda counts: counts.missing)
            if served.not_coded:
                self._bus.detail[f"{name}.not_coded"] = served.not_coded

    def close(self) -> None:
        """End the threads; later calls do nothing."""
        for served in self._topics:
            served.stop()
        self._topics = []
        if self._control is not None:
            self._control.stop()
            self._control = None
        if self._doorkeeper is not None:
            self._doorkeeper.stop()
            self._doorkeeper = None
        self._context.term()


class _Served(threading.Thread):
    """One topic."""

    def __init__(
        self,
        topic: str,
        payload: Payload,
        endpoint: str,
        bus: Bus,
        context: zmq.Context[Any],
        server: control.Server,
    ):
        super().__init__(name=f"bridge: {topic}", daemon=True)
        self.topic, self.not_coded = topic, 0
        self.publisher: Publisher | None = None
        self._payload, self._endpoint, self._bus = payload, endpoint, bus
        self._context, self._server = context, server
        self._encoder = payloads.Encoder(payload, secrets.randbits(62))
        self._input: Subscriber = bus.subscriber([topic])
        self._done = threading.Event()
        self._error: FusionError | None = None

    def run(self) -> None:
        try:
            while not self._done.is_set():
                message = self._input.recv(0.1)
                if message is not None and self._server.wanted(self.topic):
                    self._send(message)
        except FusionError as error:
            self._error = error

    def stop(self) -> None:
        self._done.set()
        if self.ident is not None:
            self.join()
        if self.publisher is not None:
            self.publisher.close()

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def _send(self, message: Any) -> None:
        try:
            coded = self._encoder.encode(message, key=self._server.begin(self.topic))
        except MessageError:
            self.not_coded += 1
            return
        if self.publisher is None:
            self.publisher = self._bind(message)
        self.publisher.send(coded)

    def _bind(self, message: Any) -> Publisher:
        stream = isinstance(self._payload, H264)
        newest = messages.kind(message) in MEASURED_ANEW and not stream
        return Publisher(
            self._endpoint,
            self.topic,
            kind="sensor" if newest else "event",
            context=self._context,
            curve=self._bus.curve,
            pack=payloads.pack,
            newest=newest,
            queued=STREAM_QUEUED if stream else None,
        )
