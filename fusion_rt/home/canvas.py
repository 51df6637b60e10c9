"""The plan as the network sees it: cells, which room each is in, walls, doors, what each sensor covers."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fusion_rt.errors import RigError
from fusion_rt.plan import OUTSIDE, Plan, Room, Sensor, inside

SIDE = 64  # cells of the canvas, in both directions
HALF = SIDE // 2  # cells of what the network answers on
ROOMS = 16
CELL_M = 0.25
MARGIN_M = 0.5
PLAN_CHANNELS = ("room", "wall", "door")

Array = NDArray[np.float32]


class Canvas:
    """origin     x, y of the corner of cell 0, 0, m; cell_m: their size, larger than 0.25 only where the home
               is
    rooms      slugs in the order of the network's rows
    plan       (3, 64, 64) float32: PLAN_CHANNELS
    room_map   (16, 32 * 32) float32: which part of each of the coarser cells is in a room
    ways       (16, 16) float32: 1 where a door joins two rooms
    facts      (16, 4) float32: there is such a room, its area / 20 m^2, doors / 4, a way outside
    covers     sensor_id of a radar or camera -> (64, 64) float32
    """

    def __init__(self, plan: Plan) -> None:
        self.rooms = tuple(plan.rooms)
        if len(self.rooms) > ROOMS:
            raise RigError(
                f"the plan has {len(self.rooms)} rooms, the network holds {ROOMS}: join small ones that no"
                " sensor tells apart"
            )
        x0, y0, x1, y1 = plan.bounds()
        extent = max(x1 - x0, y1 - y0) + 2 * MARGIN_M
        self.cell_m = max(CELL_M, extent / SIDE)
        half = 0.5 * SIDE * self.cell_m
        self.origin = (0.5 * (x0 + x1) - half, 0.5 * (y0 + y1) - half)
        centres = self._centres(SIDE)
        held = [inside(room.corners, centres).reshape(SIDE, SIDE) for room in plan.rooms.values()]
        self.index = np.full((SIDE, SIDE), -1, dtype=np.int32)  # of the room that each fine cell is in
        for i in reversed(range(len(held))):
            self.index[held[i]] = i
        one_hot = np.stack([self.index == i for i in range(ROOMS)]).astype(np.float32)
        coarse = one_hot.reshape(ROOMS, HALF, 2, HALF, 2).mean(axis=(2, 4))
        self.room_map: Array = coarse.reshape(ROOMS, HALF * HALF)
        self.plan: Array = np.zeros((len(PLAN_CHANNELS), SIDE, SIDE), dtype=np.float32)
        self.plan[0] = self.index >= 0
        for room in plan.rooms.values():
            for a, b in zip(room.corners, np.roll(room.corners, -1, axis=0)):
                self._draw(1, a, b)
        for door in plan.doors.values():
            a, b = np.array(door.at, dtype=np.float64)
            self._draw(2, a, b)
        self.plan[1] *= 1 - self.plan[2]
        self.ways: Array = np.zeros((ROOMS, ROOMS), dtype=np.float32)
        self.facts: Array = np.zeros((ROOMS, 4), dtype=np.float32)
        for i, room in enumerate(plan.rooms.values()):
            self.facts[i, :2] = 1.0, area_m2(room) / 20.0
        for door in plan.doors.values():
            ends = [self.rooms.index(r) for r in door.rooms if r != OUTSIDE]
            self.facts[ends, 2] += 0.25
            if len(ends) == 2:
                self.ways[ends[0], ends[1]] = self.ways[ends[1], ends[0]] = 1.0
            else:
                self.facts[ends, 3] = 1.0
        self.covers = {
            slug: self._cover(plan.rooms[sensor.room], sensor, centres)
            for slug, sensor in plan.sensors.items()
            if sensor.kind in ("radar", "camera")
        }

    def cells(self, xy: Array) -> Array:
        """Home x, y (N, 2), m -> column, row (N, 2), in cells of 0.25 m; the centre of the first is 0.5."""
        return ((xy - np.asarray(self.origin, dtype=np.float32)) / np.float32(self.cell_m)).astype(np.float32)

    def metres(self, cells: Array) -> Array:
        """The other way."""
        return cells * np.float32(self.cell_m) + np.asarray(self.origin, dtype=np.float32)

    def room_of(self, x: float, y: float) -> str:
        """The room of a point; "" outside of all."""
        column, row = (int((v - o) // self.cell_m) for v, o in zip((x, y), self.origin))
        if not (0 <= column < SIDE and 0 <= row < SIDE):
            return ""
        i = int(self.index[row, column])
        return self.rooms[i] if i >= 0 else ""

    def covered(self, sensor_id: str, x: float, y: float) -> bool:
        """Whether that radar or camera looks there."""
        column, row = (int((v - o) // self.cell_m) for v, o in zip((x, y), self.origin))
        return 0 <= column < SIDE and 0 <= row < SIDE and bool(self.covers[sensor_id][row, column])

    def _centres(self, side: int) -> NDArray[np.float64]:
        """(side * side, 2), row by row."""
        step = self.cell_m * SIDE / side
        along = (np.arange(side) + 0.5) * step
        x, y = np.meshgrid(self.origin[0] + along, self.origin[1] + along)
        return np.stack([x.ravel(), y.ravel()], axis=1)

    def _draw(self, channel: int, a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
        steps = max(2, int(2 * np.linalg.norm(b - a) / self.cell_m) + 1)
        points = a + np.linspace(0, 1, steps)[:, None] * (b - a)
        cells = ((points - self.origin) / self.cell_m).astype(np.int64).clip(0, SIDE - 1)
        self.plan[channel, cells[:, 1], cells[:, 0]] = 1.0

    def _cover(self, room: Room, sensor: Sensor, centres: NDArray[np.float64]) -> Array:
        """What it sees of its own room; through doors it sees more, which nobody relies on."""
        T = np.linalg.inv(sensor.T_home_sensor)
        points = np.concatenate([centres, np.full((len(centres), 1), 0.8)], axis=1)
        local = points @ T[:3, :3].T + T[:3, 3]
        seen = inside(room.corners, centres)
        if sensor.kind == "radar":
            bearing = np.arctan2(local[:, 1], local[:, 0])
            seen &= np.abs(bearing) <= math.radians(sensor.fov_deg) / 2
            seen &= np.hypot(local[:, 0], local[:, 1]) <= sensor.range_m
        else:
            depth = np.maximum(local[:, 2], 1e-3)
            u, v, _ = sensor.intrinsics @ (local / depth[:, None]).T
            seen &= (local[:, 2] > 0.2) & (u >= 0) & (u < sensor.width) & (v >= 0) & (v < 1.3 * sensor.height)
        return seen.reshape(SIDE, SIDE).astype(np.float32)


def area_m2(room: Room) -> float:
    x, y = room.corners.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
