"""A simulated home: packets as its sensors send them, and the truth.

home = simulate(Plan.load("configs/home/flat.yaml"), HomeSimConfig(hours=1), seed=1)
for packet in home.packets(): ...
for truth in home.truths(): ...
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from fnmatch import fnmatchcase
from itertools import count
from typing import Any

from fusion_rt.errors import ConfigError
from fusion_rt.header import Header
from fusion_rt.home_truth import HomeTruth, TrueEvent, TruePerson
from fusion_rt.messages import Packet
from fusion_rt.plan import Plan, Sensor
from fusion_rt.scene import ACTIVITIES, POSTURES
from fusion_rt.sim.home import beacons, faults, hearing, readings
from fusion_rt.sim.home.config import HomeSimConfig
from fusion_rt.sim.home.radar import PointRadar, TargetRadar
from fusion_rt.sim.home.recorded_sound import SampledMicrophone
from fusion_rt.sim.home.sight import Watcher
from fusion_rt.sim.home.world import World
from fusion_rt.sim.home.worn import WornImu

SPELL = 600  # ticks that are simulated at once
TRUTH_EVERY = 2  # ticks
# Of a room, the activity of most; where as many do two things, the first of these.
RANK = ("cooking", "walking", "sitting", "other", "sleeping", "unknown")


class SimulatedHome:
    """One run. `world` has the truth as arrays, `events` what happened, in order."""

    def __init__(self, plan: Plan, config: HomeSimConfig, seed: int) -> None:
        self.plan, self.config, self.seed = plan, config, seed
        self._check()
        self.world = World.make(plan, config, seed)
        self.events: list[TrueEvent] = self.world.events
        self.faults = (*config.faults, *self._drawn())

    def packets(self) -> Iterator[Packet]:
        """All packets in the order in which they come: by their stamps, but for sensors that are late."""
        return (packet for _, packet in self.arrivals())

    def arrivals(self) -> Iterator[tuple[int, Packet]]:
        """(when it comes in ns, packet), in that order."""
        sources = self._sensors()
        spells = {
            sensor_id: [fault for fault in self.faults if fault.sensor == sensor_id] for sensor_id in sources
        }
        noise = {sensor_id: self.world.rng("fault " + sensor_id) for sensor_id in sources}
        states = {
            sensor_id: faults.Faulted(spells[sensor_id], self.config.start_ns, noise[sensor_id])
            for sensor_id in sources
            if spells[sensor_id]
        }
        order = count()
        due: list[tuple[int, int, Packet]] = []
        for first in range(0, self.world.ticks, SPELL):
            last = min(first + SPELL, self.world.ticks)
            coming: list[tuple[int, int, Packet]] = []
            for sensor_id, source in sources.items():
                packets = source.packets(first, last)
                if sensor_id in states:
                    coming += [(at, next(order), each) for at, each in states[sensor_id].push(packets)]
                else:
                    coming += [(each.header.stamp_ns, next(order), each) for each in packets]
            horizon_ns = self.config.start_ns + last * 100_000_000
            for item in coming:
                heapq.heappush(due, item)
            while due and due[0][0] < horizon_ns:
                at_ns, _, packet = heapq.heappop(due)
                yield at_ns, packet
        while due:
            at_ns, _, packet = heapq.heappop(due)
            yield at_ns, packet

    def truths(self) -> Iterator[HomeTruth]:
        """The truth, every 0.2 s."""
        people, slugs = self.world.people, list(self.plan.rooms)
        following = iter([*self.events, None])
        event = next(following)
        for tick in range(0, self.world.ticks, TRUTH_EVERY):
            stamp_ns = self.config.start_ns + tick * 100_000_000
            counts = dict.fromkeys(slugs, 0)
            doing: dict[str, list[str]] = {}
            there = []
            for p, name in enumerate(people.names):
                room = int(people.room[p, tick])
                if room < 0:
                    continue
                activity = ACTIVITIES[people.activity[p, tick]]
                x, y = people.xy[p, tick].tolist()
                counts[slugs[room]] += 1
                doing.setdefault(slugs[room], []).append(activity)
                posture = POSTURES[people.posture[p, tick]]
                there.append(TruePerson(name, round(x, 3), round(y, 3), slugs[room], posture, activity))
            happened = []
            while event is not None and event.onset_ns <= stamp_ns:
                happened.append(event)
                event = next(following)
            seq = tick // TRUTH_EVERY
            yield HomeTruth(
                header=Header(sensor_id="truth", frame_id="home", seq=seq, stamp_ns=stamp_ns),
                people=tuple(there),
                counts=counts,
                activities={slug: most(doing.get(slug, [])) for slug in slugs},
                events=tuple(happened),
            )

    def _sensors(self) -> dict[str, Any]:
        """sensor_id -> what simulates it."""
        talk = hearing.talking(self.world)
        where = beacons.phones(self.world)
        return {
            sensor_id: self._sensor(sensor_id, sensor, talk, where)
            for sensor_id, sensor in self.plan.sensors.items()
            if self._on(sensor_id, sensor)
        }

    def _sensor(self, sensor_id: str, sensor: Sensor, talk: Any, where: Any) -> Any:
        if sensor.kind == "radar":
            targets = any(fnmatchcase(sensor_id, pattern) for pattern in self.config.radar.ld2450)
            kind = TargetRadar if targets else PointRadar
            return kind(self.world, sensor_id, sensor)
        if sensor.kind == "camera":
            return Watcher(self.world, sensor_id, sensor)
        if sensor.kind == "microphone" and sensor_id in self.config.pcm.sensors:
            return SampledMicrophone(self.world, sensor_id, sensor, talk)
        if sensor.kind in ("microphone", "sound_level"):
            return hearing.Microphone(self.world, sensor_id, sensor, talk)
        if sensor.kind == "distance":
            return beacons.Receiver(self.world, sensor_id, sensor, where)
        if sensor.kind == "imu":
            return WornImu(self.world, sensor_id, sensor)
        return readings.Readings(self.world, sensor_id, sensor)

    def _on(self, sensor_id: str, sensor: Sensor) -> bool:
        return sensor_id not in self.config.sensors_off and sensor.kind not in self.config.sensors_off

    def _check(self) -> None:
        """Raises ConfigError where the configuration names a sensor that the plan lacks."""
        kinds = {sensor.kind for sensor in self.plan.sensors.values()}
        named = [("sensors_off", each, True) for each in self.config.sensors_off]
        named += [("pcm.sensors", each, False) for each in self.config.pcm.sensors]
        named += [("faults", fault.sensor, False) for fault in self.config.faults]
        for where, name, kind_too in named:
            if name not in self.plan.sensors and not (kind_too and name in kinds):
                raise ConfigError(f"{where}: the plan has no sensor {name!r}")

    def _drawn(self) -> list[faults.Fault]:
        rng = self.world.rng("random faults")
        seconds = self.config.hours * 3600
        kinds = self.config.random_faults
        return faults.drawn(self.plan.sensors, kinds, self.config.random_faults_per_day, seconds, rng)


def most(doing: list[str]) -> str:
    """What most do of some people's activities; "empty" of none."""
    if not doing:
        return "empty"
    return max(RANK, key=lambda name: (doing.count(name), -RANK.index(name)))


def simulate(plan: Plan, config: HomeSimConfig, seed: int) -> SimulatedHome:
    """A home with this plan, for config.hours: the same bits for the same arguments. Raises ConfigError."""
    return SimulatedHome(plan, config, seed)
