"""Messages from an MQTT broker, as they come. A flood is bounded: the oldest that wait are left out and
counted."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from fusion_rt.sinks.mqtt import Broker, client

WAITING = 2000  # messages that were not taken yet
LONGEST = 1 << 16  # bytes of a payload


class Incoming(Struct, frozen=True):
    """One message. retained: the broker had kept it, for how long is not known."""

    topic: str
    payload: bytes
    retained: bool
    arrival_ns: int


class Listener:
    """Subscribes to `topics` whenever the broker is there. Runs from the start until `close`.

    left_out  messages that were not taken in time, or were too large

    Raises ConfigError: paho-mqtt is missing, or a file is."""

    def __init__(self, broker: Broker, name: str, topics: Sequence[str]) -> None:
        self._topics = list(topics)
        self._waiting: deque[Incoming] = deque()
        self._came = threading.Condition()
        self.left_out = 0
        self.trouble = ""
        self._client = client(broker, name)
        self._client.on_connect, self._client.on_message = self._on_connect, self._on_message
        self._client.connect_async(broker.host, broker.port)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """Whether the broker is there, and has let us in."""
        return bool(self._client.is_connected())

    def take(self, timeout_s: float) -> list[Incoming]:
        """What has come since; waits for the first, `timeout_s` at most."""
        with self._came:
            if not self._waiting:
                self._came.wait(timeout_s)
            messages = list(self._waiting)
            self._waiting.clear()
        return messages

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    # The rest runs in paho's thread.

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.trouble = f"the broker refuses: {reason}" if reason.is_failure else ""
        if not reason.is_failure and self._topics:
            client.subscribe([(topic, 1) for topic in self._topics])

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        arrival_ns = time.time_ns()
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = None
        with self._came:
            if topic is None or len(message.payload) > LONGEST:
                self.left_out += 1
                return
            if len(self._waiting) >= WAITING:
                self._waiting.popleft()
                self.left_out += 1
            self._waiting.append(Incoming(topic, bytes(message.payload), bool(message.retain), arrival_ns))
            self._came.notify()
