"""Shortest ways through doors and around furniture."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fusion_rt.plan import OUTSIDE, Plan, inside
from fusion_rt.sim.home.furniture import Piece, raster
from fusion_rt.sim.home.walls import CELL_M, walls
from fusion_rt.transforms import Array

SHOULDER_M = 0.2  # closer to a wall nobody walks


class Floor:
    """The cells of a plan (rows y, columns x) where one could walk were there no furniture.

    origin  the corner of cell 0, 0, m; exits: outer door -> a place before it"""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        x0, y0, x1, y1 = plan.bounds()
        self.origin = np.array([x0 - 1.5, y0 - 1.5])
        nx, ny = (math.ceil((high - low + 3.0) / CELL_M) for low, high in ((x0, x1), (y0, y1)))
        self.shape = (ny, nx)
        within = raster([room.corners for room in plan.rooms.values()], self.origin, self.shape, CELL_M)
        wall = np.zeros(self.shape, np.uint8)
        for a, b in walls(plan):
            self._line(wall, a, b)
        self.free = within & (cv2.distanceTransform(1 - wall, cv2.DIST_L2, 5) * CELL_M > SHOULDER_M)
        self.exits: dict[str, tuple[float, float]] = {}
        self.ways = np.zeros(self.shape, np.uint8)  # through doors, furniture or not
        for slug, door in plan.doors.items():
            a, b = (np.array(end) for end in door.at)
            middle, normal = (a + b) / 2, np.array([a[1] - b[1], b[0] - a[0]]) / max(np.hypot(*(b - a)), 1e-6)
            self._line(self.ways, middle - 0.4 * normal, middle + 0.4 * normal)
            if OUTSIDE in door.rooms:
                if plan.room_at(*(middle + 0.3 * normal)):
                    normal = -normal
                out = middle + 1.0 * normal
                self._line(self.ways, middle, out)
                self.exits[slug] = (float(out[0]), float(out[1]))
        self._rooms: dict[str, NDArray[np.bool_]] = {}

    def _line(self, canvas: NDArray[np.uint8], a: Array, b: Array) -> None:
        (p, q) = (np.floor((point - self.origin) / CELL_M).astype(int) for point in (a, b))
        cv2.line(canvas, (int(p[0]), int(p[1])), (int(q[0]), int(q[1])), 1)

    def room_cells(self, room: str) -> NDArray[np.bool_]:
        """The cells whose centres lie in a room."""
        if room not in self._rooms:
            ny, nx = self.shape
            xs, ys = (self.origin[i] + (np.arange(n) + 0.5) * CELL_M for i, n in ((0, nx), (1, ny)))
            cells = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
            self._rooms[room] = inside(self.plan.rooms[room].corners, cells).reshape(ny, nx)
        return self._rooms[room]


class Routes:
    """The free cells of a furnished home and the ways over them (Dijkstra on cells, then pulled straight)."""

    def __init__(self, floor: Floor, pieces: list[Piece]) -> None:
        self.floor, self.origin, self.exits = floor, floor.origin, floor.exits
        solid = [_inflated(piece, 0.12) for piece in pieces if piece.height > 0]
        furniture = raster(solid, floor.origin, floor.shape, CELL_M)
        self.free: NDArray[np.bool_] = (floor.free & ~furniture) | floor.ways.astype(bool)
        self._from: dict[int, Array] = {}

    @cached_property
    def _graph(self) -> Any:
        """Cells as nodes, with the lengths between neighbours."""
        from scipy.sparse import csr_matrix

        ny, nx = self.free.shape
        index = np.arange(ny * nx).reshape(ny, nx)
        rows, columns, lengths = [], [], []
        for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
            a = self.free[: ny - dy, max(0, -dx) : nx - max(0, dx)]
            b = self.free[dy:, max(0, dx) : nx + min(0, dx)]
            both = a & b
            rows.append(index[: ny - dy, max(0, -dx) : nx - max(0, dx)][both])
            columns.append(index[dy:, max(0, dx) : nx + min(0, dx)][both])
            lengths.append(np.full(int(both.sum()), math.hypot(dx, dy) * CELL_M))
        r, c, w = (np.concatenate(part) for part in (rows, columns, lengths))
        return csr_matrix((w, (r, c)), shape=(ny * nx, ny * nx))

    def cell(self, point: tuple[float, float] | Array) -> int:
        """Index of the cell under a point."""
        column, row = np.floor((np.asarray(point) - self.origin) / CELL_M).astype(int)
        return int(row * self.free.shape[1] + column)

    def centre(self, cell: int) -> Array:
        """(2,), m."""
        row, column = divmod(cell, self.free.shape[1])
        return self.origin + (np.array([column, row]) + 0.5) * CELL_M

    def nearest(self, point: tuple[float, float], room: str, reachable: Array | None = None) -> int | None:
        """The free cell of a room that is nearest to a point."""
        free = self.floor.room_cells(room) & self.free
        if reachable is not None:
            free &= reachable.reshape(free.shape)
        rows, columns = np.nonzero(free)
        if not len(rows):
            return None
        centres = self.origin + (np.stack([columns, rows], axis=1) + 0.5) * CELL_M
        best = int(np.argmin(((centres - np.asarray(point)) ** 2).sum(axis=1)))
        return int(rows[best] * self.free.shape[1] + columns[best])

    def reachable(self, cell: int) -> NDArray[np.bool_]:
        """(cells,): to which a way leads from this one."""
        _, labels = cv2.connectedComponents(self.free.astype(np.uint8), connectivity=8)
        flat = labels.reshape(-1)
        joined: NDArray[np.bool_] = (flat == flat[cell]) & self.free.reshape(-1)
        return joined

    def way(self, start: int, goal: int) -> Array | None:
        """(M, 2) corners of the way between two cells, m; None where there is none."""
        if goal not in self._from:
            from scipy.sparse.csgraph import dijkstra

            _, self._from[goal] = dijkstra(
                self._graph, directed=False, indices=goal, return_predecessors=True
            )
        before = self._from[goal]
        if start != goal and before[start] < 0:
            return None
        cells = [start]
        while cells[-1] != goal:
            cells.append(int(before[cells[-1]]))
        points = np.array([self.centre(cell) for cell in cells])
        return self._straightened(points)

    def _straightened(self, points: Array) -> Array:
        kept, i = [0], 0
        while i < len(points) - 1:
            j, step = i + 1, 1
            while j + step < len(points) and self._sees(points[i], points[j + step]):
                j += step
                step = min(step * 2, 8)
            while j + 1 < len(points) and self._sees(points[i], points[j + 1]):
                j += 1
            kept.append(j)
            i = j
        return points[kept]

    def _sees(self, a: Array, b: Array) -> bool:
        n = max(2, int(np.hypot(*(b - a)) / (CELL_M * 0.5)))
        line = a + np.linspace(0, 1, n)[:, None] * (b - a)
        columns, rows = np.floor((line - self.origin) / CELL_M).astype(int).T
        return bool(self.free[rows, columns].all())


def _inflated(piece: Piece, by: float) -> Array:
    w, d = piece.half[0] + by, piece.half[1] + by
    return np.array(piece.centre) + np.array([[-w, -d], [w, -d], [w, d], [-w, d]]) @ piece.axes
