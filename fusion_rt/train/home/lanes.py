"""Streams of many homes side by side, each with sensors lost at random: what one step of training reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fusion_rt.home.canvas import HALF, ROOMS, SIDE
from fusion_rt.home.modalities import FUSED
from fusion_rt.home.network import COUNTS
from fusion_rt.home.observation import Observation, without
from fusion_rt.home.raster import CHANNELS, Raster
from fusion_rt.home.room_features import COLUMNS, SLICES
from fusion_rt.train.home.tape import Tape

Array = NDArray[np.float32]
FALLS = 0.7  # of the homes where somebody falls, so often a fall is watched
# How often a modality is lost where some are; 0.2 for others. What tells of people only by what a home is
# like is lost oftener: a network that has seen some homes too often takes their habits for laws.
LOST = {"air": 0.5, "light": 0.4, "contact": 0.35, "sound": 0.3}
# Standard deviations by which a home's habits are moved, room by room, as long as it is watched: its warmth,
# damp, air and light, and what stands by. No two homes share them, and few homes are simulated.
HABITS = {
    **{"air.t": 0.3, "air.h": 0.1, "air.c": 0.3, "light.lux": 0.15, "power.watts": 0.1},
    **{"sound.level": 0.1, "sound.level_5": 0.1},
}
# Where it is not their group's `known`.
KNOWN_BY = {"air.t": "air.temperature", "air.h": "air.humidity", "air.c": "air.co2"}
MOST = 8  # people at a tick that are taught
IGNORED = 3  # cells around somebody whom no sensor looks at
WIDTH, HEIGHT = 48, 40  # cells of the part of the canvas that is taught; most of it is no home
SPREAD = 0.7  # cells: of the bump that stands for a person
TARGET = ("x", "y", "vx", "vy", "posture", "fall", "seen")
_HABITS = [COLUMNS.index(name) for name in HABITS]
_KNOWN = [COLUMNS.index(KNOWN_BY.get(name, f"{name.split('.')[0]}.known")) for name in HABITS]
# Channels that change their sign in a mirror: offsets along x, and along y.
_ALONG = [[i for i, name in enumerate(CHANNELS) if name.endswith(axis)] for axis in ("dx", "dy")]


class Lane:
    """One home, from a random moment on; every tick or fewer; another home when it ends."""

    def __init__(self, paths: list[Path], rng: np.random.Generator) -> None:
        self._paths, self._rng = paths, rng
        self.fresh = True
        self._open()

    def next(self) -> tuple[Observation, int, float]:
        """The observation with what is lost, its tick, and the time since the one before, s."""
        tape = self.tape
        if self._tick + self._stride >= min(len(tape), self._until):
            self._open()
            tape = self.tape
        elif not self.fresh:
            self._tick += self._stride
        dt_s = 0.2 * self._stride
        if self._rng.random() < 0.004 * self._stride:
            self._lose()
        return self._thinned(tape.observation(self._tick)), self._tick, dt_s

    def _open(self) -> None:
        rng = self._rng
        path = self._paths[int(rng.integers(len(self._paths)))]
        self.tape = Tape(path)
        self.corner = self._part()
        self.raster = Raster(self.tape.plan, self.tape.canvas, self.tape.observer.spatial)
        # An update looks back a few ticks only: minutes are learnt from ticks that are far apart.
        self._stride = int(rng.choice([1, 2, 5, 20], p=[0.35, 0.1, 0.4, 0.15]))
        self._tick = int(rng.integers(max(1, len(self.tape) - 300 * self._stride)))
        self._until = self._tick + self._stride * int(rng.integers(150, 1200))
        falls = self.tape.falls()
        if len(falls) and rng.random() < FALLS:  # seldom in a life, often in training
            self._stride = 1
            self._tick = max(0, int(rng.choice(falls)) - int(rng.integers(5, 50)))
            self._until = self._tick + 100
        self.fresh = True
        self.mirrored = (bool(rng.random() < 0.5), bool(rng.random() < 0.5))  # left and right, near and far
        self._habits = rng.normal(0.0, list(HABITS.values()), size=(ROOMS, len(HABITS))).astype(np.float32)
        self._lose()

    def _part(self) -> tuple[int, int]:
        """First column and row, even, of a part of the canvas that holds the home; drawn anew each time."""
        rows, columns = np.nonzero(self.tape.canvas.index >= 0)
        return (
            _first(int(columns.min()), int(columns.max()) + 1, WIDTH, self._rng),
            _first(int(rows.min()), int(rows.max()) + 1, HEIGHT, self._rng),
        )

    def _lose(self) -> None:
        rng, draw = self._rng, self._rng.random()
        if draw < 0.25:
            self._lost: set[str] = set()
        elif draw < 0.85:
            self._lost = {m for m in FUSED if rng.random() < LOST.get(m, 0.2)}
        else:
            self._lost = set(FUSED) - {FUSED[int(rng.integers(len(FUSED)))]}
        alone = 0.15 if draw > 0.3 else 0.0
        self._dead = {i for i in range(len(self.tape.observer.spatial)) if rng.random() < alone}

    def _thinned(self, seen: Observation) -> Observation:
        observer = self.tape.observer
        seen.rooms[:, _HABITS] += self._habits * seen.rooms[:, _KNOWN]
        for modality in self._lost:
            seen = without(seen, modality, observer.kinds)
        if not self._dead.intersection(seen.spatial):
            return seen
        radar = seen.radar[~np.isin(seen.radar[:, 0], list(self._dead))]
        sights = seen.sights[~np.isin(seen.sights[:, 0], list(self._dead))]
        works = tuple(i for i in seen.spatial if i not in self._dead)
        rooms = seen.rooms.copy()
        for kind in ("radar", "camera"):
            rooms[:, SLICES[kind]] = 0.0
        for i in works:
            sensor = self.tape.plan.sensors[observer.spatial[i]]
            rooms[self.tape.canvas.rooms.index(sensor.room), SLICES[sensor.kind].start] = 1.0
        observer.summarise(radar, sights, rooms)
        return Observation(radar, sights, rooms, works)


class Batch:
    """One tick of all lanes, as tensors: inputs by name, without the states, and targets.

    fresh   (B,) bool: the state begins anew
    heat    (B, 1, 20, 24): the bumps; ignore: the same shape, 1 where nothing is taught
    people  (B, 8, 7): TARGET, x and y in cells of 0.25 m; rows without a person have x = -1
    counts, activities  (B, 16); exists (B, 16): there is such a room
    """

    def __init__(self, lanes: list[Lane]) -> None:
        n = len(lanes)
        canvas = np.zeros((n, len(CHANNELS), HEIGHT, WIDTH), dtype=np.float32)
        whole = np.zeros((len(CHANNELS), SIDE, SIDE), dtype=np.float32)
        rooms = np.zeros((n, ROOMS, len(COLUMNS)), dtype=np.float32)
        heat = np.zeros((n, 1, HEIGHT // 2, WIDTH // 2), dtype=np.float32)
        room_map = np.zeros((n, ROOMS, HEIGHT // 2, WIDTH // 2), dtype=np.float32)
        ignore = np.zeros_like(heat)
        people = np.full((n, MOST, len(TARGET)), -1.0, dtype=np.float32)
        counts = np.zeros((n, ROOMS), dtype=np.int64)
        activities = np.full((n, ROOMS), -1, dtype=np.int64)
        dt = np.zeros((n, 1), dtype=np.float32)
        fresh = np.zeros(n, dtype=bool)
        for i, lane in enumerate(lanes):
            seen, tick, dt[i] = lane.next()
            fresh[i], lane.fresh = lane.fresh, False
            lane.raster.draw(seen, whole)
            x, y = lane.corner
            canvas[i] = whole[:, y : y + HEIGHT, x : x + WIDTH]
            room_map[i] = lane.tape.canvas.room_map.reshape(ROOMS, HALF, HALF)[
                :, y // 2 : (y + HEIGHT) // 2, x // 2 : (x + WIDTH) // 2
            ]
            rooms[i] = seen.rooms
            told = targets(lane, tick, seen, heat[i, 0], ignore[i, 0])
            people[i, : len(told)] = told
            for axis in (0, 1):
                if lane.mirrored[axis]:
                    _mirror(axis, canvas[i], room_map[i], heat[i], ignore[i], people[i, : len(told)])
            counts[i] = np.minimum(lane.tape.counts[tick], COUNTS - 1)
            activities[i] = lane.tape.activities[tick]
        tapes = [lane.tape for lane in lanes]
        self.inputs = {
            "canvas": torch.from_numpy(canvas),
            "rooms": torch.from_numpy(rooms),
            "room_map": torch.from_numpy(room_map.reshape(n, ROOMS, -1)),
            "ways": torch.from_numpy(np.stack([t.canvas.ways for t in tapes])),
            "dt": torch.from_numpy(dt),
        }
        self.fresh = torch.from_numpy(fresh)
        self.heat, self.ignore = torch.from_numpy(heat), torch.from_numpy(ignore)
        self.people = torch.from_numpy(people)
        self.counts, self.activities = torch.from_numpy(counts), torch.from_numpy(activities)
        self.exists: Tensor = self.inputs["rooms"][:, :, SLICES["facts"].start] > 0
        self.cell_m = torch.tensor([t.canvas.cell_m for t in tapes], dtype=torch.float32)


def _first(low: int, high: int, size: int, rng: np.random.Generator) -> int:
    """Of `size` cells that hold low..high, as far as they can."""
    least, most = max(0, high - size), min(low, SIDE - size)
    return 2 * int(rng.integers(least // 2, max(most, least) // 2 + 1))


def _mirror(axis: int, canvas: Array, room_map: Array, heat: Array, ignore: Array, people: Array) -> None:
    """In place; axis 0: left and right change, 1: near and far."""
    for maps in (canvas, room_map, heat, ignore):
        maps[...] = np.flip(maps, axis=2 - axis).copy()
    canvas[_ALONG[axis]] *= -1.0
    people[:, axis] = (WIDTH, HEIGHT)[axis] - people[:, axis]
    people[:, 2 + axis] *= -1.0


def targets(lane: Lane, tick: int, seen: Observation, heat: Array, ignore: Array) -> Array:
    """Draws the people into heat and ignore; their rows of TARGET."""
    tape = lane.tape
    people = tape.people(tick)[:MOST]
    rows = np.zeros((len(people), len(TARGET)), dtype=np.float32)
    if not len(people):
        return rows
    cells = tape.canvas.cells(people[:, :2]) - np.array(lane.corner, dtype=np.float32)
    rows[:, :2], rows[:, 2:6] = cells, people[:, 2:6]
    names = [tape.observer.spatial[i] for i in seen.spatial]
    for row, (x, y) in zip(rows, people[:, :2]):
        row[6] = any(tape.canvas.covered(name, float(x), float(y)) for name in names)
        coarse: Array = row[:2] / np.float32(2)
        if row[6]:
            bump(heat, coarse)
        else:
            c, r = np.floor(coarse).astype(int)
            ignore[max(0, r - IGNORED) : r + IGNORED + 1, max(0, c - IGNORED) : c + IGNORED + 1] = 1.0
    ignore[heat > 0] = 0.0
    return rows


def bump(heat: Array, centre: Array) -> None:
    """1 in the cell of the centre (column, row), less around it."""
    column, row = np.floor(centre).astype(int)
    height, width = heat.shape
    for r in range(max(0, row - 2), min(height, row + 3)):
        for c in range(max(0, column - 2), min(width, column + 3)):
            far = (c + 0.5 - centre[0]) ** 2 + (r + 0.5 - centre[1]) ** 2
            value = 1.0 if (r, c) == (row, column) else min(0.99, float(np.exp(-far / (2 * SPREAD**2))))
            heat[r, c] = max(heat[r, c], value)
