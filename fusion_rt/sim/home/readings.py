"""Sensors that give single values: on change, or every period_s."""

from __future__ import annotations

import math

import numpy as np

from fusion_rt.header import Header
from fusion_rt.home_packets import HomeReading
from fusion_rt.plan import Sensor, unit_of
from fusion_rt.sim.home.air import STEP_S, relative_humidity
from fusion_rt.sim.home.appliances import power_w
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.passive_infrared import triggers
from fusion_rt.sim.home.world import World
from fusion_rt.transforms import Array

# kind -> how fine a household sensor tells it
STEPS = {
    "temperature": 0.1,
    "humidity": 0.1,
    "co2": 1.0,
    "illuminance": 1.0,
    "power": 0.1,
    "humidity_ratio": 1e-5,
}
KINDS = (*STEPS, "motion", "contact", "presence", "button", "smoke", "energy")


class Readings:
    """One sensor's readings of the whole run, handed out in spells of ticks."""

    def __init__(self, world: World, sensor_id: str, sensor: Sensor) -> None:
        self.world, self.id, self.sensor, self.seq = world, sensor_id, sensor, 0
        self.times, self.values = _series(world, sensor_id, sensor, world.rng(sensor_id))

    def packets(self, first: int, last: int) -> list[HomeReading]:
        """Readings of the ticks first..last."""
        a, b = np.searchsorted(self.times, [first / HZ, last / HZ])
        start_ns, unit = self.world.config.start_ns, unit_of(self.sensor.kind)
        packets = []
        for t, value in zip(self.times[a:b].tolist(), self.values[a:b].tolist()):
            header = Header(
                sensor_id=self.id,
                frame_id="home",
                seq=self.seq,
                stamp_ns=start_ns + round(t * 1000) * 1_000_000,
            )
            self.seq += 1
            packets.append(
                HomeReading(header=header, entity=self.id, kind=self.sensor.kind, value=value, unit=unit)
            )
        return packets


def _series(world: World, sensor_id: str, sensor: Sensor, rng: np.random.Generator) -> tuple[Array, Array]:
    """Times (s after the start) and values of one sensor."""
    room = world.room_index(sensor.room)
    seconds = (world.ticks - 1) / HZ
    if sensor.kind in ("motion", "presence"):
        return triggers(world, sensor_id, sensor, rng)
    if sensor.kind == "contact":
        return _contact(world, sensor_id, rng)
    if sensor.kind == "button":
        return _pressed(world, "doorbell", 0.3)
    if sensor.kind == "smoke":
        return _with_period(*_pressed(world, "smoke_alarm", None), seconds, sensor, rng)
    period = sensor.period_s or 60.0
    times = np.arange(float(rng.uniform(0, period)), seconds, period)
    times += np.clip(rng.normal(0, 0.02 * period, len(times)), -0.2 * period, 0.2 * period)
    times = np.maximum(times, 0.0)
    if sensor.kind in ("power", "energy"):
        watts = power_w(sensor_id, room, world.house, world.people, rng).astype(np.float64)
        if sensor.kind == "energy":
            kwh = float(rng.uniform(10, 2000)) + np.cumsum(watts) / 3.6e6
            return times, np.round(_at(kwh, times, 1.0), 3)
        # Plugs tell at once when the load changes by more than a tenth.
        jump = np.flatnonzero(np.abs(np.diff(watts)) > np.maximum(0.1 * watts[:-1], 5.0)) + 1.3
        times = np.sort(np.concatenate([times, jump[jump < seconds]]))
        level = watts[np.minimum(times.astype(int), len(watts) - 1)]
        return times, _rounded(level * (1 + rng.normal(0, 0.005, len(level))), "power")
    values = _climate(world, sensor, room, times, rng)
    return times, _rounded(values, sensor.kind)


def _climate(world: World, sensor: Sensor, room: int, times: Array, rng: np.random.Generator) -> Array:
    """What a sensor of the room's air or light says at these times; its own offset and inertia included."""
    config, n = world.config.climate, len(times)
    if sensor.kind == "illuminance":
        if room < 0:
            return np.full(n, math.nan)
        lux = world.light.lux[room]
        level = lux[np.minimum(times.astype(int), len(lux) - 1)]
        return np.maximum(level * (1 + rng.normal(0, 0.03, n)) + rng.normal(0, 0.4, n), 0.0)
    if room < 0:
        hour = times / 3600
        outdoor = config.outdoor_c + config.swing_c * np.cos(2 * math.pi * (hour - 15) / 24)
        outside = {"co2": np.full(n, config.outdoor_ppm), "humidity": np.full(n, 75.0)}
        return np.asarray(outside.get(sensor.kind, outdoor), np.float64)
    air = world.air
    temperature, water = _slow(air.temperature[room], 60), _slow(air.water[room], 30)
    if sensor.kind == "co2":
        values = _at(_slow(air.co2[room], 60), times) + rng.normal(0, config.co2_noise_ppm, n)
        return values + float(rng.normal(0, 15))
    if sensor.kind == "temperature":
        return (
            _at(temperature, times) + float(rng.normal(0, 0.3)) + rng.normal(0, config.temperature_noise_c, n)
        )
    if sensor.kind == "humidity_ratio":
        return np.maximum(_at(water, times) * (1 + rng.normal(0, 0.005, n)), 0.0)
    humid = _at(relative_humidity(temperature, water), times)
    return np.clip(humid + float(rng.normal(0, 1.5)) + rng.normal(0, config.humidity_noise, n), 0, 100)


def _at(series: Array, times: Array, step_s: float = STEP_S) -> Array:
    return np.interp(times / step_s, np.arange(len(series)), series)


def _slow(series: Array, tau_s: float) -> Array:
    """A sensor's inertia: first order."""
    alpha = STEP_S / (tau_s + STEP_S)
    slow = np.empty_like(series)
    state = float(series[0])
    for k, value in enumerate(series.tolist()):
        state += alpha * (value - state)
        slow[k] = state
    return slow


def _rounded(values: Array, kind: str) -> Array:
    step = STEPS[kind]
    return np.round(np.round(values / step) * step, 6)


def _contact(world: World, sensor_id: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """At the start, and at every change; the reed sometimes bounces."""
    doors = [d for d, door in enumerate(world.plan.doors.values()) if door.contact == sensor_id]
    if not doors:
        return np.array([0.1]), np.array([0.0])
    is_open = np.asarray(world.doors.open[doors].any(axis=0))
    changes = np.flatnonzero(np.diff(is_open.astype(np.int8))) + 1
    times = np.concatenate([[0.0], changes / HZ]) + rng.uniform(0.02, 0.08, len(changes) + 1)
    values = np.concatenate([is_open[:1], is_open[changes]]).astype(np.float64)
    bounce = np.flatnonzero(rng.random(len(changes)) < 0.02) + 1
    times = np.concatenate([times, times[bounce] + 0.005, times[bounce] + 0.01])
    values = np.concatenate([values, 1 - values[bounce], values[bounce]])
    order = np.argsort(times, kind="stable")
    return times[order], values[order]


def _pressed(world: World, kind: str, length_s: float | None) -> tuple[Array, Array]:
    """1 from the onset of each event of a kind, 0 after it."""
    times, values = [], []
    for event in world.events:
        if event.kind == kind:
            begin = (event.onset_ns - world.config.start_ns) * 1e-9
            end = begin + length_s if length_s else (event.end_ns - world.config.start_ns) * 1e-9
            times += [begin + 0.05, end]
            values += [1.0, 0.0]
    order = np.argsort(np.array(times), kind="stable")
    return np.array(times)[order], np.array(values)[order]


def _with_period(
    times: Array, values: Array, seconds: float, sensor: Sensor, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Changes, and every period what it is."""
    period = sensor.period_s or 0.0
    if not period:
        return times, values
    regular = np.arange(float(rng.uniform(0, period)), seconds, period)
    last = np.searchsorted(times, regular, side="right") - 1
    now = np.concatenate([[0.0], values])[last + 1]
    times, values = np.concatenate([times, regular]), np.concatenate([values, now])
    order = np.argsort(times, kind="stable")
    return times[order], values[order]
