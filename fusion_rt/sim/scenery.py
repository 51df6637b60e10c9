"""Houses, walls, hedges and trees that close the sides of a street. Each maker's origin is on the ground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fusion_rt.sim import meshes
from fusion_rt.sim.raycast import Material, TriMesh, merge
from fusion_rt.sim.shapes import Rng
from fusion_rt.transforms import Array


def building(rng: Rng) -> TriMesh:
    """A house or block: walls with rows of windows and doors, a gable or flat roof.

    x runs along the street, y = 0 is the street front, the body lies at y > 0.
    """
    width, depth = rng.uniform(6, 24), rng.uniform(6, 14)
    storeys = int(rng.integers(1, 6))
    storey = rng.uniform(2.6, 3.6)
    height = storeys * storey
    wall = np.clip(rng.uniform(90, 225) + rng.normal(0, 18, 3), 0, 255)
    columns = max(1, int(width / rng.uniform(2.0, 4.0)))
    pane = np.array([width / columns * rng.uniform(0.3, 0.6), storey * rng.uniform(0.35, 0.6)])
    sill, glass = rng.uniform(0.6, 1.1), np.clip(rng.uniform(25, 90, 3), 0, 255)
    recess = rng.uniform(0.06, 0.3) if rng.random() < 0.7 else 0.0
    size = (width, depth - recess, height + meshes.SUNK_M)
    center = (0, (depth + recess) / 2, (height - meshes.SUNK_M) / 2)
    parts = [meshes.box(size, center, Material.WALL, wall)]
    if recess:
        parts += _front(width, height, recess, columns, pane, np.arange(storeys) * storey + sill, wall)
    for floor in range(storeys):
        for column in range(columns):
            x = (column + 0.5) * width / columns - width / 2
            door = floor == 0 and rng.random() < 0.2
            tall = 2.1 if door else pane[1]
            at = (x, 0.0 if door else recess, tall / 2 if door else floor * storey + sill + tall / 2)
            material = Material.WALL if door else Material.GLASS
            color = np.clip(rng.uniform(30, 160, 3), 0, 255) if door else glass
            parts.append(meshes.box((pane[0], 0.06, tall), at, material, color))
    if rng.random() < 0.6:
        rise, eave = rng.uniform(1.5, 4.0), 0.4
        roof = np.array([[-eave, height - 0.1], [depth / 2, height + rise], [depth + eave, height - 0.1]])
        tiles = np.clip(np.array([120, 70, 55]) * rng.uniform(0.5, 1.3), 0, 255)
        ends = np.array([-width / 2 - eave, width / 2 + eave])
        gable = meshes.extrusion(roof, ends, np.ones(2), Material.WALL, tiles)
        swap = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        parts.append(gable.moved(swap))
    if rng.random() < 0.3:  # a balcony, bay or porch
        x, z = rng.uniform(-width / 3, width / 3), rng.uniform(0, height * 0.6)
        jut = rng.uniform(0.5, 1.5)
        parts.append(
            meshes.box(
                (rng.uniform(1, 4), jut, rng.uniform(1, 2.5)), (x, -jut / 2, z), Material.WALL, wall * 0.9
            )
        )
    for x in rng.uniform(-width / 2, width / 2, rng.integers(0, 3)):
        pipe = rng.uniform(0.04, 0.07)
        parts.append(
            meshes.tube((x, -pipe, 0), (x, -pipe, height), pipe, Material.METAL, wall * 0.6, around=6)
        )
    if rng.random() < 0.2:
        parts.append(_climber(rng, width, height))
    return merge(parts)


def _front(
    width: float, height: float, recess: float, columns: int, pane: Array, sills: Array, color: Array
) -> list[TriMesh]:
    """A wall's bands below and above its windows, and the piers between, `recess` before the panes."""
    edges = [-meshes.SUNK_M, *np.column_stack([sills, sills + pane[1]]).ravel(), height]
    parts = []
    for low, high in zip(edges[::2], edges[1::2]):
        at = (0.0, recess / 2, (low + high) / 2)
        parts.append(meshes.box((width, recess, high - low), at, Material.WALL, color))
    pier = width / columns - pane[0]
    for x in (np.arange(columns + 1) / columns - 0.5) * width:
        inside = float(np.clip(x, (pier / 2 - width) / 2, (width - pier / 2) / 2))
        broad = pier if abs(x) < width / 2 - 1e-6 else pier / 2
        size = (broad, recess * 0.98, height)
        parts.append(meshes.box(size, (inside, recess / 2, height / 2), Material.WALL, color))
    return parts


def _climber(rng: Rng, width: float, height: float) -> TriMesh:
    """Ivy on a part of a wall that faces -y."""
    wide, tall = width * rng.uniform(0.2, 1.0), min(height, rng.uniform(1.5, 7.0))
    count = min(int(wide * tall * 14), 700)
    at = rng.uniform((-wide / 2, -0.35, 0.0), (wide / 2, 0.0, tall), (count, 3))
    at[:, 0] += rng.uniform(-1, 1) * (width - wide) / 2
    return meshes.loose(at, 0.14, rng, _green(rng))


def wall(rng: Rng) -> TriMesh:
    """A garden wall along x, some with piers, some overgrown."""
    length, height = rng.uniform(3, 16), rng.uniform(0.5, 2.4)
    color = np.clip(rng.uniform(90, 200) + rng.normal(0, 12, 3), 0, 255)
    thick, middle = rng.uniform(0.15, 0.5), (height - meshes.SUNK_M) / 2
    parts = [meshes.box((length, thick, height + meshes.SUNK_M), (0, 0, middle), Material.WALL, color)]
    if rng.random() < 0.35:
        for x in np.arange(-length / 2, length / 2, rng.uniform(1.8, 3.5)):
            size = (rng.uniform(0.3, 0.5), thick + 0.2, height + meshes.SUNK_M + 0.1)
            parts.append(meshes.box(size, (x, 0, middle + 0.05), Material.WALL, color * 0.9))
    if rng.random() < 0.35:
        size = (length * rng.uniform(0.3, 1.0), thick + 0.3, height + rng.uniform(0, 0.5))
        parts.append(_twigs(rng, size, int(size[0] * size[2] * 14), _green(rng)))
    return merge(parts)


def fence(rng: Rng) -> TriMesh:
    """Posts with rails or pickets along x: rays pass between them, unless shrubs have grown through."""
    length, height = rng.uniform(4, 14), rng.uniform(0.8, 1.9)
    color = np.clip(rng.uniform(50, 190) + rng.normal(0, 15, 3), 0, 255)
    pitch = rng.uniform(0.12, 0.5)
    posts = [
        meshes.box((0.05, 0.04, height), (x, 0, height / 2), Material.POLE, color)
        for x in np.arange(-length / 2, length / 2, pitch)
    ]
    rails = [meshes.box((length, 0.04, 0.06), (0, 0, z), Material.POLE, color) for z in (0.25, height - 0.08)]
    grown = []
    if rng.random() < 0.3:
        size = (length * rng.uniform(0.3, 1.0), rng.uniform(0.3, 0.9), height * rng.uniform(0.7, 1.4))
        grown.append(_twigs(rng, size, int(size[0] * size[2] * 20), _green(rng)))
    return merge([*posts, *rails, *grown])


def guard_rail(rng: Rng) -> TriMesh:
    """A crash barrier along x."""
    length = rng.uniform(12, 40)
    parts = [meshes.box((length, 0.06, 0.32), (0, 0, 0.60), Material.METAL, (150, 152, 155))]
    parts += [
        meshes.box((0.1, 0.06, 0.9), (x, 0.08, 0.3), Material.METAL, (140, 142, 145))
        for x in np.arange(-length / 2, length / 2, 4.0)
    ]
    return merge(parts)


def hedge(rng: Rng) -> TriMesh:
    """A clipped hedge along x: a rough body with twigs standing out."""
    length, depth, height = rng.uniform(2, 14), rng.uniform(0.5, 1.6), rng.uniform(0.6, 2.6)
    color = _green(rng)
    body = meshes.box(
        (length, depth * 0.65, height - 0.1), (0, 0, height / 2 - 0.1), Material.LEAVES, color * 0.8
    )
    count = int(length * (depth + height) * 14)
    return merge([body, _twigs(rng, (length, depth, height), count, color)])


def _twigs(rng: Rng, size: tuple[float, float, float], count: int, color: Array) -> TriMesh:
    """Loose leaves on the skin of a box."""
    at = rng.uniform(-0.5, 0.5, (count, 3))
    side = rng.integers(0, 3, count)
    at[np.arange(count), side] = np.where(rng.random(count) < 0.5, -0.5, 0.5)
    at = at * np.array(size) + (0, 0, size[2] / 2)
    at += rng.normal(0, 0.08, at.shape)
    at[:, 2] = np.abs(at[:, 2])
    return meshes.loose(at, 0.13, rng, color)


def bush(rng: Rng) -> TriMesh:
    """A round shrub."""
    radius = rng.uniform(0.35, 1.6)
    height = radius * rng.uniform(0.6, 1.3)
    color = _green(rng)
    return meshes.leaves(
        (radius, radius, height), (0, 0, height * 0.8), int(160 + 260 * radius), 0.12, rng, color
    )


def tree(rng: Rng) -> TriMesh:
    """A trunk and a crown of loose leaves."""
    height = rng.uniform(4, 12)
    radius = rng.uniform(0.3, 0.55) if rng.random() < 0.12 else rng.uniform(0.07, 0.32)
    crown = np.array([1, 1, rng.uniform(0.8, 1.5)]) * rng.uniform(1.2, 3.2)
    bark = np.clip(np.array([95, 80, 65]) * rng.uniform(0.6, 1.3), 0, 255)
    top = max(height - crown[2], 2.0)
    lean = rng.normal(0, 0.25, 2)
    foot, fork = np.array([0, 0, -meshes.SUNK_M]), np.array([lean[0], lean[1], top])
    parts = [meshes.tube(foot, fork, radius, Material.POLE, bark, end_radius=radius * 0.6)]
    if rng.random() < 0.15:  # ivy, or shoots around the foot
        reach = radius + rng.uniform(0.1, 0.45)
        ivy = (reach, reach, rng.uniform(0.8, 2.0))
        parts.append(meshes.leaves(ivy, (0, 0, ivy[2] * 0.7), 220, 0.1, rng, _green(rng)))
    for _ in range(4):
        tip = fork + rng.normal(0, 1, 3) * (crown[0] / 2, crown[0] / 2, 0.5) + (0, 0, crown[2] * 0.6)
        parts.append(meshes.tube(fork, tip, radius * 0.4, Material.POLE, bark, end_radius=0.02, around=5))
    if rng.random() < 0.8:
        center = fork + (0, 0, crown[2] * 0.55)
        parts.append(
            meshes.leaves(crown, center, int(rng.uniform(250, 700)), rng.uniform(0.14, 0.3), rng, _green(rng))
        )
    return merge(parts)


def great_tree(rng: Rng) -> TriMesh:
    """An old tree: a crown as wide as the street, of dense clumps that begin above a person's head."""
    width, height = rng.uniform(2.4, 5.5), rng.uniform(6.0, 14.0)
    radius, low = rng.uniform(0.12, 0.4), rng.uniform(1.6, 3.6)
    bark = np.clip(np.array([80, 70, 58]) * rng.uniform(0.4, 1.2), 0, 255)
    color = _green(rng)
    tip = np.array([*rng.normal(0, 0.3, 2), height * 0.8])
    parts = [meshes.tube((0, 0, -meshes.SUNK_M), tip, radius, Material.POLE, bark, end_radius=radius * 0.4)]
    for _ in range(int(rng.integers(5, 11))):
        clump = rng.uniform(0.4, 0.7) * np.array([width, width, min(width, (height - low) / 2)])
        turn, out = rng.uniform(-np.pi, np.pi), rng.uniform(0, 1) * (width - clump[0])
        at = out * np.cos(turn), out * np.sin(turn), rng.uniform(low + clump[2], max(height - clump[2], low))
        parts.append(
            meshes.tube((0, 0, at[2] * 0.7), at, radius * 0.3, Material.POLE, bark, end_radius=0.03, around=5)
        )
        tint = color * rng.uniform(0.75, 1.25)
        parts.append(meshes.foliage(clump, at, int(80 + 70 * clump[0] ** 2), 0.22, rng, tint))
    return merge(parts)


def thicket(rng: Rng) -> TriMesh:
    """Young trees and shrubs grown into one along x, up to the height of houses: what stands behind most
    people and cars beside a country road. Some let one see stems below."""
    length, depth, height = rng.uniform(4, 11), rng.uniform(1.2, 3.0), rng.uniform(2.0, 8.0)
    low = rng.uniform(0.8, 2.2) if rng.random() < 0.3 else 0.0
    bark = np.clip(np.array([75, 66, 55]) * rng.uniform(0.4, 1.2), 0, 255)
    color = _green(rng)
    parts = []
    for _ in range(int(length * rng.uniform(0.7, 1.3)) + 2):
        tall = height * rng.uniform(0.5, 1.0)
        half = np.array(
            [rng.uniform(0.8, 1.8), depth / 2 * rng.uniform(0.7, 1.1), max((tall - low) / 2, 0.6)]
        )
        x, y = rng.uniform(-0.5, 0.5) * max(length - 2 * half[0], 0.1), rng.normal(0, 0.15 * depth)
        if low:
            stem = rng.uniform(0.03, 0.14)
            lean = x + rng.normal(0, 0.3), y + rng.normal(0, 0.2), low + half[2]
            parts.append(meshes.tube((x, y, -meshes.SUNK_M), lean, stem, Material.POLE, bark, around=6))
        count = int(40 + 45 * half[0] * half[2])
        tint = color * rng.uniform(0.6, 1.4)
        parts.append(meshes.foliage(half, (x, y, low + half[2]), count, rng.uniform(0.12, 0.26), rng, tint))
    return merge(parts)


def _green(rng: Rng) -> Array:
    color: Array = np.clip(np.array([60, 85, 38]) * rng.uniform(0.6, 1.5) + rng.normal(0, 8, 3), 5, 250)
    return color


MAKERS: dict[str, Callable[[Rng], TriMesh]] = {
    "building": building, "wall": wall, "fence": fence, "guard_rail": guard_rail, "hedge": hedge,
    "bush": bush, "thicket": thicket, "tree": tree, "great_tree": great_tree,
}  # fmt: skip
