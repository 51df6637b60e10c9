"""A word to one node of a running scenario: pause, snapshot, ..."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType, TracebackType
from typing import TypeAlias

from fusion_rt.bus import Bus, BusConfig, Publisher
from fusion_rt.errors import BusError, ConfigError, NodeError
from fusion_rt.messages import Command, Header

WAIT_S = 3.0
LISTENS_S = 1.0  # who does not within it is told later
AGAIN_S = 5.0

Order: TypeAlias = tuple[str, dict[str, str]]  # an intent and its slots


def topic(node: str) -> str:
    """Where a node listens for commands, if it does."""
    return f"tell.{node}"


def command(to: str, intent: str, slots: dict[str, str] | None = None, *, seq: int = 0) -> Command:
    """The message: frame_id is the topic it goes to."""
    header = Header(sensor_id="tell", frame_id=to, seq=seq, stamp_ns=time.time_ns())
    return Command(header=header, intent=intent, slots=slots or {})


def tell(bus: Bus, node: str, intent: str, slots: dict[str, str] | None = None) -> None:
    """Send the command. Raises NodeError where the node does not listen."""
    to = topic(node)
    with bus.publisher(to, "event") as publisher:
        if not publisher.wait_for_subscribers(1, WAIT_S):
            raise NodeError(
                f"{node} does not listen for commands in {bus.run_dir}: is it running?"
                " `--config` names the scenario whose bus it uses"
            )
        publisher.send(command(to, intent, slots))


def parse(words: Sequence[str]) -> tuple[str, dict[str, str]]:
    """What a person types as an intent and its slots: "pause", "seek 12.5", "seek +5", "speed 2".

    Raises ConfigError."""
    intent, *values = words
    if intent == "seek" and len(values) == 1:
        return intent, {"by_s" if values[0][0] in "+-" else "to_s": values[0]}
    if intent == "speed" and len(values) == 1:
        return intent, {"x": values[0]}
    if values:
        raise ConfigError(f"{' '.join(words)}: expected one word; or seek 12.5, seek +5, speed 0.5")
    return intent, {}


class StandingOrders(threading.Thread):
    """Commands that hold until others replace them: told when they change, and again to a node that has
    started anew. Who does not listen is told later; nobody waits for it.

    listeners  who may be told (`topic`) -> the node behind it, whose health tells of a new start
    error      what ended the thread, if something did"""

    def __init__(self, bus: Bus, listeners: Mapping[str, str]):
        super().__init__(name="standing orders", daemon=True)
        self.error: BusError | None = None
        self._bus, self._nodes, self._seq = bus, dict(listeners), 0
        self._pids: dict[str, int] = {}
        self._orders: dict[str, dict[str, Order]] = {listener: {} for listener in listeners}
        self._due: dict[str, set[str]] = {listener: set() for listener in listeners}
        self._try_s = dict.fromkeys(listeners, 0.0)
        self._lock = threading.Lock()
        self._done = threading.Event()

    def put(self, listener: str, key: str, intent: str, slots: dict[str, str] | None = None) -> None:
        """What holds for this one from now on, under this key. Raises KeyError for one that is not known."""
        with self._lock:
            self._orders[listener][key] = (intent, slots or {})
            self._due[listener].add(key)
            self._try_s[listener] = 0.0

    @property
    def due(self) -> int:
        """How many have not been told yet."""
        with self._lock:
            return sum(len(keys) for keys in self._due.values())

    def run(self) -> None:
        if not self._nodes:
            return
        try:
            with self._bus.health(set(self._nodes.values())) as healths:
                while not self._done.is_set():
                    health = healths.recv(0.1)
                    if health is not None and health.state != "stopping":
                        self._heard(health.node, health.pid)
                    for listener in self._nodes:
                        self._carry_out(listener)
        except BusError as error:
            self.error = error

    def close(self) -> None:
        """End the thread."""
        self._done.set()
        if self.ident is not None:
            self.join()

    def _heard(self, node: str, pid: int) -> None:
        before = self._pids.get(node)
        self._pids[node] = pid
        if before in (None, pid):
            return
        with self._lock:
            for listener in (name for name, behind in self._nodes.items() if behind == node):
                self._due[listener] = set(self._orders[listener])
                self._try_s[listener] = 0.0

    def _carry_out(self, listener: str) -> None:
        with self._lock:
            due = {key: self._orders[listener][key] for key in self._due[listener]}
            if not due or time.monotonic() < self._try_s[listener]:
                return
            self._try_s[listener] = time.monotonic() + AGAIN_S
        if self._tell(listener, list(due.values())):
            with self._lock:
                # One that was replaced meanwhile is still due.
                told = {key for key, order in due.items() if self._orders[listener][key] == order}
                self._due[listener] -= told
                self._try_s[listener] = 0.0

    def _tell(self, listener: str, orders: list[Order]) -> bool:
        """Opened for the moment only: `fusion-rt tell` uses the same topic."""
        to, bus = topic(listener), self._bus
        try:
            publisher = Publisher(bus.endpoint(to), to, kind="event", context=bus.context, curve=bus.curve)
        except BusError:
            return False  # somebody else is telling: soon
        with publisher:
            if not publisher.wait_for_subscribers(1, LISTENS_S):
                return False
            for intent, slots in orders:
                publisher.send(command(to, intent, slots, seq=self._seq))
                self._seq += 1
        return True


class Steering:
    """A replay by the keys of the terminal; node None: there is nothing to steer."""

    HINT = "space pauses, arrows seek 5 s, + and - change the speed, Ctrl-C stops"
    KEYS = MappingProxyType({"space": "toggle", "left": "seek -5", "right": "seek +5"})

    def __init__(self, config: BusConfig, node: str | None) -> None:
        self._config, self._node = config, node
        self._bus: Bus | None = None
        self._output: Publisher | None = None
        self._speed, self._seq = 1.0, 0

    def press(self, keys: Iterable[str]) -> None:
        """Send what they stand for."""
        for key in keys:
            words = self.KEYS.get(key, "")
            if key in "+-":
                self._speed = min(max(self._speed * (2 if key == "+" else 0.5), 1 / 64), 64)
                words = f"speed {self._speed:g}"
            if words:
                self._send(words)

    def _send(self, words: str) -> None:
        to = f"keys.{self._node}"
        if self._output is None:
            # Now, not at the start: by then it is sure that this is the only run in the folder.
            self._bus = Bus(self._config)
            self._output = self._bus.publisher(to, "event")
            self._output.wait_for_subscribers(1, WAIT_S)
        self._output.send(command(to, *parse(words.split()), seq=self._seq))
        self._seq += 1

    def __enter__(self) -> Steering:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bus is not None:
            self._bus.close()
