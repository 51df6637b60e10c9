"""Inertial sensors that people wear on the belt: steps, rest, falls."""

from __future__ import annotations

import numpy as np

from fusion_rt.header import Header
from fusion_rt.messages import ImuSample
from fusion_rt.plan import Sensor
from fusion_rt.scene import POSTURES
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.world import World

G = 9.81


class WornImu:
    """x forward, y left, z up while upright. A fall has less than 1 g for half a second, then a blow of 2 to
    6 g, then rest in another attitude (UMAFall: Casilari et al., 2017; peaks at the waist 2-7 g)."""

    def __init__(self, world: World, sensor_id: str, sensor: Sensor) -> None:
        self.world, self.id, self.seq = world, sensor_id, 0
        self.rng = world.rng(sensor_id)
        names = world.people.names
        self.person = names.index(sensor.room) if sensor.room in names else (0 if not sensor.room else None)
        rate = world.config.worn.hz
        self.step_s = 1 / rate
        self.falls = [
            ((event.onset_ns - world.config.start_ns) * 1e-9, float(self.rng.uniform(2.2, 5.5)))
            for event in world.events
            if event.kind == "fall" and self.person is not None and event.person_id == names[self.person]
        ]

    def packets(self, first: int, last: int) -> list[ImuSample]:
        """Samples of the ticks first..last, while its wearer is at home."""
        if self.person is None:
            return []
        people, p, rng, config = self.world.people, self.person, self.rng, self.world.config.worn
        k = np.arange(np.ceil(first / HZ / self.step_s - 1e-9), np.ceil(last / HZ / self.step_s - 1e-9))
        t = k * self.step_s
        tick = np.minimum((t * HZ).astype(int), self.world.ticks - 1)
        tick_before, tick_after = np.maximum(tick - 3, 0), np.minimum(tick + 3, self.world.ticks - 1)
        speed = np.nan_to_num(np.hypot(*(people.xy[p, tick] - people.xy[p, tick_before]).T) / 0.3)
        lying = (people.posture[p] == POSTURES.index("lying")).astype(np.float64)
        tilt = (lying[tick_before] + lying[tick] + lying[tick_after]) / 3 * (np.pi / 2)
        turn = (lying[tick_after] - lying[tick_before]) / 0.6 * (np.pi / 2)
        cadence = 2 * np.pi * (1.2 + 0.6 * np.minimum(speed, 1.5)) * t
        walking = np.clip(speed / 0.9, 0, 1.4)
        limbs = people.limbs[p, tick].astype(np.float64)
        n = len(t)
        force = np.stack(
            [
                G * np.sin(tilt) + 0.9 * walking * np.sin(cadence + 0.7),
                0.6 * walking * np.sin(cadence / 2),
                G * np.cos(tilt) + 2.2 * walking * np.sin(cadence),
            ],
            axis=1,
        )
        force += rng.normal(0, 1, (n, 3)) * (config.noise_mps2 + 1.2 * limbs * (walking < 0.2))[:, None]
        rate = rng.normal(0, 1, (n, 3)) * (config.noise_radps + 0.3 * limbs)[:, None]
        rate[:, 1] += turn
        rate[:, 2] += 0.4 * walking * np.sin(cadence / 2)
        for onset, peak in self.falls:
            since = t - onset
            floating = (since > 0.1) & (since < 0.55)
            force[floating] *= np.interp(since[floating], [0.1, 0.3, 0.55], [1.0, 0.35, 0.5])[:, None]
            blow = np.exp(-(((since - 0.62) / 0.035) ** 2)) * peak * G
            blow += np.exp(-(((since - 0.78) / 0.05) ** 2)) * peak * G * 0.35
            force += blow[:, None] * np.array([0.75, 0.2, 0.6])
            rate[:, 1] += 3.0 * np.exp(-(((since - 0.45) / 0.2) ** 2))
        packets, start_ns = [], self.world.config.start_ns
        home = people.room[p, tick] >= 0
        stamps = start_ns + np.round(t * 1e9).astype(np.int64)
        for stamp, f, w in zip(stamps[home].tolist(), force[home].tolist(), rate[home].tolist()):
            header = Header(sensor_id=self.id, frame_id=self.id, seq=self.seq, stamp_ns=stamp)
            self.seq += 1
            packets.append(ImuSample(header=header, specific_force=tuple(f), angular_rate=tuple(w)))
        return packets
