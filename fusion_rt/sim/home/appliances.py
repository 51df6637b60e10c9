"""Electrical power of appliances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sim.home.motion import HZ, People
from fusion_rt.sim.home.routine import Household

# What an appliance's sensor is called -> the places where one uses it.
USED_AT = {
    "cooker": ("cooker",),
    "stove": ("cooker",),
    "oven": ("cooker",),
    "coffee": ("counter",),
    "kettle": ("counter",),
    "tv": ("sofa",),
    "television": ("sofa",),
    "computer": ("desk",),
    "desk": ("desk",),
    "pc": ("desk",),
    "fridge": (),
}


def appliance(sensor_id: str) -> str:
    """The appliance that a power sensor's name tells; "" where it tells none."""
    words = sensor_id.split("_")
    return next((name for name in USED_AT if name in words), "")


def power_w(
    sensor_id: str, room: int, house: Household, people: People, rng: np.random.Generator
) -> NDArray[np.float32]:
    """(S,) W, one a second. Plates pulse at full power by their thermostat; a television takes 80 to 140 W,
    and under 1 W in standby (EU 2019/2021); a refrigerator runs a third of the time; a coffee machine heats
    for a minute; and an unnamed plug has a lamp's load that somebody switches."""
    ticks = people.xy.shape[1]
    seconds = (ticks - 1) // HZ + 1
    sample = np.minimum(np.arange(seconds) * HZ, ticks - 1)
    name = appliance(sensor_id)
    t = np.arange(seconds)
    if name == "fridge":
        period, phase = rng.uniform(2000, 3200), rng.uniform(0, 3000)
        run = ((t + phase) % period) < period * rng.uniform(0.28, 0.42)
        return (1.5 + rng.uniform(70, 120) * run).astype(np.float32)
    kinds = np.array([place.kind for place in house.places] + [""])
    there = people.room[:, sample] == room
    if name:
        used = (there & np.isin(kinds[people.place[:, sample]], USED_AT[name])).any(axis=0)
    else:
        used = there.any(axis=0)
    if name in ("cooker", "stove", "oven"):
        # It stays on between two visits of the cook, who forgets it for a minute now and then.
        used = _held(used, 180)
        duty = rng.uniform(0.45, 0.8)
        pulse = ((t % 40) < 40 * duty) | (np.cumsum(used) % 100000 < 90)
        return np.where(used, rng.uniform(1200, 2100) * pulse, 0.8).astype(np.float32)
    if name in ("coffee", "kettle"):
        begins = np.flatnonzero(used & ~np.roll(used, 1))
        load = np.full(seconds, 0.9, np.float32)
        for begin in begins:
            load[begin : begin + int(rng.uniform(45, 120))] = rng.uniform(900, 2000)
        return load
    if name in ("tv", "television"):
        watched = _held(_spells(used, 300, 0.8, rng), 120)
        return np.where(watched, rng.uniform(80, 140) * (1 + 0.05 * rng.normal(size=seconds)), 0.5).astype(
            np.float32
        )
    on = _spells(used, 60, 0.7, rng)
    return np.where(on, rng.uniform(30, 120) * (1 + 0.03 * rng.normal(size=seconds)), 1.0).astype(np.float32)


def _held(used: NDArray[np.bool_], hold: int) -> NDArray[np.bool_]:
    """On for `hold` seconds more."""
    last = np.where(used, np.arange(len(used)), -10 * hold)
    held: NDArray[np.bool_] = np.arange(len(used)) - np.maximum.accumulate(last) <= hold
    return held


def _spells(
    used: NDArray[np.bool_], shortest: int, share: float, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Of the spells of use that last at least so long, a share, begun a few seconds late."""
    edges = np.diff(used.astype(np.int8), prepend=0, append=0)
    on = np.zeros(len(used), bool)
    for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)):
        if end - begin >= shortest and rng.random() < share:
            on[begin + int(rng.uniform(2, 20)) : end] = True
    return on
