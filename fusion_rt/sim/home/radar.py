"""mmWave radars: points of what moves, with Doppler and level, and ghosts; little of who sits still."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fusion_rt.header import Header
from fusion_rt.home_packets import RadarPoints
from fusion_rt.plan import Sensor
from fusion_rt.scene import POSTURES
from fusion_rt.sim.home.motion import HZ
from fusion_rt.sim.home.skeleton import extent
from fusion_rt.sim.home.walls import Sightlines
from fusion_rt.sim.home.world import World
from fusion_rt.transforms import Array

_EMPTY = np.empty((0, 3), np.float32), np.empty(0, np.float32), np.empty(0, np.float32)


class PointRadar:
    """A radar that gives points, in spells of ticks; a spell follows the one before."""

    def __init__(self, world: World, sensor_id: str, sensor: Sensor) -> None:
        self.world, self.id, self.sensor, self.seq = world, sensor_id, sensor, 0
        self.rng = world.rng(sensor_id)
        T = sensor.T_home_sensor
        self.eye, self.R_sensor_home = T[:3, 3], T[:3, :3].T
        self.sight = Sightlines.of(world.plan, world.house.pieces, self.eye)
        self.mirrors = _mirrors(world, sensor)
        self.phase = int(self.rng.integers(0, 1_000_000))
        # Something in its view that moves by itself (a fan, a curtain), in a third of all homes.
        self.flutter = self._flutter() if self.rng.random() < 0.33 else None
        self.height = np.array([dweller.height_m for dweller in world.house.people])

    def packets(self, first: int, last: int) -> list[RadarPoints]:
        """Frames of the ticks first..last."""
        world, config = self.world, self.world.config.radar
        every = max(round(HZ / config.hz), 1)
        ticks = np.arange(first + (-first) % every, last, every)
        frame, xyz, velocity, snr = self._points(ticks, every)
        order = np.argsort(frame, kind="stable")
        xyz, velocity, snr = xyz[order], velocity[order], snr[order]
        ends = np.searchsorted(frame[order], np.arange(len(ticks) + 1))
        packets, start_ns = [], world.config.start_ns
        for k, tick in enumerate(ticks):
            a, b = ends[k], ends[k + 1]
            if a == b and not config.keep_empty:
                continue
            header = Header(
                sensor_id=self.id,
                frame_id=self.id,
                seq=self.seq,
                stamp_ns=start_ns + int(tick) * 100_000_000 + self.phase,
            )
            self.seq += 1
            packets.append(RadarPoints(header=header, xyz=xyz[a:b], velocity=velocity[a:b], snr_db=snr[a:b]))
        return packets

    def _points(self, ticks: Array, every: int) -> tuple[Array, Array, Array, Array]:
        """frame (N,), xyz (N, 3), velocity (N,) and level (N,) float32 of all points of some frames."""
        world, config = self.world, self.world.config.radar
        people, n = world.people, len(self.world.people.names)
        parts: list[tuple[Array, Array, Array, Array]] = []
        closed = world.closed[ticks]
        for p in range(n):
            xy = people.xy[p, ticks].astype(np.float64)
            near = np.hypot(*(xy - self.eye[:2]).T) < self.sensor.range_m + 1.5
            at = np.flatnonzero(near)
            if not len(at):
                continue
            frames, tick = at, ticks[at]
            xy = xy[at]
            before = people.xy[p, np.maximum(tick - 1, 0)].astype(np.float64)
            velocity = np.nan_to_num((xy - before) * HZ)
            walls, shadow = self.sight.at(xy, closed[at])
            low, high = extent(people.posture[p, tick], people.support[p, tick], self.height[p])
            seen = np.clip((high - np.maximum(shadow, low)) / np.maximum(high - low, 0.05), 0, 1)
            limbs = people.limbs[p, tick].astype(np.float64)
            lying = people.posture[p, tick] == POSTURES.index("lying")
            facing = people.facing[p, tick].astype(np.float64)
            body = (xy, velocity, low, high, limbs, lying, facing, shadow)
            parts.append(self._echoes(frames, body, walls * config.wall_db, config.points * seen))
            for mirror in self.mirrors:
                image, moved, active = mirror.image(xy, velocity, config.ghosts)
                keep = np.flatnonzero(active & (walls == 0) & (limbs + np.hypot(*velocity.T) > 0.15))
                if len(keep):
                    ghost = (
                        image[keep],
                        moved[keep],
                        *(part[keep] for part in body[2:7]),
                        np.full(len(keep), -1.0),
                    )
                    loss = np.full(len(keep), 9.0)
                    parts.append(self._echoes(frames[keep], ghost, loss, 0.3 * config.points * seen[keep]))
        parts.append(self._clutter(len(ticks)))
        frame, xyz, doppler, snr = (np.concatenate(column) for column in zip(*parts))
        return frame, xyz.astype(np.float32), doppler.astype(np.float32), snr.astype(np.float32)

    def _echoes(
        self, frames: Array, body: tuple[Array, ...], loss_db: Array, expected: Array
    ) -> tuple[Array, Array, Array, Array]:
        """Points that bodies give: scatterers on trunk and limbs, those whose echo is strong and moves."""
        config, rng = self.world.config.radar, self.rng
        xy, velocity, low, high, limbs, lying, facing, shadow = body
        speed = np.hypot(*velocity.T)
        # Clutter removal takes the mean of each cell away: what does not move more than breathing fades.
        moving = np.hypot(speed, limbs)
        share = config.still + (1 - config.still) * moving**2 / (moving**2 + 0.18**2)
        # Draw only as many scatterers as can be strong enough.
        count = rng.poisson(np.maximum(expected, 0) * share)
        i = np.repeat(np.arange(len(frames)), count)
        if not len(i):
            return np.empty(0, np.int64), np.empty((0, 3)), np.empty(0), np.empty(0)
        n = len(i)
        z = low[i] + (high[i] - low[i]) * rng.beta(2.2, 1.8, n)
        spread = rng.normal(0, 0.12, (n, 2))
        long = np.where(lying[i], rng.uniform(-0.8, 0.8, n), 0.0)
        spread += long[:, None] * np.stack([np.cos(facing[i]), np.sin(facing[i])], axis=1)
        position = np.concatenate([xy[i] + spread, z[:, None]], axis=1)
        local = (position - self.eye) @ self.R_sensor_home.T
        distance = np.linalg.norm(local, axis=1)
        azimuth = np.arctan2(local[:, 1], local[:, 0])
        elevation = np.arcsin(np.clip(local[:, 2] / np.maximum(distance, 0.05), -1, 1))
        half = np.radians(self.sensor.fov_deg / 2)
        gain = -6.0 * (azimuth / half) ** 2 - 6.0 * (elevation / np.radians(40)) ** 2
        # Swerling 1: the echo of many scatterers, exponential in power.
        fading = 10 * np.log10(np.maximum(rng.exponential(1.0, n), 1e-3))
        level = config.snr_db - 40 * np.log10(np.maximum(distance, 0.3) / 2) + gain + fading - loss_db[i]
        seen = (level > config.threshold_db) & (np.abs(azimuth) < half) & (distance < self.sensor.range_m)
        seen &= (z > shadow[i]) & (distance > 0.15)
        i, local, distance, level = i[seen], local[seen], distance[seen], level[seen]
        azimuth, elevation, position = azimuth[seen], elevation[seen], position[seen]
        n = len(i)
        ray = (position[:, :2] - self.eye[:2]) / np.maximum(distance, 0.1)[:, None]
        doppler = (velocity[i] * ray).sum(axis=1) + rng.normal(0, 1, n) * (
            0.6 * limbs[i] + 0.25 * speed[i] + 0.01
        )
        # Angles by a few antennas: the error grows as the level falls (Cramer-Rao: with 1 / sqrt(SNR)).
        worse = np.clip(10 ** ((22 - level) / 20), 0.5, 4)
        azimuth = azimuth + rng.normal(0, np.radians(config.azimuth_deg), n) * worse
        elevation = elevation + rng.normal(0, np.radians(config.elevation_deg), n) * worse
        return frames[i], *self._measured(distance, azimuth, elevation, doppler, level)

    def _measured(
        self, distance: Array, azimuth: Array, elevation: Array, doppler: Array, level: Array
    ) -> tuple[Array, Array, Array]:
        config = self.world.config.radar
        step, cell, top = config.doppler_resolution_mps, config.range_resolution_m, config.doppler_max_mps
        distance = (np.round(distance / cell) + 0.0) * cell
        doppler = (doppler + top) % (2 * top) - top  # what is faster folds over
        doppler = np.round(doppler / step) * step
        flat = distance * np.cos(elevation)
        xyz = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(elevation)], axis=1)
        return xyz, doppler, np.round(level, 1)

    def _flutter(self) -> tuple[float, float]:
        half = np.radians(self.sensor.fov_deg / 2)
        return float(self.rng.uniform(1, self.sensor.range_m)), float(self.rng.uniform(-half, half) * 0.9)

    def _clutter(self, frames: int) -> tuple[Array, Array, Array, Array]:
        """False alarms anywhere, and the fan or curtain that flutters in spells of minutes."""
        config, rng = self.world.config.radar, self.rng
        count = rng.poisson(config.clutter, frames)
        frame = np.repeat(np.arange(frames), count)
        n = len(frame)
        half = np.radians(self.sensor.fov_deg / 2)
        distance = self.sensor.range_m * np.sqrt(rng.random(n))
        azimuth = rng.uniform(-half, half, n)
        if self.flutter is not None and rng.random() < 0.15:
            more = rng.poisson(0.8, frames)
            extra = np.repeat(np.arange(frames), more)
            m = len(extra)
            frame = np.concatenate([frame, extra])
            distance = np.concatenate([distance, self.flutter[0] + rng.normal(0, 0.1, m)])
            azimuth = np.concatenate([azimuth, self.flutter[1] + rng.normal(0, 0.05, m)])
            n += m
        elevation, doppler = rng.normal(0, 0.2, n), rng.normal(0, 0.4, n)
        level = config.threshold_db + rng.exponential(2.0, n)
        return frame, *self._measured(np.maximum(distance, 0.1), azimuth, elevation, doppler, level)


class _Mirror:
    """One wall of the radar's room that mirrors: a ghost stands as far behind it as the person before it."""

    def __init__(self, a: Array, b: Array, seed: int) -> None:
        self.a, along = a, (b - a) / np.hypot(*(b - a))
        self.normal = np.array([-along[1], along[0]])
        self.seed = seed

    def image(self, xy: Array, velocity: Array, chance: float) -> tuple[Array, Array, NDArray[np.bool_]]:
        """Mirrored places and velocities, and where there is a ghost: by places of half a metre, since
        whether a way by the wall comes back depends on geometry."""
        away = (xy - self.a) @ self.normal
        image = xy - 2 * away[:, None] * self.normal
        moved = velocity - 2 * (velocity @ self.normal)[:, None] * self.normal
        cells = np.floor(xy * 2).astype(np.int64)
        key = (cells[:, 0] * 73856093) ^ (cells[:, 1] * 19349663) ^ (self.seed * 83492791)
        return image, moved, (key * 2654435761 % 4294967296) < chance * 4294967296


def _mirrors(world: World, sensor: Sensor) -> list[_Mirror]:
    if sensor.room not in world.plan.rooms:
        return []
    corners = world.plan.rooms[sensor.room].corners
    return [
        _Mirror(a, b, world.seed * 31 + k)
        for k, (a, b) in enumerate(zip(corners, np.roll(corners, -1, axis=0)))
    ]


class TargetRadar:
    """A radar of the LD2450's kind: up to three targets without height, tracked by the module itself. It
    loses who sits still after a while, takes two people who touch for one, and lags a little (Hi-Link LD2450
    manual: 24 GHz, 6 m, +-60 degrees, 10 Hz, mm and cm/s)."""

    TARGETS = 3

    def __init__(self, world: World, sensor_id: str, sensor: Sensor) -> None:
        self.world, self.id, self.sensor, self.seq = world, sensor_id, sensor, 0
        self.rng = world.rng(sensor_id)
        T = sensor.T_home_sensor
        self.eye, self.R_sensor_home = T[:3, 3], T[:3, :3].T
        self.sight = Sightlines.of(world.plan, world.house.pieces, self.eye)
        self.phase = int(self.rng.integers(0, 1_000_000))
        n = len(world.people.names)
        self.drift = np.zeros((n, 2))
        self.quiet = np.full(n, 1e9)
        self.patience = self.rng.uniform(8, 40, n)

    def packets(self, first: int, last: int) -> list[RadarPoints]:
        """Frames of the ticks first..last."""
        world, rng, start_ns = self.world, self.rng, self.world.config.start_ns
        people, ticks = world.people, np.arange(first, last)
        closed = world.closed[first:last]
        n = len(people.names)
        local, speed, seen, moves = [], [], [], []
        for p in range(n):
            xy = people.xy[p, first:last].astype(np.float64)
            velocity = np.nan_to_num((xy - people.xy[p, np.maximum(ticks - 1, 0)]) * HZ)
            walls, shadow = self.sight.at(xy, closed)
            place = (
                np.concatenate([xy, np.full((len(xy), 1), self.eye[2])], axis=1) - self.eye
            ) @ self.R_sensor_home.T
            distance = np.hypot(*place[:, :2].T)
            with np.errstate(invalid="ignore"):
                view = (
                    np.abs(np.arctan2(place[:, 1], place[:, 0])) < np.radians(self.sensor.fov_deg / 2)
                ) & (distance < min(self.sensor.range_m, 6.0))
            _, high = extent(
                people.posture[p, ticks], people.support[p, ticks], world.house.people[p].height_m
            )
            view &= (walls == 0) & (high > shadow)
            ray = (xy - self.eye[:2]) / np.maximum(distance, 0.1)[:, None]
            motion = np.hypot(np.hypot(*velocity.T), people.limbs[p, ticks])
            local.append(place[:, :2])
            speed.append((velocity * ray).sum(axis=1))
            seen.append(view)
            moves.append(rng.random(len(xy)) < np.clip(motion / 0.3, 0, 0.9))
        packets = []
        steps = rng.normal(0, 0.02, (len(ticks), n, 2))
        for k, tick in enumerate(ticks):
            rows: list[tuple[float, float, float]] = []
            for p in range(n):
                self.quiet[p] = 0.0 if seen[p][k] and moves[p][k] else self.quiet[p] + 1 / HZ
                self.drift[p] = 0.98 * self.drift[p] + steps[k, p]
                if seen[p][k] and self.quiet[p] < self.patience[p]:
                    x, y = local[p][k] + self.drift[p]
                    if all(np.hypot(x - r[0], y - r[1]) > 0.45 for r in rows):
                        rows.append((round(x, 3), round(y, 3), round(float(speed[p][k]), 2)))
            rows = rows[: self.TARGETS]
            if not rows and not world.config.radar.keep_empty:
                continue
            header = Header(
                sensor_id=self.id,
                frame_id=self.id,
                seq=self.seq,
                stamp_ns=start_ns + int(tick) * 100_000_000 + self.phase,
            )
            self.seq += 1
            if rows:
                table = np.array(rows, np.float32)
                xyz = np.concatenate([table[:, :2], np.zeros((len(rows), 1), np.float32)], axis=1)
                packets.append(
                    RadarPoints(
                        header=header,
                        xyz=xyz,
                        velocity=table[:, 2].copy(),
                        snr_db=np.zeros(len(rows), np.float32),
                    )
                )
            else:
                packets.append(
                    RadarPoints(header=header, xyz=_EMPTY[0], velocity=_EMPTY[1], snr_db=_EMPTY[2])
                )
        return packets
