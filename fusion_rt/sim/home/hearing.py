"""Microphones: level, speech and kinds of sound as a head hears them, from what goes on in the home."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_rt.header import Header
from fusion_rt.home_packets import HomeReading, Sound
from fusion_rt.plan import Sensor
from fusion_rt.scene import ACTIVITIES, EVENTS, POSTURES
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.walls import Sightlines
from fusion_rt.sim.home.world import World
from fusion_rt.transforms import Array

HEARD = tuple(kind for kind in EVENTS if kind != "fall")
# dB(A) at 1 m: normal speech 60 (ISO 9921), alarms 85 at 3 m (EN 14604), the rest measured by many.
LEVEL_DBA = {
    "doorbell": 80.0,
    "knock": 72.0,
    "glass_break": 90.0,
    "smoke_alarm": 94.0,
    "baby_cry": 92.0,
    "dog_bark": 92.0,
    "fall": 75.0,
}
SPEECH_DBA, TV_DBA, COOKING_DBA, SHOWER_DBA, WALKING_DBA = 60.0, 62.0, 60.0, 66.0, 42.0
WALL_DB, DOOR_DB = 27.0, 9.0  # through a light wall; through a closed door more than through an open one
SPEECH, SPEECH_FROM_TV = 0.9, 0.55


class Microphone:
    """One microphone's Sound, every period_s; of kind sound_level its level alone."""

    def __init__(self, world: World, sensor_id: str, sensor: Sensor, talk: NDArray[np.bool_]) -> None:
        self.world, self.id, self.sensor, self.talk, self.seq = world, sensor_id, sensor, talk, 0
        self.rng = world.rng(sensor_id)
        eye = sensor.T_home_sensor[:3, 3]
        if not eye.any() and sensor.room in world.plan.rooms:  # no pose: in the middle of its room
            eye = np.array([*world.plan.rooms[sensor.room].corners.mean(axis=0), 1.2])
        self.sight = Sightlines.of(world.plan, [], eye)
        self.period = max(round((sensor.period_s or 0.5) * HZ), 1)
        self.kinds = np.array([place.kind for place in world.house.places] + [""])
        self.offset = float(self.rng.normal(0, 1.5))

    def packets(self, first: int, last: int) -> list[Sound] | list[HomeReading]:
        """What was heard from each period's first tick on."""
        ticks = np.arange(first + (-first) % self.period, last, self.period)
        n = len(ticks)
        power = np.full(n, 10 ** (self.world.config.sounds.background_dba / 10))
        speech, television = self._people(ticks, power)
        events = self._events(ticks, power)
        level = 10 * np.log10(power) + self.offset + self.rng.normal(0, 1.0, n)
        background = 10 * np.log10(power)
        talked = 1 / (1 + np.exp(-(speech - np.maximum(background - 12, 30)) / 3)) * SPEECH
        heard_tv = 1 / (1 + np.exp(-(television - 38) / 3)) * SPEECH_FROM_TV * self.rng.random(n)
        p_speech = np.clip(np.maximum(talked, heard_tv) + np.abs(self.rng.normal(0, 0.04, n)), 0, 1)
        probability = self._head(events, background)
        return self._packed(ticks, level, p_speech, probability)

    def loss(self, xy: Array, ticks: Array) -> Array:
        """dB from 1 m to the microphone: distance, walls, closed doors, a room's reverberation."""
        closed = self.world.closed[ticks]
        walls, _ = self.sight.at(xy, np.zeros_like(closed))
        blocked, _ = self.sight.at(xy, closed)
        # What sounds is seldom at the height of the ear.
        distance = np.hypot(np.hypot(*(xy - self.sight.eye[:2]).T), 0.7)
        direct: Array = 20 * np.log10(distance)
        # In a room it does not fall for ever: beyond the critical distance the reverberant field stays.
        direct = np.minimum(direct, 10.0 + 3 * np.log10(distance))
        return direct + np.minimum(walls, 2) * WALL_DB * 0.6 + (blocked - walls) * DOOR_DB

    def _people(self, ticks: Array, power: Array) -> tuple[Array, Array]:
        """Adds what people do to the power; returns the level of speech and of the television here, dB(A)."""
        people = self.world.people
        speech, television = np.full(len(ticks), -20.0), np.full(len(ticks), -20.0)
        for p in range(len(people.names)):
            at = np.flatnonzero(people.room[p, ticks] >= 0)
            if not len(at):
                continue
            tick = ticks[at]
            loss = self.loss(people.xy[p, tick].astype(np.float64), tick)
            kind, posture = self.kinds[people.place[p, tick]], people.posture[p, tick]
            activity = people.activity[p, tick]
            sources = (
                (self.talk[p, tick], SPEECH_DBA),
                (kind == "shower", SHOWER_DBA),
                (activity == ACTIVITIES.index("cooking"), COOKING_DBA),
                ((activity == ACTIVITIES.index("walking")), WALKING_DBA),
                ((kind == "sofa") & (posture == POSTURES.index("sitting")), TV_DBA),
            )
            for on, level in sources:
                here = level - loss + self.rng.normal(0, 3.0, len(at))
                power[at] += np.where(on, 10 ** (here / 10), 0.0)
                if level == SPEECH_DBA:
                    speech[at] = np.maximum(speech[at], np.where(on, here, -20.0))
                elif level == TV_DBA:
                    television[at] = np.maximum(television[at], np.where(on, here, -20.0))
        return speech, television

    def _events(self, ticks: Array, power: Array) -> dict[str, Array]:
        """Kind -> level here, dB(A), (N,); what sounds adds to the power."""
        levels = {kind: np.full(len(ticks), -20.0) for kind in (*HEARD, "fall")}
        begin_ns = self.world.config.start_ns + int(ticks[0]) * 100_000_000 if len(ticks) else 0
        step_ns = self.period * 100_000_000
        for event in self.world.events:
            a = max((event.onset_ns - begin_ns) // step_ns, 0)
            b = min((event.end_ns - begin_ns) // step_ns + 1, len(ticks))
            if a >= b or event.end_ns < begin_ns:
                continue
            span = np.arange(a, b)
            loss = self.loss(np.repeat(np.array([event.position]), len(span), axis=0), ticks[span])
            here = LEVEL_DBA[event.kind] - loss + self.rng.normal(0, 3.0, len(span))
            # Barks and knocks have pauses.
            here = np.where((self.rng.random(len(span)) < 0.8) | (span == a), here, -20.0)
            levels[event.kind][span] = np.maximum(levels[event.kind][span], here)
            power[span] += 10 ** (here / 10)
        return levels

    def _head(self, events: dict[str, Array], background: Array) -> dict[str, Array]:
        """Kind -> probability (N,): high where a sound stands out, with misses, mistakes and false alarms."""
        rng, confusion = self.rng, self.world.config.sounds.confusion
        n = len(background)
        noise = {kind: rng.beta(0.4, 25.0, n) for kind in HEARD}
        false = rng.random(n) < confusion * 0.002
        wrong = rng.integers(len(HEARD), size=n)
        for i, kind in enumerate(HEARD):
            stands_out = events[kind] - np.minimum(background - 3, 70)
            chance = 1 / (1 + np.exp(-(stands_out + 6) / 3)) * (events[kind] > 33)
            heard = rng.random(n) < chance
            mixed = rng.random(n) < confusion
            strong = rng.beta(9, 1.6, n)
            noise[kind] = np.where(heard & ~mixed, strong, noise[kind])
            for k, other in enumerate(HEARD):
                take = (heard & mixed & (wrong == k)) | (false & (wrong == k) & (i == k))
                noise[other] = np.where(take, 0.3 + 0.5 * strong, noise[other])
        # A body on the floor may sound like a knock.
        thump = (events["fall"] > 40) & (rng.random(n) < 0.4)
        noise["knock"] = np.where(thump, np.maximum(noise["knock"], rng.beta(3, 3, n)), noise["knock"])
        return noise

    def _packed(
        self, ticks: Array, level: Array, speech: Array, events: dict[str, Array]
    ) -> list[Sound] | list[HomeReading]:
        start_ns, silent = self.world.config.start_ns, np.empty(0, np.float32)
        sounds: list[Sound] = []
        readings: list[HomeReading] = []
        columns = [np.round(events[kind], 4).tolist() for kind in HEARD]
        levels, speeches = np.round(level, 1).tolist(), np.round(speech, 4).tolist()
        for k, tick in enumerate(ticks.tolist()):
            header = Header(
                sensor_id=self.id, frame_id=self.id, seq=self.seq, stamp_ns=start_ns + tick * 100_000_000
            )
            self.seq += 1
            if self.sensor.kind == "sound_level":
                readings.append(
                    HomeReading(
                        header=header, entity=self.id, kind="sound_level", value=levels[k], unit="dB(A)"
                    )
                )
                continue
            sounds.append(
                Sound(
                    header=header,
                    duration_s=self.period / HZ,
                    level_dba=levels[k],
                    speech=speeches[k],
                    events={kind: column[k] for kind, column in zip(HEARD, columns)},
                    embedding=silent,
                )
            )
        return readings or sounds


def talking(world: World) -> NDArray[np.bool_]:
    """(P, T): who speaks when: turns of some seconds where two are awake in a room, calls by one alone."""
    people, rng = world.people, world.rng("talk")
    ticks = people.xy.shape[1]
    talk = np.zeros((len(people.names), ticks), bool)
    sleeping = ACTIVITIES.index("sleeping")
    turn = 4 * HZ
    for p in range(len(people.names)):
        awake = (people.room[p] >= 0) & (people.activity[p] != sleeping)
        company = np.zeros(ticks, bool)
        for q in range(len(people.names)):
            if q != p:
                company |= (people.room[q] == people.room[p]) & (people.activity[q] != sleeping)
        share = np.where(company, 0.3, 0.015)[::turn]
        say = np.repeat(rng.random(len(share)) < share, turn)[:ticks]
        talk[p] = say & awake
    return talk
