"""Messages from an MQTT broker, as they come. A flood is bounded: the oldest that wait are left out and
counted."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from fusion_rt.sinks.mqtt import Broker, Incoming, Session

WAITING = 2000  # messages that were not taken yet
LONGEST = 1 << 16  # bytes of a payload


class Arrival(NamedTuple):
    """One message, and when it came. retained: the broker had kept it, for how long is not known."""

    topic: str
    payload: bytes
    retained: bool
    arrival_ns: int


class Listener:
    """Subscribes to `topics` whenever the broker is there. Runs from the start until `close`.

    Raises ConfigError: paho-mqtt is missing, or a file is."""

    def __init__(self, broker: Broker, name: str, topics: Sequence[str]) -> None:
        self._waiting: deque[Arrival] = deque()
        self._came = threading.Condition()
        self._too_many = 0
        self._session = Session(
            broker,
            name,
            topics=tuple(topics),
            max_bytes=LONGEST,
            on_message=self._on_message,
            as_published=False,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker is there, and has let us in."""
        return self._session.connected

    @property
    def trouble(self) -> str:
        """Why there is no connection; "" while there is one."""
        return self._session.trouble

    @property
    def left_out(self) -> int:
        """Messages that were not taken in time, or were too large."""
        return self._session.left_out + self._too_many

    def take(self, timeout_s: float) -> list[Arrival]:
        """What has come since; waits for the first, `timeout_s` at most."""
        self._session.take()  # which keeps the connection's protocol up to date
        with self._came:
            if not self._waiting:
                self._came.wait(timeout_s)
            messages = list(self._waiting)
            self._waiting.clear()
        return messages

    def close(self) -> None:
        """Disconnect."""
        self._session.close()

    def _on_message(self, message: Incoming) -> None:
        """In the connection's own thread."""
        arrival = Arrival(message.topic, message.payload, message.retained, time.time_ns())
        with self._came:
            if len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self._too_many += 1
            self._waiting.append(arrival)
            self._came.notify()
