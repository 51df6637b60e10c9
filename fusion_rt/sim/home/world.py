"""Everything about a simulated home that its sensors look at."""

from __future__ import annotations

import datetime
import zlib

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.home_truth import TrueEvent
from fusion_rt.plan import Plan
from fusion_rt.sim.home.air import STEP_S, Air, breathe, sunshine
from fusion_rt.sim.home.config import HomeSimConfig
from fusion_rt.sim.home.doors import Doors, operate
from fusion_rt.sim.home.furnishing import furnish
from fusion_rt.sim.home.happenings import happen
from fusion_rt.sim.home.light import Light, illuminate
from fusion_rt.sim.home.motion import HZ, People, move
from fusion_rt.sim.home.routine import Household, settle

TICK_NS = 1_000_000_000 // HZ


class World(Struct, frozen=True, kw_only=True):
    """A home and all that went on in it; people's ticks are 0.1 s, `config.start_ns` is tick 0.

    closed  (T,): bit d set where door d is closed
    """

    plan: Plan
    config: HomeSimConfig
    seed: int
    house: Household
    people: People
    doors: Doors
    closed: NDArray[np.uint32]
    air: Air
    light: Light
    events: list[TrueEvent]

    @classmethod
    def make(cls, plan: Plan, config: HomeSimConfig, seed: int) -> World:
        """The same home, bit for bit, for the same arguments."""
        house = settle(plan, furnish(plan, stream(seed, "furniture")), config, stream(seed, "routine"))
        people = move(house, config.hours, stream(seed, "motion"))
        doors = operate(plan, people, stream(seed, "doors"))
        steps = (people.xy.shape[1] - 1) // (STEP_S * HZ) + 1
        start = datetime.datetime.fromtimestamp(config.start_ns // 1_000_000_000, datetime.timezone.utc)
        clock_s = (start.hour * 3600 + start.minute * 60 + start.second + config.utc_offset_h * 3600) % 86400
        day = start.timetuple().tm_yday
        sun = sunshine(day, clock_s, steps, config.latitude_deg, stream(seed, "sun"))
        air = breathe(plan, house, people, doors, config.climate, clock_s, sun, stream(seed, "air"))
        return cls(
            plan=plan,
            config=config,
            seed=seed,
            house=house,
            people=people,
            doors=doors,
            closed=doors.closed_bits(),
            air=air,
            light=illuminate(plan, people, sun, stream(seed, "light")),
            events=happen(house, people, doors, config, stream(seed, "events")),
        )

    @property
    def ticks(self) -> int:
        return int(self.people.xy.shape[1])

    def rng(self, name: str) -> np.random.Generator:
        """The noise of one sensor: it does not change when another sensor is added."""
        return stream(self.seed, "sensor " + name)

    def room_index(self, slug: str) -> int:
        """-1: outside."""
        return list(self.plan.rooms).index(slug) if slug in self.plan.rooms else -1


def stream(seed: int, name: str) -> np.random.Generator:
    """Random numbers of one part of the simulation."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])
