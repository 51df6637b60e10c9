"""A word to one node of a running scenario: pause, snapshot, ..."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from types import MappingProxyType, TracebackType

from fusion_rt.bus import Bus, BusConfig, Publisher
from fusion_rt.errors import ConfigError, NodeError
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
