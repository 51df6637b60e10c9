"""Furniture: placed in the rooms of a plan along their walls, and the places where people use it."""

from __future__ import annotations

import math

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.plan import Plan, inside
from fusion_rt.transforms import Array

# kind -> width along the wall, depth, height, m
SIZES = {
    "bed": (1.6, 2.0, 0.5),
    "wardrobe": (1.2, 0.6, 2.0),
    "sofa": (2.0, 0.9, 0.8),
    "tv": (1.2, 0.4, 1.1),
    "table": (1.4, 0.8, 0.75),
    "small_table": (0.9, 0.7, 0.75),
    "desk": (1.2, 0.7, 0.75),
    "shelf": (0.8, 0.3, 1.8),
    "cooker": (0.6, 0.6, 0.9),
    "counter": (1.2, 0.6, 0.9),
    "sink": (0.6, 0.6, 0.9),
    "fridge": (0.6, 0.6, 1.8),
    "toilet": (0.4, 0.6, 0.4),
    "basin": (0.5, 0.4, 0.85),
    "shower": (0.9, 0.9, 0.0),
    "chair": (0.45, 0.45, 0.45),
}
FREE_STANDING = ("table", "small_table")
# role of a room -> words in its name, what stands in it
ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "kitchen": (("kitchen",), ("cooker", "counter", "sink", "fridge", "small_table")),
    "bathroom": (("bath", "shower", "wc", "toilet"), ("shower", "toilet", "basin")),
    "bedroom": (("bed", "nursery", "guest"), ("bed", "wardrobe")),
    "study": (("study", "office", "work"), ("desk", "shelf")),
    "hall": (("hall", "corridor", "entrance", "landing"), ()),
    "living": (("living", "lounge", "dining", "sitting"), ("sofa", "tv", "table", "desk", "shelf")),
}
OTHER = ("shelf", "sofa")


class Piece(Struct, frozen=True, kw_only=True):
    """One piece: centre x, y, half its width (along the wall) and depth, height, all m; yaw (rad) is where
    its front looks."""

    kind: str
    room: str
    centre: tuple[float, float]
    half: tuple[float, float]
    height: float
    yaw: float

    @property
    def axes(self) -> Array:
        """(2, 2): rows are the unit vectors along its width and towards its front."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[-s, c], [c, s]])

    @property
    def corners(self) -> Array:
        """(4, 2), m."""
        w, d = self.half
        return np.array(self.centre) + np.array([[-w, -d], [w, -d], [w, d], [-w, d]]) @ self.axes

    def at(self, across: float, forward: float) -> tuple[float, float]:
        """A point by its distance from the centre across and to the front, m."""
        x, y = np.array(self.centre) + np.array([across, forward]) @ self.axes
        return float(x), float(y)

    def shadow(self, eye: Array, cells: Array) -> Array:
        """(N,): height below which a point over each cell (N, 2) is hidden from eye (3,); -1: nothing is.
        Who is on the piece itself is not hidden by it."""
        if self.height <= 0.3:
            return np.full(len(cells), -1.0)
        start = self.axes @ (eye[:2] - self.centre)
        ray = (cells - self.centre) @ self.axes.T - start  # (N, 2)
        half = np.array(self.half)
        ray = np.where(np.abs(ray) < 1e-9, 1e-9, ray)
        a, b = (-half - start) / ray, (half - start) / ray
        enter, leave = np.minimum(a, b).max(axis=1), np.maximum(a, b).min(axis=1)
        behind = (enter < leave) & (leave > 1e-3) & (leave < 1 - 1e-6) & (enter > -1e-6)
        rise = self.height - eye[2]
        u = leave if rise < 0 else np.maximum(enter, 1e-3)
        shadow: Array = np.where(behind, eye[2] + rise / np.where(behind, u, 1.0), -1.0)
        return shadow


class Place(Struct, frozen=True, kw_only=True):
    """Where one person can be with a purpose: x, y, where one looks (rad), what one lies or sits on (m)."""

    kind: str
    room: str
    position: tuple[float, float]
    facing: float
    support: float = 0.0


def role(slug: str, name: str) -> str:
    """What a room is for, by its names; "" where they do not say."""
    for text in (slug.lower(), name.lower()):
        for each, (words, _) in ROLES.items():
            if any(word in text for word in words):
                return each
    return ""


def furnish(plan: Plan, rng: np.random.Generator) -> list[Piece]:
    """Furniture for every room: against walls, clear of doors and of each other, ways left free."""
    pieces: list[Piece] = []
    roles = {slug: role(slug, room.name) for slug, room in plan.rooms.items()}
    for slug in plan.rooms:
        for kind in _wanted(plan, slug, roles):
            for _ in range(60):
                piece = _against_wall(plan, slug, kind, rng)
                if piece is not None and _fits(plan, piece, pieces):
                    pieces.append(piece)
                    if kind in FREE_STANDING:
                        pieces += _chairs(plan, piece, pieces)
                    break
    return pieces


def _wanted(plan: Plan, slug: str, roles: dict[str, str]) -> tuple[str, ...]:
    there = set(roles.values())
    wanted = ROLES[roles[slug]][1] if roles[slug] else OTHER
    if roles[slug] == "living" and "study" in there:
        wanted = tuple(kind for kind in wanted if kind != "desk")
    first = slug == next(iter(plan.rooms))
    if first and "kitchen" not in there:
        wanted = (*wanted, "cooker")
    if first and "bedroom" not in there:
        wanted = (*wanted, "bed")
    return wanted


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


def _chairs(plan: Plan, table: Piece, pieces: list[Piece]) -> list[Piece]:
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


def places(pieces: list[Piece]) -> list[Place]:
    """Where people lie, sit and stand at these pieces."""
    found: list[Place] = []

    def add(piece: Piece, kind: str, across: float, forward: float, turn: float, support: float) -> None:
        found.append(
            Place(
                kind=kind,
                room=piece.room,
                position=piece.at(across, forward),
                facing=piece.yaw + turn,
                support=support,
            )
        )

    for piece in pieces:
        w, d = piece.half
        if piece.kind == "bed":
            for across in (-0.4, 0.4):
                add(piece, "bed", across, 0.0, 0.0, 0.5)
        elif piece.kind == "sofa":
            for across in (-0.6, 0.0, 0.6):
                add(piece, "sofa", across, 0.05, 0.0, 0.42)
        elif piece.kind == "chair":
            add(piece, "chair", 0.0, 0.0, 0.0, 0.45)
        elif piece.kind == "desk":
            add(piece, "desk", 0.0, d + 0.3, math.pi, 0.45)
        elif piece.kind == "toilet":
            add(piece, "toilet", 0.0, 0.05, 0.0, 0.4)
        elif piece.kind == "shower":
            add(piece, "shower", 0.0, 0.0, 0.0, 0.0)
        elif piece.kind in ("cooker", "counter", "sink", "fridge", "basin", "wardrobe", "shelf"):
            add(piece, piece.kind, 0.0, d + 0.35, math.pi, 0.0)
    return found


def raster(polygons: list[Array], origin: Array, shape: tuple[int, int], cell_m: float) -> NDArray[np.bool_]:
    """Which cells (rows y, columns x) lie in one of the polygons (N, 2), m."""
    canvas = np.zeros(shape, np.uint8)
    for polygon in polygons:
        cv2.fillPoly(canvas, [np.round((polygon - origin) / cell_m - 0.5).astype(np.int32)], 1)
    return canvas.astype(bool)
