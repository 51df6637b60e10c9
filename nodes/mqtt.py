"""Topics for an MQTT broker."""

from __future__ import annotations

from contextlib import closing
from typing import Literal

from fusion_rt.bus import Bus
from fusion_rt.sinks import Outgoing, Pump
from fusion_rt.sinks.mqtt import Broker, MqttSender


class MqttConfig(Broker, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker (`Broker`), and what it is sent.

    topics     topic -> how it goes out; health.NODE is a node's health
    prefix     of the broker's topics: PREFIX/TOPIC
    client_id  our name at the broker: one that nobody else there has
    qos        0 at most once, 1 at least once, 2 exactly once
    retain     a topic's newest message is kept by the broker for those that come later
    """

    topics: dict[str, Outgoing]
    prefix: str = "fusion_rt"
    client_id: str = ""
    qos: Literal[0, 1, 2] = 0
    retain: bool = False


def run(config: MqttConfig, bus: Bus) -> None:
    """Until told to stop; a broker that is away is tried again and again. Raises ConfigError."""
    with (
        closing(MqttSender(config, config.client_id, qos=config.qos, retain=config.retain)) as sender,
        closing(Pump(bus, sender, config.topics, config.prefix)) as pump,
    ):
        while not bus.wait(0.2):
            pump.watch()
