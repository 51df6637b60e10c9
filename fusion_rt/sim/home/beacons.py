"""Phones that receivers hear: distance by the level of their signal."""

from __future__ import annotations

import numpy as np

from fusion_rt.header import Header
from fusion_rt.home_packets import HomeReading
from fusion_rt.plan import Sensor
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.walls import Sightlines
from fusion_rt.sim.home.world import World
from fusion_rt.transforms import Array


def phones(world: World) -> Array:
    """(P, T, 2) float32: where each resident's phone is; NaN: away. It lies where it was put by chance, and
    comes along when its owner goes out or takes it up."""
    people, rng = world.people, world.rng("phones")
    at = people.xy.copy()
    for p in range(len(at)):
        place = people.place[p]
        begins = np.flatnonzero(np.diff(place, prepend=-2))
        left: int | None = None
        for begin, end in zip(begins, np.append(begins[1:], len(place))):
            if left is not None:
                at[p, begin:end] = at[p, left]
            if place[begin] >= 0:  # a stay: put down or taken along when it ends
                if left is None and rng.random() < world.config.beacon.left_behind:
                    left = int(begin)
                elif left is not None and np.hypot(*(people.xy[p, begin] - at[p, left])) < 2.5:
                    left = None
                    at[p, begin:end] = people.xy[p, begin:end]
            if np.isnan(people.xy[p, begin:end, 0]).any():
                left = None
                at[p, begin:end] = people.xy[p, begin:end]
    return at


class Receiver:
    """One receiver: a reading a phone in reach and period."""

    def __init__(self, world: World, sensor_id: str, sensor: Sensor, where: Array) -> None:
        self.world, self.id, self.sensor, self.where, self.seq = world, sensor_id, sensor, where, 0
        self.rng = world.rng(sensor_id)
        self.sight = Sightlines.of(world.plan, [], sensor.T_home_sensor[:3, 3])
        residents = [i for i, dweller in enumerate(world.house.people) if dweller.resident]
        self.phones = {i: f"phone_{world.people.names[i]}" for i in residents}
        self.period = max(round((sensor.period_s or 5.0) * HZ), 1)
        self.phase = {i: int(self.rng.integers(self.period)) for i in residents}
        self.shadow = {i: float(self.rng.normal()) for i in residents}
        self.smooth: dict[int, float] = {}

    def packets(self, first: int, last: int) -> list[HomeReading]:
        """Readings of the ticks first..last."""
        config, packets = self.world.config.beacon, []
        closed = self.world.closed
        rows = sorted(
            (tick, p)
            for p in self.phones
            for tick in range(first + (self.phase[p] - first) % self.period, last, self.period)
        )
        for tick, p in rows:
            xy = self.where[p, tick].astype(np.float64)
            walls, _ = self.sight.at(xy, closed[tick])
            distance = float(np.hypot(np.hypot(*(xy - self.sight.eye[:2])), 0.8))
            self.shadow[p] = 0.9 * self.shadow[p] + 0.436 * float(self.rng.normal())
            fast = float(self.rng.normal(0, 2.0))
            if not distance < self.sensor.range_m * 2 or walls > 5:
                continue
            # The receiver assumes free rooms: it turns walls and bodies into metres.
            loss = 10 * config.exponent * np.log10(max(distance, 0.2)) + config.wall_db * float(walls)
            loss += config.shadow_db * self.shadow[p] + fast
            heard = float(10 ** (loss / (10 * config.exponent)))
            self.smooth[p] = heard = 0.5 * self.smooth.get(p, heard) + 0.5 * heard
            header = Header(
                sensor_id=self.id,
                frame_id="home",
                seq=self.seq,
                stamp_ns=self.world.config.start_ns + tick * 100_000_000 + 7_000_000,
            )
            self.seq += 1
            packets.append(
                HomeReading(
                    header=header, entity=self.phones[p], kind="distance", value=round(heard, 2), unit="m"
                )
            )
        return packets
