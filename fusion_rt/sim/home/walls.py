"""The walls of a plan as lines, and what a sensor sees past walls and furniture."""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.plan import Plan
from fusion_rt.sim.home.furniture import Piece
from fusion_rt.transforms import Array

THICK_M = 0.3  # two rooms' edges that are closer than this are one wall
CELL_M = 0.1


def walls(plan: Plan) -> Array:
    """(W, 2, 2) float64: ends of every piece of wall once, doors left out, m."""
    pieces: list[Array] = []
    openings = [np.array(door.at) for door in plan.doors.values()]
    for room in plan.rooms.values():
        corners = room.corners
        for a, b in zip(corners, np.roll(corners, -1, axis=0)):
            for piece in _without(a, b, [*openings, *pieces]):
                pieces.append(piece)
    return np.array(pieces).reshape(-1, 2, 2)


def _without(a: Array, b: Array, others: list[Array]) -> list[Array]:
    """The parts of a line that no other line covers."""
    length = float(np.hypot(*(b - a)))
    if length < 1e-6:
        return []
    along = (b - a) / length
    across = np.array([-along[1], along[0]])
    kept = [(0.0, length)]
    for other in others:
        if np.abs((other - a) @ across).max() > THICK_M:
            continue
        low, high = sorted(float(v) for v in (other - a) @ along)
        kept = [
            part
            for first, last in kept
            for part in ((first, min(last, low)), (max(first, high), last))
            if part[1] - part[0] > 0.02
        ]
    return [np.array([a + along * first, a + along * last]) for first, last in kept]


def crossings(origin: Array, targets: Array, lines: Array) -> NDArray[np.bool_]:
    """(N, W): which lines (W, 2, 2) the way from origin (2,) to each target (N, 2) crosses."""
    ray = targets - origin  # (N, 2)
    a, edge = lines[:, 0], lines[:, 1] - lines[:, 0]
    denominator = ray[:, None, 0] * edge[:, 1] - ray[:, None, 1] * edge[:, 0]
    denominator = np.where(np.abs(denominator) < 1e-12, 1e-12, denominator)
    between = a - origin
    u = (between[:, 0] * edge[:, 1] - between[:, 1] * edge[:, 0]) / denominator
    s = (between[:, 0] * ray[:, None, 1] - between[:, 1] * ray[:, None, 0]) / denominator
    hit: NDArray[np.bool_] = (u > 1e-6) & (u < 1 - 1e-6) & (s >= 0) & (s <= 1)
    return hit


class Sightlines(Struct, frozen=True, kw_only=True):
    """What one sensor at `eye` sees of each cell (rows y, columns x) of the plan.

    walls   number of walls between; doors: bit d set where the way leads through door d
    shadow  height below which furniture hides, m
    """

    eye: Array
    origin: Array
    walls: NDArray[np.int8]
    doors: NDArray[np.uint32]
    shadow: NDArray[np.float32]

    @classmethod
    def of(cls, plan: Plan, pieces: list[Piece], eye: Array) -> Sightlines:
        x0, y0, x1, y1 = plan.bounds()
        origin = np.array([x0 - 1.5, y0 - 1.5])
        nx, ny = (int(np.ceil((high - low + 3.0) / CELL_M)) for low, high in ((x0, x1), (y0, y1)))
        xs = origin[0] + (np.arange(nx) + 0.5) * CELL_M
        ys = origin[1] + (np.arange(ny) + 0.5) * CELL_M
        cells = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
        count = crossings(eye[:2], cells, walls(plan)).sum(axis=1)
        doors = np.zeros(len(cells), np.uint32)
        if plan.doors:
            openings = np.array([door.at for door in plan.doors.values()], np.float64)
            through = crossings(eye[:2], cells, openings)
            for d in range(min(through.shape[1], 32)):
                doors |= through[:, d].astype(np.uint32) << np.uint32(d)
        shadow = np.full(len(cells), -1.0)
        for piece in pieces:
            np.maximum(shadow, piece.shadow(eye, cells), out=shadow)
        return cls(
            eye=eye,
            origin=origin,
            walls=np.minimum(count, 100).astype(np.int8).reshape(ny, nx),
            doors=doors.reshape(ny, nx),
            shadow=shadow.astype(np.float32).reshape(ny, nx),
        )

    def at(self, xy: Array, closed: Array) -> tuple[Array, Array]:
        """Walls and closed doors between (...), and the height from which on it is seen (...), of places
        xy (..., 2); NaN is far outside. closed: bits of the doors that are closed, of the same shape."""
        ny, nx = self.walls.shape
        with np.errstate(invalid="ignore"):
            column = np.nan_to_num((xy[..., 0] - self.origin[0]) / CELL_M, nan=-1).astype(np.int32)
            row = np.nan_to_num((xy[..., 1] - self.origin[1]) / CELL_M, nan=-1).astype(np.int32)
        known = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
        row, column = np.where(known, row, 0), np.where(known, column, 0)
        between = self.walls[row, column] + ((self.doors[row, column] & closed) != 0)
        return np.where(known, between, 99), self.shadow[row, column]
