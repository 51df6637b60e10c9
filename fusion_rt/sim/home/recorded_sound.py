"""Microphones that give samples: what goes on in the home, mixed as loud as it is there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_rt.header import Header
from fusion_rt.home_truth import TrueEvent
from fusion_rt.messages import AudioChunk
from fusion_rt.plan import Sensor
from fusion_rt.scene import ACTIVITIES
from fusion_rt.sim.home import hearing, sounds
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.world import World, stream
from fusion_rt.transforms import Array

CHUNK_S = 0.02


class SampledMicrophone:
    """One microphone's AudioChunks of 20 ms."""

    def __init__(self, world: World, sensor_id: str, sensor: Sensor, talk: NDArray[np.bool_]) -> None:
        self.world, self.id, self.talk, self.seq = world, sensor_id, talk, 0
        self.ear = hearing.Microphone(world, sensor_id, sensor, talk)
        self.rng = world.rng(sensor_id + " samples")
        self.rate = world.config.pcm.rate
        self.events: dict[int, Array] = {}

    def packets(self, first: int, last: int) -> list[AudioChunk]:
        """Sound of the ticks first..last."""
        config, start_ns = self.world.config, self.world.config.start_ns
        n = (last - first) * self.rate // HZ
        quiet = self._amplitude(np.array(config.sounds.background_dba))
        mix = quiet * sounds.synthesise("noise", n / self.rate, self.rate, self.rng)
        self._add_people(mix, first, last)
        for i, event in enumerate(self.world.events):
            begin = (event.onset_ns - start_ns) * 1e-9 - first / HZ
            end = (event.end_ns - start_ns) * 1e-9 - first / HZ
            if event.kind != "fall" and end > 0 and begin * self.rate < n:
                self._add_event(mix, i, event, begin)
        pcm = np.clip(np.round(mix * 32767), -32768, 32767).astype(np.int16)
        step = round(CHUNK_S * self.rate)
        chunks = []
        for k in range(0, n - step + 1, step):
            stamp_ns = start_ns + first * 100_000_000 + round(k / self.rate * 1e9)
            header = Header(sensor_id=self.id, frame_id=self.id, seq=self.seq, stamp_ns=stamp_ns)
            self.seq += 1
            chunks.append(AudioChunk(header=header, rate=self.rate, pcm=pcm[k : k + step]))
        return chunks

    def _amplitude(self, level_dba: Array) -> Array:
        amplitude: Array = 10 ** ((level_dba - self.world.config.pcm.full_scale_dba) / 20)
        return amplitude

    def _add_people(self, mix: Array, first: int, last: int) -> None:
        """Voices, kitchens, showers and steps, each at its level tick by tick."""
        people, seconds = self.world.people, len(mix) / self.rate
        ticks = np.arange(first, last)
        for p in range(len(people.names)):
            if not (people.room[p, ticks] >= 0).any():
                continue
            loss = self.ear.loss(np.nan_to_num(people.xy[p, ticks].astype(np.float64), nan=1e3), ticks)
            kind = self.ear.kinds[people.place[p, ticks]]
            cooks = people.activity[p, ticks] == ACTIVITIES.index("cooking")
            for what, on, level in (
                ("speech", self.talk[p, ticks], hearing.SPEECH_DBA),
                ("noise", cooks, hearing.COOKING_DBA),
                ("noise", kind == "shower", hearing.SHOWER_DBA),
            ):
                if on.any():
                    here = np.where(on, self._amplitude(level - loss), 0.0)
                    sound = sounds.synthesise(what, seconds, self.rate, self.rng)
                    mix += np.repeat(here, self.rate // HZ) * sound

    def _add_event(self, mix: Array, index: int, event: TrueEvent, begin_s: float) -> None:
        if index not in self.events:  # the same at every microphone
            self.events[index] = self._event(index, event)
        sound = self.events[index]
        start = round(begin_s * self.rate)
        a, b = max(start, 0), min(start + len(sound), len(mix))
        tick = np.array(
            [min(int((event.onset_ns - self.world.config.start_ns) * 1e-9 * HZ), self.world.ticks - 1)]
        )
        loss = float(self.ear.loss(np.array([event.position]), tick)[0])
        level = self._amplitude(np.array(hearing.LEVEL_DBA[event.kind] - loss))
        mix[a:b] += level * sound[a - start : b - start]

    def _event(self, index: int, event: TrueEvent) -> Array:
        rng = stream(self.world.seed, f"event {index}")
        seconds = (event.end_ns - event.onset_ns) * 1e-9
        found = sounds.clips(self.world.config.pcm.clips, event.kind)
        if not found:
            return sounds.synthesise(event.kind, seconds, self.rate, rng)
        clip = sounds.read_clip(found[int(rng.integers(len(found)))], self.rate)
        return np.resize(clip, max(round(seconds * self.rate), 1))
