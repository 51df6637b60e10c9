"""From the bus to a router, a thread a topic. What the router does not take is left out and counted; it is
never waited for, and nothing piles up."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Annotated, Protocol

from msgspec import Meta, Struct

from fusion_rt.bus import Bus, Subscriber
from fusion_rt.errors import FusionError
from fusion_rt.sinks.forms import Form, to_json, to_raw

HEALTH = "health."


class Outgoing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one topic goes out.

    forms        json: KEY; raw: KEY/raw, the bus's own frame with all arrays
    max_rate_hz  those between are left out; null: every message
    """

    forms: tuple[Form, ...] = ("json",)
    max_rate_hz: Annotated[float, Meta(gt=0)] | None = None


class Sender(Protocol):
    """A connection to a router, which comes and goes; the same for all threads."""

    @property
    def connected(self) -> bool:
        """Whether the router is there."""

    def send(self, key: str, data: bytes) -> bool:
        """Hand over at once, or not at all: False."""

    def close(self) -> None:
        """Disconnect."""


class Pump:
    """Runs from the start until `close`.

    topics  topic -> how it goes out; health.NODE is a node's health, as JSON
    prefix  of the keys: PREFIX/TOPIC"""

    def __init__(self, bus: Bus, sender: Sender, topics: Mapping[str, Outgoing], prefix: str):
        self._bus, self._sender = bus, sender
        self._threads = [
            _Topic(bus, sender, topic, out, f"{prefix}/{topic}") for topic, out in topics.items()
        ]
        for thread in self._threads:
            thread.start()

    def watch(self) -> None:
        """Tell the bus what went out. Raises what a thread has raised."""
        self._bus.detail["connected"] = float(self._sender.connected)
        for thread in self._threads:
            if thread.error is not None:
                raise thread.error
            self._bus.detail[f"{thread.topic}.sent"] = thread.sent
            if thread.left_out:
                self._bus.detail[f"{thread.topic}.left_out"] = thread.left_out

    def close(self) -> None:
        """End the threads; the sender is the caller's."""
        for thread in self._threads:
            thread.done.set()
        for thread in self._threads:
            thread.join()


class _Topic(threading.Thread):
    def __init__(self, bus: Bus, sender: Sender, topic: str, out: Outgoing, key: str):
        super().__init__(name=f"sink: {topic}", daemon=True)
        self.topic, self.sent, self.left_out = topic, 0, 0
        self.done = threading.Event()
        self.error: FusionError | None = None
        self._sender, self._key = sender, key
        self._forms: tuple[Form, ...] = ("json",) if topic.startswith(HEALTH) else out.forms
        self._period_s = 0.0 if out.max_rate_hz is None else 1.0 / out.max_rate_hz
        self._input: Subscriber
        if topic.startswith(HEALTH):
            self._input = bus.health([topic.removeprefix(HEALTH)])
        else:
            self._input = bus.subscriber([topic])

    def run(self) -> None:
        due = time.monotonic()
        try:
            while not self.done.is_set():
                message = self._input.recv(0.1)
                if message is None or time.monotonic() < due:
                    continue
                due = max(due + self._period_s, time.monotonic() - self._period_s)
                for form in self._forms:
                    data = to_json(message) if form == "json" else to_raw(self.topic, message)
                    if self._sender.send(self._key if form == "json" else f"{self._key}/raw", data):
                        self.sent += 1
                    else:
                        self.left_out += 1
        except FusionError as error:
            self.error = error
