"""What homes do without us: a PIR with a hold time, the naive Bayes of Home Assistant's Bayesian sensor."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from fusion_rt.home.observation import Array
from fusion_rt.home.room_features import COLUMNS

HOLD_S = 60.0
PRIOR = "prior"
# Observations as users configure them: a column of the room's features, and from which value it is on.
# Each is used only where the room has the sensor.
OBSERVATIONS: dict[str, tuple[str, str, float]] = {
    "motion in the last 30 s": ("motion.known", "motion.since_30", math.exp(-1.0)),
    "door moved in the last 30 s": ("contact.known", "contact.since_30", math.exp(-1.0)),
    "presence": ("presence.known", "presence.on", 0.5),
    "CO2 over 600 ppm": ("air.co2", "air.c", 0.18),
    "CO2 rises 3 ppm a minute": ("air.co2", "air.c_slope_5", 0.3),
    "humidity rises": ("air.humidity", "air.h_slope_2", 0.5),
    "more than 20 lx": ("light.known", "light.lux", math.log1p(20.0) / 7.0),
    "more than 15 W": ("power.known", "power.watts", math.log1p(15.0) / 8.0),
    "louder than 42 dB(A)": ("sound.known", "sound.level_5", 2.0 / 40.0),
    "speech": ("sound.known", "sound.speech_5", 0.5),
    "a beacon within 3 m": ("beacon.known", "beacon.nearest", math.exp(-1.0)),
    "a radar sees points": ("radar.known", "radar.points", 0.1),
    "a camera sees somebody": ("camera.known", "camera.people", 0.1),
}
# P(on | occupied), P(on | empty), and how often a room is occupied: by `fit` over thirty homes of training.
FITTED: dict[str, tuple[float, float]] = {
    PRIOR: (0.3306, 0.0),
    "motion in the last 30 s": (0.383, 0.1036),
    "door moved in the last 30 s": (0.1148, 0.058),
    "presence": (0.2155, 0.5326),
    "CO2 over 600 ppm": (0.9744, 0.9859),
    "CO2 rises 3 ppm a minute": (0.6705, 0.3857),
    "humidity rises": (0.2278, 0.1442),
    "more than 20 lx": (0.7831, 0.31),
    "more than 15 W": (0.4192, 0.0281),
    "louder than 42 dB(A)": (0.5024, 0.3447),
    "speech": (0.2156, 0.1867),
    "a beacon within 3 m": (0.9205, 0.3012),
    "a radar sees points": (0.905, 0.1838),
    "a camera sees somebody": (0.7548, 0.0148),
}


def pir_with_hold(row: Array) -> bool:
    """On while somebody was seen moving in the last HOLD_S."""
    since_300 = float(row[COLUMNS.index("motion.since_300")])
    return since_300 >= math.exp(-HOLD_S / 300.0)


def naive_bayes(row: Array, fitted: dict[str, tuple[float, float]] | None = None) -> float:
    """P(occupied) of one row of the rooms' features, as in Home Assistant's documentation of `bayesian`."""
    fitted = FITTED if fitted is None else fitted
    p, _ = fitted[PRIOR]
    odds = p / (1 - p)
    for name, on in observed(row).items():
        if_there, if_not = fitted[name]
        odds *= if_there / if_not if on else (1 - if_there) / (1 - if_not)
    return odds / (1 + odds)


def observed(row: Array) -> dict[str, bool]:
    """Observation -> whether it is on, of those that the room's sensors make."""
    return {
        name: bool(row[COLUMNS.index(column)] >= least)
        for name, (known, column, least) in OBSERVATIONS.items()
        if row[COLUMNS.index(known)] > 0
    }


def fit(rows: Iterable[tuple[Array, bool]]) -> dict[str, tuple[float, float]]:
    """Of (features of a room, whether somebody is there); add-one smoothing."""
    on = {name: np.ones(2) for name in OBSERVATIONS}
    seen = {name: np.full(2, 2.0) for name in OBSERVATIONS}
    there, total = 1.0, 2.0
    for row, occupied in rows:
        there, total = there + occupied, total + 1
        side = 0 if occupied else 1
        for name, is_on in observed(row).items():
            on[name][side] += is_on
            seen[name][side] += 1
    fitted = {name: tuple((on[name] / seen[name]).round(4).tolist()) for name in OBSERVATIONS}
    return {PRIOR: (round(there / total, 4), 0.0), **fitted}
