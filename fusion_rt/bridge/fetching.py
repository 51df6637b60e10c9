"""Another host's topics for this one: in over TCP, decoded, onto the bus, where they are as if made here."""

from __future__ import annotations

import difflib
import socket as system
import sys
import threading
from typing import Any

import zmq
from msgspec.structs import replace

from fusion_rt import payloads
from fusion_rt.bridge import control
from fusion_rt.bridge.config import Peer, check_keys
from fusion_rt.bus import Bus, Curve, Publisher, Received, Subscriber, clocks
from fusion_rt.errors import ConfigError, FusionError, MessageError

QUEUED = 100  # messages that wait here for one topic's thread, which does little else than take them
WALL_OFF_S = 0.005  # from here on stamps of two hosts' sensors do not belong together


class Fetching(threading.Thread):
    """One peer, until `close`. Raises ConfigError: keys missing; and BusError: a topic is published here
    already."""

    def __init__(self, name: str, peer: Peer, bus: Bus):
        super().__init__(name=f"bridge: {name}", daemon=True)
        if peer.keys and bus.curve is None:
            raise ConfigError(f"fetch.{name}: give `bus.keys` too: fusion-rt keys make")
        check_keys(peer.address, secured=bool(peer.keys))
        self._name, self._peer, self._bus = name, peer, bus
        self._host, self._boot = system.gethostname(), clocks.boot_id()
        self._done = threading.Event()
        self._error: FusionError | None = None
        self._said = ""
        self._warned_wall = False
        self._outputs = {topic: bus.publisher(peer.local(topic)) for topic in peer.topics}
        self._context: zmq.Context[Any] = zmq.Context(io_threads=2)  # they decrypt
        self._topics: dict[str, _Fetched] = {}
        try:
            self._client = control.Client(self._context, peer.address, peer.keys, bus.curve)
        except BaseException:
            self._context.term()
            raise
        self.start()

    def run(self) -> None:
        try:
            while not self._done.is_set():
                fetched = self._topics.values()
                received = {topic: Received() for topic in self._peer.topics}
                received |= {one.topic: one.counters for one in fetched}
                self._client.turn(received, tuple(one.topic for one in fetched if one.wants_key))
                self._follow()
        except FusionError as error:
            self._error = error

    def watch(self) -> None:
        """Tell the bus what came. Raises what a thread has raised."""
        if self._error is not None:
            raise self._error
        bus, name = self._bus, self._name
        bus.detail[f"{name}.there"] = float(self._client.answer is not None)
        for one in list(self._topics.values()):
            one.check()
            bus.received[f"{one.topic}@{name}"] = one.counters
            if one.waited:
                bus.detail[f"{one.topic}@{name}.waited_for_key"] = one.waited

    def close(self) -> None:
        """End the threads; later calls do nothing."""
        self._done.set()
        self.join()
        for one in self._topics.values():
            one.stop()
        self._topics.clear()
        self._client.close()
        self._context.term()

    def _follow(self) -> None:
        """The peer as it is now: its clock, and a thread for each topic where it serves it."""
        answer, clock = self._client.answer, self._client.clock
        if answer is None:
            if self._client.silent:
                where = self._peer.address
                self._say(f"no answer from {where}: is it on, is its key right, is ours allowed there?")
            return
        if answer.host == self._host and answer.boot_id != self._boot:
            raise ConfigError(
                f"fetch.{self._name}: {self._peer.address} is another machine of this one's name,"
                f" {self._host!r}: ages would be wrong; rename one (hostnamectl hostname NAME)"
            )
        if clock is not None and answer.host != self._host:
            self._bus.clocks[answer.host] = clock
            self._warn_of_wall(answer.host, clock)
        absent = [topic for topic in self._peer.topics if topic not in answer.ports]
        if absent:
            near = difflib.get_close_matches(absent[0], answer.ports, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            self._say(
                f"{self._peer.address} does not serve {', '.join(absent)}: {hint}"
                f"there are {', '.join(answer.ports) or 'none'}"
            )
        else:
            self._say(f"{answer.host} answers")
        for topic in self._peer.topics:
            if topic in answer.ports:
                self._fetch(topic, self._peer.endpoint(answer.ports[topic]))

    def _fetch(self, topic: str, endpoint: str) -> None:
        before, key = self._topics.get(topic), self._client.key
        if before is not None and before.where == (endpoint, key):
            return
        counters = None
        if before is not None:
            before.stop()
            counters = before.counters
        self._topics[topic] = _Fetched(
            topic, (endpoint, key), self._context, self._bus, self._outputs[topic], counters
        )

    def _warn_of_wall(self, host: str, clock: clocks.Clock) -> None:
        off = abs(clock.wall_s) - clock.uncertainty_s > WALL_OFF_S
        if off and not self._warned_wall:
            ahead = "ahead of" if clock.wall_s > 0 else "behind"
            print(
                f"{self._name}: the UNIX time of {host} is {abs(clock.wall_s):.3f} s {ahead} ours, so the"
                " stamps of its sensors and of ours do not belong together: keep both in time (chrony, PTP)",
                file=sys.stderr,
                flush=True,
            )
        self._warned_wall = off

    def _say(self, line: str) -> None:
        if line != self._said:
            print(f"{self._name}: {line}", flush=True)
        self._said = line


class _Fetched(threading.Thread):
    """One topic of one peer."""

    def __init__(
        self,
        topic: str,
        where: tuple[str, str | None],
        context: zmq.Context[Any],
        bus: Bus,
        output: Publisher,
        counters: Received | None,
    ):
        super().__init__(name=f"bridge: {topic}", daemon=True)
        endpoint, key = where
        curve: Curve | None = None
        if key is not None and bus.curve is not None:
            curve = replace(bus.curve, servers={endpoint: key})
        self.topic, self.where = topic, where
        self._output = output
        self._decoder = payloads.Decoder()
        self._done = threading.Event()
        self._error: FusionError | None = None
        self._input = Subscriber(
            {topic: endpoint},
            context=context,
            curve=curve,
            unpack=payloads.unpack,
            queued=QUEUED,
            clocks=bus.clocks,
        )
        if counters is not None:
            self._input.counters[topic] = counters
        self.start()

    @property
    def counters(self) -> Received:
        return self._input.counters[self.topic]

    @property
    def wants_key(self) -> bool:
        return self._decoder.wants_key

    @property
    def waited(self) -> int:
        return self._decoder.waited

    def run(self) -> None:
        try:
            while not self._done.is_set():
                coded = self._input.recv(0.1)
                if coded is not None:
                    self._pass_on(coded)
        except FusionError as error:
            self._error = error
        finally:
            self._input.close()

    def stop(self) -> None:
        self._done.set()
        self.join()

    def check(self) -> None:
        if self._error is not None:
            raise self._error

    def _pass_on(self, coded: Any) -> None:
        try:
            message = self._decoder.decode(coded)
        except MessageError as error:
            self.counters.refuse(error)
            return
        if message is not None:
            self._output.send(message)
