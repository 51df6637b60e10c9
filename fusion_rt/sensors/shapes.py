"""Where household devices put what they measure into MQTT messages: Zigbee2MQTT, ESPHome, Tasmota,
ESPresense.

Sources: Zigbee2MQTT, "MQTT topics and messages" and "Exposes"; ESPHome, "MQTT client component" (topics
PREFIX/COMPONENT/NAME/state, birth and will on PREFIX/status); Tasmota, "MQTT" (tele/NAME/SENSOR, LWT, stat);
ESPresense, "MQTT" (espresense/devices/DEVICE/ROOM).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec

Shape = Literal["zigbee2mqtt", "esphome", "tasmota", "espresense", "json", "plain"]

# kind -> names of its JSON field, the first that is there; "*" stands for any name
FIELDS: dict[str, dict[str, tuple[str, ...]]] = {
    "zigbee2mqtt": {
        "motion": ("occupancy", "motion"),
        "contact": ("contact",),
        "presence": ("presence", "occupancy"),
        "button": ("action",),
        "smoke": ("smoke",),
        "temperature": ("temperature", "local_temperature", "device_temperature"),
        "humidity": ("humidity",),
        "co2": ("co2",),
        # Before version 2 `illuminance` was a raw number, and `illuminance_lux` what it meant.
        "illuminance": ("illuminance_lux", "illuminance"),
        "power": ("power",),
        "energy": ("energy",),
        "sound_level": ("noise",),
        "distance": ("target_distance", "distance"),
    },
    "tasmota": {
        "motion": ("Switch1", "*.Motion"),
        "contact": ("Switch1",),
        "presence": ("Switch1",),
        "button": ("Button1.Action",),
        "temperature": ("*.Temperature",),
        "humidity": ("*.Humidity",),
        "co2": ("*.CarbonDioxide", "*.eCO2"),
        "illuminance": ("*.Illuminance",),
        "power": ("ENERGY.Power",),
        "energy": ("ENERGY.Total",),
        "distance": ("*.Distance",),
    },
    "espresense": {"distance": ("distance",)},
}
# Where the shape's own unit is not ours.
SHAPE_UNITS = {("tasmota", "distance"): "cm"}
TEMPERATURE_UNIT = "TempUnit"  # Tasmota says it in each message
# In Zigbee2MQTT `contact` is true where the two parts touch: closed.
INVERTED = (("zigbee2mqtt", "contact"),)
# When it was measured, by the payload's own account.
TIMES = ("last_seen", "last_changed", "timestamp", "time", "Time")
LONGEST = 1 << 16  # bytes of a payload

_NOTHING = object()


class NotThere(Exception):
    """The message is sound, and says nothing of this kind."""


class Malformed(Exception):
    """The message is not what its shape says."""


def availability(shape: str, topic: str) -> tuple[str, ...]:
    """The topics where a device that sends to `topic` says whether it is there."""
    parts = topic.split("/")
    if shape == "zigbee2mqtt":
        return (f"{topic}/availability", f"{parts[0]}/bridge/state")
    if shape == "esphome" and len(parts) > 3:
        return ("/".join([*parts[:-3], "status"]),)
    if shape == "tasmota" and len(parts) > 2:
        return ("/".join(["tele", *parts[1:-1], "LWT"]),)
    if shape == "espresense" and len(parts) == 4:
        return (f"espresense/rooms/{parts[3]}/status",)
    return ()


def online(payload: bytes) -> bool | None:
    """What an availability message says; None: nothing that is known."""
    try:
        data = decoded(payload)
    except Malformed:
        return None
    word = data.get("state") if isinstance(data, dict) else data
    return {"online": True, "offline": False}.get(str(word).lower())


def decoded(payload: bytes) -> Any:
    """The payload as JSON, or as the word that it is. Raises Malformed."""
    if len(payload) > LONGEST:
        raise Malformed("too_large")
    try:
        return msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise Malformed("malformed") from None
    if text.lstrip()[:1] in ("{", "["):
        raise Malformed("malformed")
    return text


def field(data: Any, names: tuple[str, ...]) -> Any:
    """The first of `names` ("a.b": within) that is there. Raises NotThere, Malformed."""
    if not isinstance(data, dict):
        raise Malformed("malformed")
    for name in names:
        for found in _lookup(data, name.split(".")):
            return found
    raise NotThere


def _lookup(data: Any, path: list[str]) -> Iterator[Any]:
    if not path:
        yield data
    elif isinstance(data, dict):
        inside = data.values() if path[0] == "*" else [data.get(path[0], _NOTHING)]
        for part in inside:
            if part is not _NOTHING:
                yield from _lookup(part, path[1:])


def measured_ns(data: Any) -> int | None:
    """UNIX ns of the payload's own time: ISO 8601 with its zone, or seconds or milliseconds since 1970.
    None where it has none; a local time without its zone is none."""
    if not isinstance(data, dict):
        return None
    for name in TIMES:
        stamp = time_ns(data.get(name))
        if stamp is not None:
            return stamp
    return None


def time_ns(raw: Any) -> int | None:
    """One time, written as `measured_ns` says."""
    if isinstance(raw, str):
        try:
            when = datetime.fromisoformat(raw.strip().replace("Z", "+00:00"))
        except ValueError:
            return None
        if when.tzinfo is None:
            return None
        return round(when.timestamp() * 1e6) * 1000
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        return None
    if 1e8 < raw < 1e11:
        return round(raw * 1e6) * 1000
    if 1e11 < raw < 1e14:
        return round(raw * 1e3) * 1000
    return None
