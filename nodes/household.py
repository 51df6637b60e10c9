"""Household sensors that speak by MQTT: Zigbee2MQTT, ESPHome, Tasmota, ESPresense, anything else with JSON or
plain values. Each becomes a topic of the bus."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing

from fusion_rt.bus import Bus
from fusion_rt.messages import HomeReading
from fusion_rt.scenario import load_plan
from fusion_rt.sensors.household import Household, Source
from fusion_rt.sinks.listening import Listener
from fusion_rt.sinks.mqtt import Broker

LOOK_S = 0.1


class HouseholdConfig(Broker, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The broker (`Broker`), and who speaks there.

    plan       the home's YAML file, which knows what each sensor measures
    sensors    sensor_id of the plan -> where it speaks (`Source`); `fusion-rt home discover` proposes them
    client_id  our name at the broker: one that nobody else there has
    """

    plan: str
    sensors: dict[str, Source]
    client_id: str = ""


def run(config: HouseholdConfig, bus: Bus) -> None:
    """Until told to stop; a broker that is away is tried again and again. Raises ConfigError."""
    household = Household(config.sensors, load_plan(config.plan))
    with ExitStack() as stack:
        outputs = {slug: stack.enter_context(bus.publisher(slug)) for slug in config.sensors}
        listener = stack.enter_context(closing(Listener(config, config.client_id, household.topics)))

        def send(readings: list[HomeReading]) -> None:
            for reading in readings:
                outputs[reading.header.sensor_id].send(reading)

        said = ""
        while not bus.stopping:
            for message in listener.take(LOOK_S):
                send(
                    household.push(
                        message.topic,
                        message.payload,
                        retained=message.retained,
                        arrival_ns=message.arrival_ns,
                    )
                )
            send(household.due(time.time_ns()))
            if listener.trouble != said:
                said = listener.trouble
                print(f"{config.host}:{config.port}: {said or 'connected'}", file=sys.stderr)
            bus.detail["connected"] = float(listener.connected)
            bus.detail["left_out"] = listener.left_out
            for slug, causes in household.counts.items():
                for cause, count in causes.items():
                    bus.detail[f"{slug}.{cause}"] = count
