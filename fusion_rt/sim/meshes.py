"""Primitive meshes: everything in a simulated world is put together from these."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import ArrayLike

from fusion_rt.sim.raycast import Material, TriMesh, make, merge
from fusion_rt.transforms import Array

SUNK_M = 1.0  # below ground, of what stands outside: nothing hovers on a slope
_BOX_FACES = np.array(
    [
        [0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6], [0, 1, 4], [1, 5, 4],
        [2, 6, 3], [3, 6, 7], [0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5],
    ]
)  # fmt: skip


def box(size: ArrayLike, center: ArrayLike, material: Material, color: ArrayLike) -> TriMesh:
    """An axis-aligned box: size and center in metres."""
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    return make(corners * np.asarray(size) + np.asarray(center), _BOX_FACES, material, color)


def ellipsoid(
    radii: ArrayLike, center: ArrayLike, material: Material, color: ArrayLike, *, around: int = 10
) -> TriMesh:
    """A closed ellipsoid of `around` meridians."""
    rows = around // 2 + 1
    polar = np.linspace(0, np.pi, rows)
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    p, a = np.meshgrid(polar, turn, indexing="ij")
    unit = np.stack([np.sin(p) * np.cos(a), np.sin(p) * np.sin(a), np.cos(p)], axis=-1).reshape(-1, 3)
    return make(unit * np.asarray(radii) + np.asarray(center), _tube_faces(rows, around), material, color)


def tube(
    start: ArrayLike,
    end: ArrayLike,
    radius: float,
    material: Material,
    color: ArrayLike,
    *,
    end_radius: float | None = None,
    around: int = 8,
) -> TriMesh:
    """A closed cylinder or cone from `start` to `end`, metres."""
    first, last = np.asarray(start, float), np.asarray(end, float)
    # Written out: np.cross takes ten times longer for two vectors, and a street has thousands of tubes.
    x, y, z = (last - first) / max(math.dist(last, first), 1e-9)
    side = np.array((y, -x, 0.0) if abs(z) < 0.9 else (0.0, z, -y))
    side /= math.hypot(*side)
    other = np.array((y * side[2] - z * side[1], z * side[0] - x * side[2], x * side[1] - y * side[0]))
    turn = np.arange(around)[:, None] * (2 * np.pi / around)
    ring = np.cos(turn) * side + np.sin(turn) * other
    tip = radius if end_radius is None else end_radius
    rows = np.concatenate([0 * ring + first, first + radius * ring, last + tip * ring, 0 * ring + last])
    return make(rows, _tube_faces(4, around), material, color)


def ring(
    center: ArrayLike, outer: float, inner: float, material: Material, color: ArrayLike, *, around: int = 16
) -> TriMesh:
    """A flat ring in the x z plane: a bicycle's wheel with its open middle."""
    turn = np.linspace(0, 2 * np.pi, around, endpoint=False)
    circle = np.stack([np.cos(turn), np.zeros(around), np.sin(turn)], axis=1)
    thickness = np.array([0.0, 0.02, 0.0])
    rows = [inner * circle - thickness, outer * circle - thickness, outer * circle + thickness]
    rows += [inner * circle + thickness, inner * circle - thickness]
    return make(np.concatenate(rows) + np.asarray(center), _tube_faces(5, around), material, color)


def extrusion(profile: Array, y: Array, shrink: Array, material: Material, color: ArrayLike) -> TriMesh:
    """A side profile swept along y, closed at both ends.

    profile: (P, 2) x, z, star-shaped about its mean. y: (S,) m. shrink: (S,) scale of x about the middle.
    """
    profile, middle = np.asarray(profile, float), np.asarray(profile, float)[:, 0].mean()
    slices = [
        np.column_stack([middle + (profile[:, 0] - middle) * k, np.full(len(profile), v), profile[:, 1]])
        for v, k in zip(y, shrink)
    ]
    return swept(np.array(slices), material, color)


def swept(slices: Array, material: Material, color: ArrayLike) -> TriMesh:
    """Outlines (S, P, 3) joined one to the next and closed at both ends; the first and the last are
    star-shaped about their means."""
    count = slices.shape[1]
    caps = [np.repeat(s.mean(0, keepdims=True), count, 0) for s in (slices[0], slices[-1])]
    rows = [caps[0], *slices, caps[1]]
    return make(np.concatenate(rows), _tube_faces(len(rows), count), material, color)


def grid_surface(points: Array, material: Array, color: Array) -> TriMesh:
    """A surface through a grid of points (R, C, 3); material and color of each cell (R-1, C-1[, 3])."""
    rows, columns = points.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (s.reshape(-1) for s in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:], index[1:, 1:]))
    faces = np.stack([np.column_stack([a, b, c]), np.column_stack([b, d, c])], axis=1).reshape(-1, 3)
    mesh = make(points.reshape(-1, 3), faces, Material.ROAD, (0, 0, 0))
    return TriMesh(
        mesh.vertices,
        mesh.faces,
        np.repeat(np.asarray(material, np.uint8).reshape(-1), 2),
        mesh.instance,
        np.repeat(np.asarray(color, np.uint8).reshape(-1, 3), 2, axis=0),
    )


def leaves(
    radii: ArrayLike, center: ArrayLike, count: int, size: float, rng: np.random.Generator, color: ArrayLike
) -> TriMesh:
    """Loose triangles filling an ellipsoid: a crown that lets some rays through."""
    direction = _directions(count, rng)
    at = direction * rng.uniform(0.55, 1.0, (count, 1)) * np.asarray(radii) + np.asarray(center)
    return loose(at, size, rng, color)


def foliage(
    radii: ArrayLike, center: ArrayLike, count: int, size: float, rng: np.random.Generator, color: ArrayLike
) -> TriMesh:
    """A clump of loose leaves, the darker the deeper they are, around a core that no ray passes: beams end in
    it at any depth, as in real foliage."""
    direction = _directions(count, rng)
    out = rng.uniform(0.3, 1.0, (count, 1))
    tint = np.asarray(color) * (0.3 + 0.7 * out**2)
    dark = np.asarray(color) * rng.uniform(0.15, 0.4)
    core = ellipsoid(np.asarray(radii) * rng.uniform(0.3, 0.6), center, Material.LEAVES, dark, around=8)
    return merge([core, loose(direction * out * np.asarray(radii) + np.asarray(center), size, rng, tint)])


def loose(at: Array, size: float, rng: np.random.Generator, color: ArrayLike) -> TriMesh:
    """One small leaf of random shape at each point (N, 3), of one colour or one each."""
    count = len(at)
    corners = at[:, None] + rng.normal(scale=size, size=(count, 3, 3))
    mesh = make(corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3), Material.LEAVES, color)
    shade = rng.uniform(0.7, 1.3, (count, 1))
    tinted = np.clip(mesh.color * shade, 0, 255).astype(np.uint8)
    return TriMesh(mesh.vertices, mesh.faces, mesh.material, mesh.instance, tinted)


def _directions(count: int, rng: np.random.Generator) -> Array:
    """(count, 3) unit vectors, all directions alike."""
    direction = rng.normal(size=(count, 3))
    unit: Array = direction / np.linalg.norm(direction, axis=1, keepdims=True)
    return unit


@functools.cache
def _tube_faces(rows: int, columns: int) -> Array:
    """Triangles of a grid of `rows` rings that closes on itself."""
    index = np.arange(rows * columns).reshape(rows, columns)
    turned = np.concatenate([index[:, 1:], index[:, :1]], axis=1)
    a, b, c, d = index[:-1], turned[:-1], index[1:], turned[1:]
    quads = [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    return np.concatenate(quads)
