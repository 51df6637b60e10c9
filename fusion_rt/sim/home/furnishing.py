"""Furniture placed in the rooms of a plan: along walls, clear of doors, with all ways left free."""

from __future__ import annotations

import math

import cv2
import numpy as np

from fusion_rt.plan import Plan, inside
from fusion_rt.sim.home.furniture import (
    FREE_STANDING,
    OTHER,
    REACH_M,
    ROLES,
    SIZES,
    SMALLER,
    Piece,
    area_m2,
    places,
    role,
)
from fusion_rt.sim.home.routes import Floor, Routes
from fusion_rt.transforms import Array


def furnish(plan: Plan, rng: np.random.Generator) -> list[Piece]:
    """Furniture for every room: against walls, clear of doors and of each other, ways left free."""
    pieces: list[Piece] = []
    floor = Floor(plan)
    doors = _doors(floor)
    roles = {slug: role(slug, room.name) for slug, room in plan.rooms.items()}
    largest = max(plan.rooms, key=lambda slug: area_m2(plan.rooms[slug].corners))
    for slug in plan.rooms:
        wanted = ROLES[roles[slug]][1] if roles[slug] else OTHER
        if slug == largest:
            wanted = _for_lack_of_rooms(wanted, set(roles.values()))
        for kind in wanted:
            for name in (kind, SMALLER.get(kind, kind)):
                placed = _placed(plan, floor, doors, slug, name, pieces, rng)
                if placed:
                    pieces = [*pieces, *placed]
                    break
    return pieces


def _for_lack_of_rooms(wanted: tuple[str, ...], there: set[str]) -> tuple[str, ...]:
    """What stands in the largest room besides, where there is no room of its own for it; the most needed
    first."""
    if "study" in there:
        wanted = tuple(kind for kind in wanted if kind != "desk")
    if "kitchen" not in there:
        wanted = ("cooker", "sink", "fridge", *wanted)
    if "bedroom" not in there:
        wanted = ("bed", *wanted)
    return wanted


def _placed(
    plan: Plan,
    floor: Floor,
    doors: list[int],
    slug: str,
    kind: str,
    pieces: list[Piece],
    rng: np.random.Generator,
) -> list[Piece]:
    """The piece, with its chairs, somewhere in the room; empty where no place was found for it."""
    for _ in range(60):
        piece = _against_wall(plan, slug, kind, rng)
        if piece is None or not _fits(plan, piece, pieces):
            continue
        placed = [piece, *(_chairs(plan, piece) if kind in FREE_STANDING else ())]
        if _passable(floor, doors, [*pieces, *placed]):
            return placed
    return []


def _doors(floor: Floor) -> list[int]:
    """The cells of the doors that one can walk to from the first, without furniture."""
    routes = Routes(floor, [])
    cells = [routes.cell(np.array(door.at).mean(axis=0)) for door in floor.plan.doors.values()]
    return [cell for cell in cells if routes.reachable(cells[0])[cell]]


def _passable(floor: Floor, doors: list[int], pieces: list[Piece]) -> bool:
    """Whether one still comes from every door to every other, and to every piece."""
    routes = Routes(floor, pieces)
    if not doors:
        return True
    reachable = routes.reachable(doors[0])
    if not reachable[doors].all():
        return False
    for place in places(pieces[-5:]):  # the newest, with its chairs
        cell = routes.nearest(place.position, place.room, reachable)
        if cell is None or np.hypot(*(routes.centre(cell) - place.position)) > REACH_M:
            return False
    return True


def _against_wall(plan: Plan, slug: str, kind: str, rng: np.random.Generator) -> Piece | None:
    corners = plan.rooms[slug].corners
    i = int(rng.integers(len(corners)))
    a, b = corners[i], corners[(i + 1) % len(corners)]
    width, depth, height = SIZES[kind]
    length = float(np.hypot(*(b - a)))
    if length < width + 0.1:
        return None
    along = (b - a) / length
    inward = np.array([-along[1], along[0]])
    middle = (a + b) / 2
    if not inside(corners, (middle + 0.05 * inward)[None])[0]:
        inward = -inward
    off = 0.05
    if kind in FREE_STANDING:
        off = float(rng.uniform(0.75, 1.3))
    centre = a + along * rng.uniform(width / 2 + 0.05, length - width / 2 - 0.05) + inward * (depth / 2 + off)
    return Piece(
        kind=kind,
        room=slug,
        centre=(float(centre[0]), float(centre[1])),
        half=(width / 2, depth / 2),
        height=height,
        yaw=math.atan2(inward[1], inward[0]),
    )


def _fits(plan: Plan, piece: Piece, pieces: list[Piece]) -> bool:
    corners = piece.corners
    if not inside(plan.rooms[piece.room].corners, _edge_points(corners)).all():
        return False
    for door in plan.doors.values():
        ends = np.array(door.at)
        for u in (0.0, 0.5, 1.0):
            local = piece.axes @ (ends[0] + u * (ends[1] - ends[0]) - piece.centre)
            if (np.maximum(np.abs(local) - piece.half, 0) ** 2).sum() < 0.75**2:
                return False
    margin = 0.02 if piece.kind in ("cooker", "counter", "sink", "fridge", "chair") else 0.45
    front = piece.kind not in FREE_STANDING and piece.kind != "chair"
    zone = _grown(piece, margin, 0.6 if front else margin)
    return not any(_overlap(zone, _grown(o, 0.0, 0.5)) for o in pieces if o.room == piece.room)


def _grown(piece: Piece, side: float, front: float) -> Array:
    w, d = piece.half
    if piece.kind in FREE_STANDING or piece.kind == "chair":
        front = min(front, side)
    local = np.array([[-w - side, -d], [w + side, -d], [w + side, d + front], [-w - side, d + front]])
    return np.array(piece.centre) + local @ piece.axes


def _overlap(a: Array, b: Array) -> bool:
    """Whether two convex quadrilaterals overlap."""
    area, _ = cv2.intersectConvexConvex(a.astype(np.float32), b.astype(np.float32))
    return bool(area > 1e-4)


def _edge_points(corners: Array) -> Array:
    return np.concatenate(
        [corners + u * (np.roll(corners, -1, axis=0) - corners) for u in (0, 0.25, 0.5, 0.75)]
    )


def _chairs(plan: Plan, table: Piece) -> list[Piece]:
    chairs: list[Piece] = []
    sides = (-1, 1)
    across = (-0.35, 0.35) if table.kind == "table" else (0.0,)
    for side in sides:
        for offset in across:
            width, depth, height = SIZES["chair"]
            chair = Piece(
                kind="chair",
                room=table.room,
                centre=table.at(offset, side * (table.half[1] + 0.2)),
                half=(width / 2, depth / 2),
                height=height,
                yaw=table.yaw + (math.pi if side > 0 else 0.0),
            )
            if inside(plan.rooms[table.room].corners, chair.corners).all():
                chairs.append(chair)
    return chairs
