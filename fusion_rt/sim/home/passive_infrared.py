"""Passive infrared motion sensors, and presence sensors with a radar inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_rt.plan import Sensor
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.skeleton import extent
from fusion_rt.sim.home.walls import Sightlines
from fusion_rt.sim.home.world import World
from fusion_rt.transforms import Array

ZONE_DEG = 7.0  # between two beams of a common lens with 18 beams in 110 degrees


def triggers(world: World, sensor_id: str, sensor: Sensor, rng: np.random.Generator) -> tuple[Array, Array]:
    """Times (s) and values (1, 0) of a motion or presence sensor."""
    config, ticks = world.config.motion, world.ticks
    rate = np.zeros(ticks)
    T = sensor.T_home_sensor
    sight = Sightlines.of(world.plan, world.house.pieces, T[:3, 3])
    closed = world.closed
    half = np.radians(sensor.fov_deg / 2)
    blind = float(rng.uniform(-half, half))
    for p in range(len(world.people.names)):
        rate += _rate(world, p, sensor, sight, closed, blind)
    moved = rng.random(ticks) < 1 - np.exp(-rate / HZ)
    if sensor.kind == "motion":
        heat = rng.random(ticks) < config.heat_per_day / 86400 / HZ
        return _held(np.flatnonzero(moved | heat), config.hold_s, config.blind_s, config.lag_s, ticks, rng)
    return _held(np.flatnonzero(moved), 30.0, 0.0, 0.4, ticks, rng)


def _rate(
    world: World, p: int, sensor: Sensor, sight: Sightlines, closed: NDArray[np.uint32], blind: float
) -> Array:
    """(T,) 1/s at which one person makes the sensor speak: beams crossed a second, by the feet across its
    view, and by the limbs of who stands near; a presence sensor also notices breathing."""
    people, T = world.people, sensor.T_home_sensor
    ticks = people.xy.shape[1]
    rate = np.zeros(ticks)
    at = np.flatnonzero(np.hypot(*(people.xy[p] - T[:2, 3]).T) < sensor.range_m)
    if not len(at):
        return rate
    xy = people.xy[p, at].astype(np.float64)
    velocity = np.nan_to_num((xy - people.xy[p, np.maximum(at - 1, 0)]) * HZ)
    low, high = extent(people.posture[p, at], people.support[p, at], world.house.people[p].height_m)
    walls, shadow = sight.at(xy, closed[at])
    place = np.concatenate([xy, ((low + high) / 2)[:, None]], axis=1) - T[:3, 3]
    local = place @ T[:3, :3]
    distance = np.maximum(np.linalg.norm(place, axis=1), 0.3)
    azimuth = np.arctan2(local[:, 1], local[:, 0])
    half, dead = np.radians(sensor.fov_deg / 2), np.radians(world.config.motion.blind_deg / 2)
    seen = (np.abs(azimuth) < half) & (walls == 0) & (high > shadow)
    ray = (xy - T[:2, 3]) / np.maximum(np.hypot(*(xy - T[:2, 3]).T), 0.1)[:, None]
    across = np.abs(velocity[:, 0] * ray[:, 1] - velocity[:, 1] * ray[:, 0])
    towards = np.abs((velocity * ray).sum(axis=1))
    limbs = people.limbs[p, at].astype(np.float64)
    # Beams lie ZONE_DEG apart; a body that fills a beam far away fills a part of it near by.
    zone_m = distance * np.radians(ZONE_DEG)
    speed = across + 0.25 * towards + 0.25 * np.where(distance < 4, limbs, 0.3 * limbs)
    beams = np.where(speed > 0.06, speed / zone_m, 0.0) * np.clip(1.4 - distance / sensor.range_m, 0.1, 1)
    if sensor.kind == "motion":
        seen &= np.abs(azimuth - blind) > dead
        rate[at] = np.where(seen, beams, 0.0)
    else:
        breathing = 0.08 * np.clip(1.2 - distance / sensor.range_m, 0, 1)
        rate[at] = np.where(seen, 4 * beams + breathing, 0.0)
    return rate


def _held(
    moved: NDArray[np.int64],
    hold_s: float,
    blind_s: float,
    lag_s: float,
    ticks: int,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """1 at the first movement, 0 when for hold_s there was none, then deaf for blind_s."""
    times, values = [0.05], [0.0]
    hold, deaf, k = round(hold_s * HZ), round(blind_s * HZ), 0
    gaps = np.append(np.flatnonzero(np.diff(moved) > hold), len(moved) - 1) if len(moved) else moved
    while k < len(moved):
        end = moved[gaps[np.searchsorted(gaps, k)]] + hold
        lag = lag_s * float(rng.uniform(0.5, 1.8))
        times += [moved[k] / HZ + lag, end / HZ + lag]
        values += [1.0, 0.0]
        k = int(np.searchsorted(moved, end + deaf))
    keep = np.array(times) < ticks / HZ
    return np.array(times)[keep], np.array(values)[keep]
