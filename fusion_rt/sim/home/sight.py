"""Cameras: the people that a detector finds in their images, less what furniture hides, with its mistakes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_rt.header import Header
from fusion_rt.home_packets import Sight
from fusion_rt.plan import Sensor
from fusion_rt.scene import POSTURES
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.skeleton import body_points
from fusion_rt.sim.home.walls import Sightlines
from fusion_rt.sim.home.world import World
from fusion_rt.transforms import Array


class Watcher:
    """One camera's detector, in spells of ticks."""

    def __init__(self, world: World, sensor_id: str, sensor: Sensor) -> None:
        self.world, self.id, self.sensor, self.seq = world, sensor_id, sensor, 0
        self.rng = world.rng(sensor_id)
        T = sensor.T_home_sensor
        self.eye, self.R_sensor_home = T[:3, 3], T[:3, :3].T
        self.sight = Sightlines.of(world.plan, world.house.pieces, self.eye)
        self.phase = int(self.rng.integers(0, 100_000_000))
        self.height = np.array([dweller.height_m for dweller in world.house.people])
        # A coat or a picture that is taken for somebody now and then.
        self.coat = self.rng.uniform([0.1, 0.2, 0.05, 0.15], [0.9, 0.7, 0.15, 0.4])

    def packets(self, first: int, last: int) -> list[Sight]:
        """What is found in the images of the ticks first..last."""
        config, start_ns = self.world.config.camera, self.world.config.start_ns
        every = max(round(HZ / config.hz), 1)
        ticks = np.arange(first + (-first) % every, last, every)
        found: list[list[tuple[Array, float, Array]]] = [[] for _ in ticks]
        for p in range(len(self.world.people.names)):
            for k, box, score, points in self._seen(p, ticks):
                found[k].append((box, score, points))
        self._false(found, every)
        packets = []
        for k, tick in enumerate(ticks):
            n = len(found[k])
            header = Header(
                sensor_id=self.id,
                frame_id=self.id,
                seq=self.seq,
                stamp_ns=start_ns + int(tick) * 100_000_000 + self.phase,
            )
            self.seq += 1
            boxes, scores, points = (
                _rounded(np.array([each[i] for each in found[k]], np.float32).reshape(n, *shape))
                for i, shape in enumerate(((4,), (), (17, 3)))
            )
            packets.append(
                Sight(
                    header=header,
                    width=self.sensor.width,
                    height=self.sensor.height,
                    boxes=boxes,
                    scores=scores,
                    keypoints=points,
                )
            )
        return packets

    def _seen(self, p: int, ticks: Array) -> list[tuple[int, Array, float, Array]]:
        """(index of the image, box (4,), score, keypoints (17, 3)) of one person."""
        world, config, rng, sensor = self.world, self.world.config.camera, self.rng, self.sensor
        people = world.people
        xy = people.xy[p, ticks].astype(np.float64)
        walls, _ = self.sight.at(xy, world.closed[ticks])
        depth = (np.concatenate([xy, np.ones((len(xy), 1))], axis=1) - self.eye) @ self.R_sensor_home[2]
        with np.errstate(invalid="ignore"):
            at = np.flatnonzero((walls == 0) & (depth > 0.3) & (depth < 12))
        if not len(at):
            return []
        tick = ticks[at]
        before = people.xy[p, np.maximum(tick - 1, 0)].astype(np.float64)
        speed = np.nan_to_num(np.hypot(*(xy[at] - before).T) * HZ)
        limbs = people.limbs[p, tick].astype(np.float64)
        body = body_points(
            xy[at],
            people.facing[p, tick].astype(np.float64),
            people.posture[p, tick],
            people.support[p, tick].astype(np.float64),
            np.full(len(at), self.height[p]),
            2 * np.pi * 0.9 * tick / HZ,
            np.minimum(0.3 * speed + 0.05 * limbs, 0.3),
        )
        camera = (body - self.eye) @ self.R_sensor_home.T  # (n, 17, 3)
        z = np.maximum(camera[..., 2], 0.05)
        u = camera[..., 0] / z * sensor.intrinsics[0, 0] + sensor.intrinsics[0, 2]
        v = camera[..., 1] / z * sensor.intrinsics[1, 1] + sensor.intrinsics[1, 2]
        size = 1.7 * sensor.intrinsics[1, 1] / np.maximum(depth[at], 0.3)
        around, shadow = self.sight.at(body[..., :2], world.closed[tick][:, None])
        inside = (u >= 0) & (u < sensor.width) & (v >= 0) & (v < sensor.height) & (camera[..., 2] > 0.2)
        clear = inside & (body[..., 2] > shadow - 0.05) & (around == 0)
        share = clear.mean(axis=1)
        lying = people.posture[p, tick] == POSTURES.index("lying")
        chance = (1 - config.miss) * np.clip((share - 0.15) / 0.4, 0, 1) * np.clip((size - 25) / 60, 0, 1)
        chance *= np.where(lying, 0.75, 1.0)
        room = world.people.room[p, tick]
        lux = world.light.lux[np.maximum(room, 0), np.minimum(tick // HZ, world.light.lux.shape[1] - 1)]
        chance *= np.where(lux < 5, config.dark, 1.0)
        seen = np.flatnonzero(rng.random(len(at)) < chance)
        jitter = config.jitter_px * size / 200
        u = u + rng.normal(0, 1, u.shape) * jitter[:, None]
        v = v + rng.normal(0, 1, v.shape) * jitter[:, None]
        score = np.clip(np.where(clear, 0.85, 0.25) + rng.normal(0, 0.1, u.shape), 0.02, 1.0)
        score = np.where(inside, score, 0.0)
        confidence = np.clip(0.45 + 0.5 * share + rng.normal(0, 0.08, len(at)), 0.2, 0.99)
        results = []
        for i in seen:
            use = clear[i]
            pad = 0.06 * size[i]
            box = np.array(
                [u[i, use].min() - pad, v[i, use].min() - pad, u[i, use].max() + pad, v[i, use].max() + pad]
            )
            box += rng.normal(0, 1, 4) * jitter[i]
            box = np.clip(box, 0, [sensor.width, sensor.height] * 2)
            points = np.stack([u[i] * inside[i], v[i] * inside[i], score[i]], axis=1)
            results.append((int(at[i]), box, float(confidence[i]), points))
        return results

    def _false(self, found: list[list[tuple[Array, float, Array]]], every: int) -> None:
        """Spells of a few seconds."""
        config, rng, sensor = self.world.config.camera, self.rng, self.sensor
        n = rng.poisson(config.false_per_hour * len(found) * every / HZ / 3600)
        for _ in range(n):
            start = int(rng.integers(len(found)))
            x, y, w, h = (
                self.coat if rng.random() < 0.7 else rng.uniform([0, 0, 0.03, 0.1], [0.9, 0.7, 0.2, 0.5])
            )
            for k in range(start, min(start + 1 + int(rng.exponential(4.0) * HZ / every), len(found))):
                if rng.random() < 0.5:
                    continue
                box = np.array([x, y, x + w, y + h]) * ([sensor.width, sensor.height] * 2)
                box = np.clip(box + rng.normal(0, 3, 4), 0, [sensor.width, sensor.height] * 2)
                points = np.zeros((17, 3))
                points[:, 0] = rng.uniform(box[0], box[2] + 1e-3, 17)
                points[:, 1] = rng.uniform(box[1], box[3] + 1e-3, 17)
                points[:, 2] = rng.uniform(0.05, 0.4, 17)
                found[k].append((box, float(rng.uniform(0.3, 0.6)), points))


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """To 1/128: of a pixel or a probability. Finer is noise, and costs a log four times the space."""
    rounded: NDArray[np.float32] = np.round(values * np.float32(128)) / np.float32(128)
    return rounded
