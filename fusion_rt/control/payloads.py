"""A command as a device understands it.

Zigbee2MQTT: https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html
Tasmota: https://tasmota.github.io/docs/Commands/
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from fusion_rt.errors import ConfigError
from fusion_rt.plan import Device

Shape = Literal["zigbee2mqtt", "tasmota", "plain"]
SWITCHED = ("on", "off", "toggle")
# kind of device -> what it can be told
OF_KIND: dict[str, tuple[str, ...]] = {
    "light": (*SWITCHED, "brightness"),
    "switch": SWITCHED,
    "fan": SWITCHED,
    "cover": ("open", "close", "stop", "position"),
    "media": SWITCHED,
    "lock": ("lock", "unlock"),
    "alarm": ("on", "off"),
    "heater": (*SWITCHED, "temperature"),
    "coffee_maker": SWITCHED,
}
COMMANDS = tuple(dict.fromkeys(word for words in OF_KIND.values() for word in words))
# command -> what its number is, lowest, highest
NUMBERS = {"brightness": ("%", 0, 100), "position": ("%", 0, 100), "temperature": ("°C", 5, 30)}
# What an intent asks for; others name the command itself. `set` has a slot of the command's name.
OF_INTENT = {"turn_on": "on", "turn_off": "off"}
OF_LOCK = {"open": "unlock", "close": "lock"}
TASMOTA = {
    **dict.fromkeys(SWITCHED, "POWER"),
    "brightness": "Dimmer",
    "open": "ShutterOpen1",
    "close": "ShutterClose1",
    "stop": "ShutterStop1",
    "position": "ShutterPosition1",
}
# Ours, Home Assistant's and the broker's own: a rule would talk to itself.
FORBIDDEN = ("fusion_rt/", "homeassistant/", "$")


class Order(Struct, frozen=True):
    """What goes to the broker; never retained: a device that comes back later must not obey an old one."""

    topic: str
    payload: str


def shape_of(topic: str) -> Shape:
    """By what the topic looks like: cmnd/NAME/POWER is Tasmota's, .../set Zigbee2MQTT's."""
    if topic.startswith("cmnd/"):
        return "tasmota"
    return "zigbee2mqtt" if topic.endswith("/set") else "plain"


def asked(intent: str, slots: Mapping[str, str], kind: str) -> tuple[str, float | None]:
    """The command and value that an intent means for a device of this kind. A number that is none is NaN:
    `render` refuses it."""
    if intent == "set":
        command = next((word for word in NUMBERS if word in slots), intent)
        try:
            return command, float(slots.get(command, "nan"))
        except ValueError:
            return command, math.nan
    if kind == "lock" and intent in OF_LOCK:
        return OF_LOCK[intent], None
    return OF_INTENT.get(intent, intent), None


def check_topic(topic: str, where: str) -> None:
    """Raises ConfigError where a command must not go."""
    if any(c in topic for c in "+#\0") or not topic.isprintable() or len(topic.encode()) > 256:
        raise ConfigError(f"{where}: {topic!r} is no topic to publish to")
    if topic.startswith(FORBIDDEN):
        raise ConfigError(f"{where}: {topic!r} is not a device's: {', '.join(FORBIDDEN)} are for others")


def render(device: Device, shape: Shape, command: str, value: float | None, where: str) -> Order:
    """The order. `where` names the place in errors. Raises ConfigError: no such command, a wrong value."""
    if command not in OF_KIND[device.kind]:
        raise ConfigError(f"{where}: a {device.kind} knows no {command!r}: {', '.join(OF_KIND[device.kind])}")
    if command in NUMBERS:
        unit, low, high = NUMBERS[command]
        if value is None or not math.isfinite(value) or not low <= value <= high:
            raise ConfigError(f"{where}: {command} needs a `value` of {low} to {high} {unit}, got {value}")
    elif value is not None:
        raise ConfigError(f"{where}: {command} takes no `value`")
    if shape == "zigbee2mqtt":
        return Order(device.topic, json.dumps(_zigbee2mqtt(command, value)))
    if shape == "tasmota":
        return _tasmota(device.topic, command, value, where)
    return Order(device.topic, f"{value:g}" if value is not None else command.upper())


def _zigbee2mqtt(command: str, value: float | None) -> dict[str, str | float]:
    if command == "brightness":
        return {"brightness": round(2.54 * (value or 0.0))}
    if command == "temperature":
        return {"current_heating_setpoint": value or 0.0}
    if command == "position":
        return {"position": value or 0.0}
    return {"state": command.upper()}


def _tasmota(topic: str, command: str, value: float | None, where: str) -> Order:
    parts = topic.split("/")
    if len(parts) != 3 or parts[0] != "cmnd":
        raise ConfigError(f"{where}: Tasmota's topics are cmnd/NAME/POWER, got {topic!r}")
    word = TASMOTA.get(command)
    if word is None:
        raise ConfigError(f"{where}: Tasmota has no {command!r} here: {', '.join(TASMOTA)}")
    # POWER2 and the like are a device's further outputs.
    last = parts[2] if word == "POWER" and parts[2].upper().startswith("POWER") else word
    said = f"{value:g}" if value is not None else command.upper() if word == "POWER" else ""
    return Order(f"cmnd/{parts[1]}/{last}", said)
