"""A word to one node of a running scenario: pause, snapshot, ..."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from types import MappingProxyType, TracebackType

from fusion_rt.bus import Bus, BusConfig, Publisher
from fusion_rt.errors import BusError, ConfigError, NodeError
from fusion_rt.messages import Command, Header

WAIT_S = 3.0


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
    """Commands that hold until others replace them: told to each node when they change, and again to one that
    has started anew. A node that does not run is told when it does; nobody waits for it.

    nodes  those that will be told
    error  what ended the thread, if something did"""

    def __init__(self, bus: Bus, nodes: Iterable[str]):
        super().__init__(name="standing orders", daemon=True)
        self.error: BusError | None = None
        self._bus, self._seq = bus, 0
        self._pids: dict[str, int] = {}
        self._orders: dict[str, dict[str, tuple[str, dict[str, str]]]] = {node: {} for node in nodes}
        self._due: dict[str, set[str]] = {node: set() for node in self._orders}
        self._lock = threading.Lock()
        self._done = threading.Event()

    def put(self, node: str, key: str, intent: str, slots: dict[str, str]) -> None:
        """What holds for this node from now on, under this key. Raises KeyError for a node not in `nodes`."""
        with self._lock:
            self._orders[node][key] = (intent, slots)
            self._due[node].add(key)

    @property
    def due(self) -> int:
        """How many have not been told yet."""
        with self._lock:
            return sum(len(keys) for keys in self._due.values())

    def run(self) -> None:
        if not self._orders:
            return
        try:
            with self._bus.health(self._orders) as healths:
                while not self._done.is_set():
                    health = healths.recv(0.1)
                    if health is not None and health.state != "stopping":
                        self._heard(health.node, health.pid)
        except BusError as error:
            self.error = error

    def close(self) -> None:
        """End the thread."""
        self._done.set()
        if self.ident is not None:
            self.join()

    def _heard(self, node: str, pid: int) -> None:
        with self._lock:
            if self._pids.get(node) != pid:
                self._pids[node] = pid
                self._due[node] = set(self._orders[node])
            due = {key: self._orders[node][key] for key in self._due[node]}
        if due and self._tell(node, list(due.values())):
            with self._lock:
                # One that was replaced meanwhile is still due.
                self._due[node] -= {key for key, order in due.items() if self._orders[node][key] == order}

    def _tell(self, node: str, orders: list[tuple[str, dict[str, str]]]) -> bool:
        """Opened for the moment only: `fusion-rt tell` uses the same topic."""
        to, bus = topic(node), self._bus
        try:
            publisher = Publisher(bus.endpoint(to), to, kind="event", context=bus.context, curve=bus.curve)
        except BusError:
            return False  # somebody else is telling: soon
        with publisher:
            if not publisher.wait_for_subscribers(1, WAIT_S):
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
