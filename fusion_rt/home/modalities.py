"""Which modality a sensor belongs to, what its numbers may be, and for how long they count."""

from __future__ import annotations

from fusion_rt.plan import Sensor

# kind of a sensor in the plan -> modality: what is masked, lost and explained together.
MODALITY = {
    "radar": "radar",
    "camera": "camera",
    "motion": "motion",
    "contact": "contact",
    "presence": "presence",
    "button": "button",
    "smoke": "smoke",
    "temperature": "air",
    "humidity": "air",
    "humidity_ratio": "air",
    "co2": "air",
    "illuminance": "light",
    "power": "power",
    "energy": "power",
    "microphone": "sound",
    "sound_level": "sound",
    "distance": "beacon",
    "imu": "worn",
}
# What the network takes in, in the order of its masks.
FUSED = ("radar", "camera", "motion", "contact", "presence", "air", "light", "power", "sound", "beacon")
# A reading of these asks for a scene at once.
EVENT_KINDS = ("contact", "motion", "button", "smoke")
BINARY = ("motion", "contact", "presence", "button", "smoke")
# kind -> smallest and largest value that is physically there to be measured, in READINGS' unit.
RANGES = {
    "temperature": (-40.0, 85.0),
    "humidity": (0.0, 100.0),
    "humidity_ratio": (0.0, 0.1),
    "co2": (200.0, 40_000.0),
    "illuminance": (0.0, 200_000.0),
    "power": (-100_000.0, 100_000.0),
    "energy": (0.0, 1e9),
    "sound_level": (-20.0, 150.0),
    "distance": (0.0, 200.0),
    **dict.fromkeys(BINARY, (0.0, 1.0)),
}
# Older than this is stale, where the plan gives no period. None: told on change only, so it holds.
STALE_S: dict[str, float | None] = {
    "radar": 1.0,
    "camera": 1.5,
    "microphone": 2.0,
    "imu": 2.0,
    "distance": 30.0,
    "temperature": 1800.0,
    "humidity": 1800.0,
    "humidity_ratio": 1800.0,
    "co2": 1800.0,
    "illuminance": 1800.0,
    "power": 1800.0,
    "energy": 7200.0,
    "sound_level": 30.0,
    **dict.fromkeys(BINARY),
}
LOST_PERIODS = 3.0


def stale_after_s(sensor: Sensor) -> float | None:
    """How old what this sensor told may be; None: any age."""
    if sensor.period_s is not None:
        return max(LOST_PERIODS * sensor.period_s, 0.5)
    return STALE_S[sensor.kind]
