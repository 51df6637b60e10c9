"""Furniture, what it hides, and the places where people use it."""

from __future__ import annotations

import math

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

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
    "single_bed": (0.9, 2.0, 0.5),
    "armchair": (0.9, 0.85, 0.8),
    "small_counter": (0.6, 0.6, 0.9),
}
# Where the one finds no room, the other may.
SMALLER = {"bed": "single_bed", "sofa": "armchair", "table": "small_table", "counter": "small_counter"}
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
REACH_M = 1.3  # a place is used from no farther


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
        d = piece.half[1]
        if piece.kind in ("bed", "single_bed"):
            for across in (-0.4, 0.4) if piece.kind == "bed" else (0.0,):
                add(piece, "bed", across, 0.0, 0.0, 0.5)
        elif piece.kind == "armchair":
            add(piece, "sofa", 0.0, 0.05, 0.0, 0.42)
        elif piece.kind == "small_counter":
            add(piece, "counter", 0.0, d + 0.35, math.pi, 0.0)
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


def area_m2(corners: Array) -> float:
    """Of a polygon (N, 2)."""
    x, y = corners.T
    return 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
