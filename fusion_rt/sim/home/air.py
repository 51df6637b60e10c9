"""Air and heat of every room: balances of CO2, water and heat, in steps of ten seconds."""

from __future__ import annotations

import math

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.plan import OUTSIDE, Plan
from fusion_rt.scene import ACTIVITIES
from fusion_rt.sim.home.config import Climate
from fusion_rt.sim.home.doors import Doors
from fusion_rt.sim.home.furniture import area_m2
from fusion_rt.sim.home.motion import HZ, People
from fusion_rt.sim.home.routine import Household
from fusion_rt.transforms import Array

STEP_S = 10
# activity -> metabolic rate, met: ANSI/ASHRAE 55-2020, table 5-1 (sleeping, seated, cooking, walking slowly).
MET = {"sleeping": 0.7, "sitting": 1.0, "walking": 2.0, "cooking": 1.8, "other": 1.3, "unknown": 1.2}
# Through an open door 0.05-0.2 m^3/s are exchanged at a difference of some kelvin (Brown & Solvason, Int. J.
# Heat Mass Transfer 5, 1962); under a closed one a few litres.
OPEN_M3S, CLOSED_M3S = 0.06, 0.003
SHOWER_KG_S, COOKING_KG_S = 1.5 / 3600, 0.9 / 3600  # BS 5250 gives both as kg a day; here while it lasts
AIR_KG_M3, AIR_J_KGK = 1.2, 1006.0


class Air(Struct, frozen=True, kw_only=True):
    """Of R rooms at S steps: co2 (R, S) ppm, temperature (R, S) °C, water (R, S) kg/kg."""

    co2: Array
    temperature: Array
    water: Array

    def humidity(self) -> Array:
        """(R, S) % relative."""
        return relative_humidity(self.temperature, self.water)


def breath_m3s(met: Array, surface_m2: float) -> Array:
    """CO2 that a person breathes out, m^3/s: ASTM D6245-18, eq. 1, at a respiratory quotient of 0.83."""
    rq = 0.83
    litres: Array = 0.00276 * surface_m2 * met * rq / (0.23 * rq + 0.77)
    return litres * 1e-3


def saturation_hpa(temperature_c: Array) -> Array:
    """Of water vapour over water: Magnus' formula (WMO-No. 8, annex 4.B)."""
    hpa: Array = 6.112 * np.exp(17.62 * temperature_c / (243.12 + temperature_c))
    return hpa


def relative_humidity(temperature_c: Array, water: Array) -> Array:
    """% from °C and kg/kg at 1013 hPa."""
    vapour = 1013.25 * water / (0.622 + water)
    percent: Array = np.clip(100 * vapour / saturation_hpa(temperature_c), 0, 100)
    return percent


def breathe(
    plan: Plan, house: Household, people: People, doors: Doors, config: Climate, clock_s: float, sun: Array,
    rng: np.random.Generator,
) -> Air:  # fmt: skip
    """The air of the whole run. clock_s: seconds of the day at the start; sun (S,): 0..1 of a clear noon."""
    rooms = list(plan.rooms)
    n = len(rooms)
    ticks = people.xy.shape[1]
    steps = (ticks - 1) // (STEP_S * HZ) + 1
    sample = np.minimum(np.arange(steps) * STEP_S * HZ, ticks - 1)
    area = np.array([area_m2(room.corners) for room in plan.rooms.values()])
    volume = area * np.array([room.height_m for room in plan.rooms.values()])
    co2_in, heat_in, water_in = (np.zeros((n, steps)) for _ in range(3))
    met_of = np.array([MET.get(name, 1.0) for name in ACTIVITIES])
    kinds = np.array([place.kind for place in house.places] + [""])
    for p, dweller in enumerate(house.people):
        room, met = people.room[p, sample], met_of[people.activity[p, sample]]
        at = np.flatnonzero(room >= 0)
        np.add.at(co2_in, (room[at], at), breath_m3s(met[at], dweller.surface_m2))
        np.add.at(heat_in, (room[at], at), 58.2 * met[at] * dweller.surface_m2 * 0.65)
        np.add.at(water_in, (room[at], at), 0.045 / 3600 * met[at])  # ASHRAE: 40-60 g/h of who sits
        kind = kinds[people.place[p, sample]]
        for used, steam, watts in (("shower", SHOWER_KG_S, 500.0), ("cooker", COOKING_KG_S, 900.0)):
            using = np.flatnonzero((kind == used) & (room >= 0))
            np.add.at(water_in, (room[using], using), steam)
            np.add.at(heat_in, (room[using], using), watts)
    hour = (clock_s + sample / HZ) / 3600 % 24
    outdoor = config.outdoor_c + config.swing_c * np.cos(2 * math.pi * (hour - 15) / 24)
    set_c = np.where((hour >= 6) & (hour < 22.5), config.setpoint_c, config.night_c)
    outdoor_water = 0.622 * 0.75 * saturation_hpa(np.array(config.outdoor_c)) / 1013.25
    links = [
        (
            rooms.index(door.rooms[0]),
            rooms.index(door.rooms[1]),
            np.where(doors.open[d, sample], OPEN_M3S, CLOSED_M3S),
        )
        for d, door in enumerate(plan.doors.values())
        if OUTSIDE not in door.rooms and door.rooms[0] != door.rooms[1]
    ]
    outer = [
        (rooms.index(next(r for r in door.rooms if r != OUTSIDE)), doors.open[d, sample])
        for d, door in enumerate(plan.doors.values())
        if OUTSIDE in door.rooms and door.contact
    ]
    fresh = config.air_changes_per_h / 3600 * volume * rng.uniform(0.6, 1.5, n)  # m^3/s a room
    loss = 1.6 * area  # W/K through walls and windows
    # Furniture and walls hold more heat and water than the air does.
    heat_capacity, buffer_kg = volume * AIR_KG_M3 * AIR_J_KGK * 12, volume * AIR_KG_M3 * 4
    gain = 60.0 * area * rng.uniform(0.3, 1.0, n) * 0.25  # W of a clear noon through windows
    co2, temperature, water = (np.empty((n, steps)) for _ in range(3))
    c: Array = np.full(n, config.outdoor_ppm + 150.0) + rng.uniform(0, 200, n)
    t: Array = np.full(n, float(set_c[0])) + rng.normal(0, 0.4, n)
    w: Array = np.full(n, float(outdoor_water) + 0.0012)
    stored = w.copy()
    for k in range(steps):
        co2[:, k], temperature[:, k], water[:, k] = c, t, w
        flow = np.zeros((n, n))
        for i, j, m3s in links:
            flow[i, j] += m3s[k]
            flow[j, i] += m3s[k]
        out = fresh.copy()
        for i, is_open in outer:
            out[i] += 0.15 * is_open[k]
        total = flow.sum(axis=1)
        heating = np.clip(
            (set_c[k] + 0.3 - t) * 250, 0, 90 * area
        )  # W, proportional, as a thermostat valve is
        dc = (co2_in[:, k] * 1e6 + flow @ c - total * c + out * (config.outdoor_ppm - c)) / volume
        exchange = (flow @ t - total * t + out * (outdoor[k] - t)) * AIR_KG_M3 * AIR_J_KGK
        dt = (heat_in[:, k] + heating + gain * sun[k] + exchange + loss * (outdoor[k] - t)) / heat_capacity
        kg = volume * AIR_KG_M3
        take = (w - stored) / 900.0  # surfaces take water up within a quarter of an hour
        dw = (water_in[:, k] + (flow @ w - total * w + out * (outdoor_water - w)) * AIR_KG_M3) / kg - take
        stored += STEP_S * take * kg / buffer_kg
        c, t, w = c + STEP_S * dc, t + STEP_S * dt, np.maximum(w + STEP_S * dw, 1e-4)
    return Air(co2=co2, temperature=temperature, water=water)


def sunshine(
    start_day: int, clock_s: float, steps: int, latitude_deg: float, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(steps,) 0..1 of a clear noon's light: the sun's height (declination by Cooper, Solar Energy 12, 1969)
    times clouds that drift. start_day: of the year."""
    t = clock_s + np.arange(steps) * STEP_S
    declination = math.radians(23.45) * np.sin(2 * math.pi * (284 + start_day + t / 86400) / 365)
    angle = 2 * math.pi * (t / 86400 - 0.5)
    latitude = math.radians(latitude_deg)
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(angle)
    knots = rng.uniform(0.15, 1.0, steps // 90 + 2)
    clouds = np.interp(np.arange(steps) / 90, np.arange(len(knots)), knots)
    sun: NDArray[np.float64] = np.clip(height + 0.05, 0, 1) * clouds
    return sun
