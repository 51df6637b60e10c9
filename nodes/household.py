"""Household sensors that speak by MQTT: Zigbee2MQTT, ESPHome, Tasmota, ESPresense, anything else with JSON or
plain values. Each becomes a topic of the bus."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, closing

from fusion_rt.bus import Bus, Publisher
from fusion_rt.messages import HomeReading
from fusion_rt.scenario import load_plan
from fusion_rt.sensors.household import Household, Source, told
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


class _Output:
    """One sensor's topic. Whoever comes late is told the newest reading again, as a door may not move for
    hours; with its own stamp, by which those who had it know it. Buttons are pressed once."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._newest: HomeReading | None = None
        self._subscribers = 0

    def send(self, reading: HomeReading) -> None:
        self._newest = None if reading.kind == "button" else reading
        self._subscribers = self._publisher.subscribers
        self._publisher.send(reading)

    def look(self) -> None:
        before, self._subscribers = self._subscribers, self._publisher.subscribers
        if self._subscribers > before and self._newest is not None:
            self._publisher.send(told(self._newest, time.time_ns()))


def run(config: HouseholdConfig, bus: Bus) -> None:
    """Until told to stop; a broker that is away is tried again and again. Raises ConfigError."""
    household = Household(config.sensors, load_plan(config.plan))
    with ExitStack() as stack:
        outputs = {slug: _Output(stack.enter_context(bus.publisher(slug))) for slug in config.sensors}
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
            for output in outputs.values():
                output.look()
            if listener.trouble != said:
                said = listener.trouble
                print(f"{config.host}:{config.port}: {said or 'connected'}", file=sys.stderr)
            bus.detail["connected"] = float(listener.connected)
            bus.detail["left_out"] = listener.left_out
            for slug, causes in household.counts.items():
                for cause, count in causes.items():
                    bus.detail[f"{slug}.{cause}"] = count
