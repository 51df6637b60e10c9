"""Topics for a Zenoh router."""

from __future__ import annotations

from contextlib import closing

from fusion_rt.bus import Bus
from fusion_rt.sinks import Outgoing, Pump
from fusion_rt.sinks.zenoh import Router, ZenohSender


class ZenohConfig(Router, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The router (`Router`), and what it is sent.

    topics  topic -> how it goes out; health.NODE is a node's health
    prefix  of the keys: PREFIX/TOPIC
    """

    topics: dict[str, Outgoing]
    prefix: str = "fusion_rt"


def run(config: ZenohConfig, bus: Bus) -> None:
    """Until told to stop; a router that is away is tried again and again. Raises ConfigError."""
    with (
        closing(ZenohSender(config)) as sender,
        closing(Pump(bus, sender, config.topics, config.prefix)) as pump,
    ):
        while not bus.wait(0.2):
            pump.watch()
