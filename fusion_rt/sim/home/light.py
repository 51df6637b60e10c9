"""Light in every room: daylight by its windows, lamps that people switch."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.plan import Plan
from fusion_rt.scene import ACTIVITIES
from fusion_rt.sim.home.air import STEP_S
from fusion_rt.sim.home.furniture import role
from fusion_rt.sim.home.motion import HZ, People
from fusion_rt.transforms import Array

NOON_LX = 60_000.0  # outdoors, horizontal, clear noon in spring
TV_LX = 12.0


class Light(Struct, frozen=True, kw_only=True):
    """Of R rooms at S steps of a second: lamp (R, S) bool, lux (R, S)."""

    lamp: NDArray[np.bool_]
    lux: NDArray[np.float32]


def illuminate(plan: Plan, people: People, sun: Array, rng: np.random.Generator) -> Light:
    """Daylight factors of 0.1 to 1.5 % (CIE: rooms with windows 0.5-5 % near them); a lamp gives 40 to 200 lx
    where a sensor hangs. One who is awake in a room with less than 60 lx switches its lamp on; the last who
    leaves switches it off, most times; who goes to bed does."""
    ticks = people.xy.shape[1]
    seconds = (ticks - 1) // HZ + 1
    sample = np.minimum(np.arange(seconds) * HZ, ticks - 1)
    lamp = np.zeros((len(plan.rooms), seconds), bool)
    lux = np.zeros((len(plan.rooms), seconds), np.float32)
    sunlight = np.interp(np.arange(seconds) / STEP_S, np.arange(len(sun)), sun) * NOON_LX
    asleep = ACTIVITIES.index("sleeping")
    for r, (slug, room) in enumerate(plan.rooms.items()):
        dark_room = role(slug, room.name) in ("bathroom", "hall")
        factor = rng.uniform(0.0, 0.001) if dark_room else rng.uniform(0.002, 0.015)
        power, daylight = rng.uniform(40, 200), sunlight * factor
        there = people.room[:, sample] == r
        awake = (there & (people.activity[:, sample] != asleep)).any(axis=0)
        sleeper = (there & (people.activity[:, sample] == asleep)).any(axis=0)
        lamp[r] = _switched(awake, sleeper, daylight, rng)
        lux[r] = daylight + power * lamp[r]
    return Light(lamp=lamp, lux=lux)


def _switched(
    awake: NDArray[np.bool_], sleeper: NDArray[np.bool_], daylight: Array, rng: np.random.Generator
) -> NDArray[np.bool_]:
    lamp = np.zeros(len(awake), bool)
    changes = np.flatnonzero(np.diff(awake.astype(np.int8), prepend=0))
    on = False
    # Every two minutes one looks again whether it is too dark.
    for k in sorted({*changes.tolist(), *range(0, len(awake), 120)}):
        before = on
        if awake[k]:
            on = on or (daylight[k] < 60 and not (sleeper[k] and rng.random() < 0.7))
            on = on and daylight[k] < 400
        elif on:
            on = not sleeper[k] and rng.random() < (0.15 if k in changes else 0.999)
        if on != before:
            lamp[k:] = on
    return lamp
