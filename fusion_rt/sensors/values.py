"""One value as a household device writes it, as a number in our unit. What a sensor says of itself that it
does not know is NaN; what cannot be is refused, by cause."""

from __future__ import annotations

import math
import re
from typing import Any

from fusion_rt.home_packets import READINGS

# kind -> what physics or the sensors' makers allow, in READINGS' unit
RANGES = {
    "temperature": (-60.0, 120.0),
    "humidity": (0.0, 100.0),
    "humidity_ratio": (0.0, 0.2),
    "co2": (150.0, 50_000.0),
    "illuminance": (0.0, 200_000.0),
    "power": (-100_000.0, 100_000.0),
    "energy": (0.0, 1e8),
    "sound_level": (-10.0, 160.0),
    "distance": (0.0, 100.0),
}
BINARY = tuple(kind for kind, unit in READINGS.items() if not unit)
# unit as it is written -> ours, factor, summand
UNITS = {
    "°C": ("°C", 1.0, 0.0),
    "°F": ("°C", 5 / 9, -160 / 9),
    "K": ("°C", 1.0, -273.15),
    "%": ("%", 1.0, 0.0),
    "kg/kg": ("kg/kg", 1.0, 0.0),
    "g/kg": ("kg/kg", 1e-3, 0.0),
    "ppm": ("ppm", 1.0, 0.0),
    "lx": ("lx", 1.0, 0.0),
    "klx": ("lx", 1e3, 0.0),
    "W": ("W", 1.0, 0.0),
    "kW": ("W", 1e3, 0.0),
    "mW": ("W", 1e-3, 0.0),
    "kWh": ("kWh", 1.0, 0.0),
    "Wh": ("kWh", 1e-3, 0.0),
    "MWh": ("kWh", 1e3, 0.0),
    "dB(A)": ("dB(A)", 1.0, 0.0),
    "m": ("m", 1.0, 0.0),
    "cm": ("m", 1e-2, 0.0),
    "mm": ("m", 1e-3, 0.0),
    "ft": ("m", 0.3048, 0.0),
    "in": ("m", 0.0254, 0.0),
}
_OTHER_NAMES = {
    **{
        "C": "°C",
        "degC": "°C",
        "celsius": "°C",
        "℃": "°C",
        "F": "°F",
        "degF": "°F",
        "fahrenheit": "°F",
        "℉": "°F",
    },
    **{"lux": "lx", "dB": "dB(A)", "dBA": "dB(A)", "%RH": "%"},
}
_UNKNOWN = ("unavailable", "unknown", "none", "null", "nan", "n/a", "")
_ON = ("on", "true", "1", "yes", "open", "detected", "occupied", "motion", "home", "pressed", "wet")
_OFF = ("off", "false", "0", "no", "closed", "clear", "unoccupied", "not_home", "dry")
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(\D*)")


class Refused(Exception):
    """The cause under which a value is counted: "type", "unit", "range"."""


def known_unit(kind: str, unit: str) -> bool:
    """Whether a reading of this kind can be in this unit."""
    name = _OTHER_NAMES.get(unit, unit)
    return UNITS[name][0] == READINGS[kind] if name in UNITS else unit == READINGS[kind]


def unknown(raw: Any) -> bool:
    """Whether a device says by this that it does not know."""
    if isinstance(raw, str):
        return raw.strip().lower() in _UNKNOWN
    return raw is None or (isinstance(raw, float) and math.isnan(raw))


def value(
    kind: str,
    raw: Any,
    *,
    unit: str = "",
    scale: float = 1.0,
    on: tuple[str, ...] = (),
    inverted: bool = False,
) -> float:
    """`raw` (a JSON value or a word) of a reading of this kind, in READINGS' unit; NaN where the sensor
    does not know.

    unit   of a number, where `raw` does not say its own; "": ours
    scale  on top of it
    on     of a kind that is 0 or 1: words that mean 1, all others meaning 0

    Raises Refused."""
    raw = raw.strip() if isinstance(raw, str) else raw
    if unknown(raw):
        return math.nan
    return _binary(raw, on) != inverted if kind in BINARY else _number(kind, raw, unit, scale)


def _binary(raw: Any, on: tuple[str, ...]) -> bool:
    if on:
        return str(raw) in on
    if isinstance(raw, (bool, int, float)):
        if raw not in (0, 1):
            raise Refused("range")
        return bool(raw)
    word = raw.lower() if isinstance(raw, str) else None
    if word not in (*_ON, *_OFF):
        raise Refused("type")
    return word in _ON


def _number(kind: str, raw: Any, unit: str, scale: float) -> float:
    if isinstance(raw, str):
        match = _NUMBER.fullmatch(raw)
        if match is None:
            raise Refused("type")
        raw, unit = float(match[1]), match[2].strip() or unit
    if isinstance(raw, bool) or not isinstance(raw, (int, float)):
        raise Refused("type")
    if unit:
        if not known_unit(kind, unit):
            raise Refused("unit")
        _, factor, summand = UNITS[_OTHER_NAMES.get(unit, unit)]
    else:
        factor, summand = 1.0, 0.0
    low, high = RANGES[kind]
    try:
        number = float(raw) * scale * factor + summand
    except OverflowError:
        raise Refused("range") from None
    if not low <= number <= high:
        raise Refused("range")
    return number
