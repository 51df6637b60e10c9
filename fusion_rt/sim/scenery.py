"""What stands beside roads and is no road user: the negatives. Each maker's origin is on the ground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fusion_rt.sim import meshes
from fusion_rt.sim.bicycles import bicycle
from fusion_rt.sim.raycast import Material, TriMesh, merge
from fusion_rt.transforms import Array, from_translation_rpy

Rng = np.random.Generator

_SUNK = 1.0  # m below ground, so that nothing hovers on a slope


def building(rng: Rng) -> TriMesh:
    """A house or block: walls with rows of windows and doors, a gable or flat roof.

    x runs along the street, y = 0 is the street front, the body lies at y > 0.
    """
    width, depth = rng.uniform(6, 24), rng.uniform(6, 14)
    storeys = int(rng.integers(1, 6))
    storey = rng.uniform(2.6, 3.6)
    height = storeys * storey
    wall = np.clip(rng.uniform(90, 225) + rng.normal(0, 18, 3), 0, 255)
    size, center = (width, depth, height + _SUNK), (0, depth / 2, (height - _SUNK) / 2)
    parts = [meshes.box(size, center, Material.WALL, wall)]
    columns = max(1, int(width / rng.uniform(2.0, 4.0)))
    pane = np.array([width / columns * rng.uniform(0.3, 0.6), storey * rng.uniform(0.35, 0.6)])
    sill, glass = rng.uniform(0.6, 1.1), np.clip(rng.uniform(25, 90, 3), 0, 255)
    for floor in range(storeys):
        for column in range(columns):
            x = (column + 0.5) * width / columns - width / 2
            door = floor == 0 and rng.random() < 0.2
            tall = 2.1 if door else pane[1]
            at = (x, 0.0, tall / 2 if door else floor * storey + sill + tall / 2)
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
    return merge(parts)


def wall(rng: Rng) -> TriMesh:
    """A garden wall along x."""
    length, height = rng.uniform(3, 16), rng.uniform(0.5, 2.4)
    color = np.clip(rng.uniform(90, 200) + rng.normal(0, 12, 3), 0, 255)
    return meshes.box(
        (length, rng.uniform(0.15, 0.5), height + _SUNK), (0, 0, (height - _SUNK) / 2), Material.WALL, color
    )


def fence(rng: Rng) -> TriMesh:
    """Posts with rails or pickets along x: rays pass between them."""
    length, height = rng.uniform(4, 14), rng.uniform(0.8, 1.9)
    color = np.clip(rng.uniform(50, 190) + rng.normal(0, 15, 3), 0, 255)
    pitch = rng.uniform(0.12, 0.5)
    posts = [
        meshes.box((0.05, 0.04, height), (x, 0, height / 2), Material.POLE, color)
        for x in np.arange(-length / 2, length / 2, pitch)
    ]
    rails = [meshes.box((length, 0.04, 0.06), (0, 0, z), Material.POLE, color) for z in (0.25, height - 0.08)]
    return merge([*posts, *rails])


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
    foot, fork = np.array([0, 0, -_SUNK]), np.array([lean[0], lean[1], top])
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
    parts = [meshes.tube((0, 0, -_SUNK), tip, radius, Material.POLE, bark, end_radius=radius * 0.4)]
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
            parts.append(meshes.tube((x, y, -_SUNK), lean, stem, Material.POLE, bark, around=6))
        count = int(40 + 45 * half[0] * half[2])
        tint = color * rng.uniform(0.6, 1.4)
        parts.append(meshes.foliage(half, (x, y, low + half[2]), count, rng.uniform(0.12, 0.26), rng, tint))
    return merge(parts)


def pole(rng: Rng) -> TriMesh:
    """A lamp post, bollard or trunk-like post: what a pedestrian is mistaken for."""
    kind = rng.choice(3, p=[0.45, 0.35, 0.2])
    height, radius = (
        (rng.uniform(4, 9), 0.06),
        (rng.uniform(0.6, 1.3), 0.07),
        (rng.uniform(1.5, 3.0), 0.13),
    )[kind]
    radius *= rng.uniform(0.6, 1.7)
    color = np.clip(rng.uniform(40, 190) + rng.normal(0, 12, 3), 0, 255)
    parts = [
        meshes.tube((0, 0, -_SUNK), (0, 0, height), radius, Material.POLE, color, end_radius=radius * 0.8)
    ]
    if kind == 0:
        arm = rng.uniform(0.5, 2.0)
        parts.append(
            meshes.tube((0, 0, height), (0, -arm, height + 0.1), 0.04, Material.POLE, color, around=5)
        )
        parts.append(meshes.box((0.25, 0.5, 0.12), (0, -arm, height + 0.05), Material.LAMP, (200, 200, 190)))
    return merge(parts)


def bollards(rng: Rng) -> TriMesh:
    """A row of short posts along x that keeps cars off a pavement."""
    pitch, number = rng.uniform(1.1, 2.6), int(rng.integers(3, 9))
    height, radius = rng.uniform(0.6, 1.2), rng.uniform(0.04, 0.1)
    color = np.clip(rng.uniform(40, 160) + rng.normal(0, 12, 3), 0, 255)
    places = (np.arange(number) - (number - 1) / 2) * pitch
    return merge([meshes.tube((x, 0, -_SUNK), (x, 0, height), radius, Material.POLE, color) for x in places])


def sign(rng: Rng) -> TriMesh:
    """A traffic sign or light on its post, facing along x, or a post with a bin, letterbox or timetable,
    which has a person's height."""
    height, plate = rng.uniform(1.8, 3.0), rng.uniform(0.4, 0.9)
    parts = [
        meshes.tube(
            (0, 0, -_SUNK), (0, 0, height + plate / 2), 0.035, Material.POLE, (130, 130, 132), around=6
        )
    ]
    kind = rng.choice(3, p=[0.22, 0.18, 0.6])
    if kind == 0:
        parts.append(meshes.box((0.25, 0.3, 0.9), (-0.1, 0, height), Material.POLE, (30, 35, 32)))
    elif kind == 1:
        at = rng.uniform(0.6, 1.3)
        for _ in range(int(rng.integers(1, 3))):
            size = rng.uniform((0.15, 0.25, 0.3), (0.4, 0.5, 0.6))
            color = rng.uniform(30, 220, 3)
            parts.append(meshes.box(size, (-size[0] / 2, 0, at), Material.METAL, color))
            at += size[2] + 0.05
    else:
        color = np.array([[200, 30, 30], [30, 60, 170], [235, 235, 235], [235, 200, 40]])[rng.integers(4)]
        parts.append(
            meshes.box((0.03, plate, plate * rng.uniform(0.7, 1.3)), (-0.05, 0, height), Material.SIGN, color)
        )
    return merge(parts)


def clutter(rng: Rng) -> TriMesh:
    """A bin, box, bench, pillar, kiosk or pile: of any class's size, but none of them."""
    kind = rng.integers(4)
    color = np.clip(rng.uniform(30, 200) + rng.normal(0, 30, 3), 0, 255)
    material = (Material.WALL, Material.METAL, Material.CLOTH, Material.PAINT)[rng.integers(4)]
    if kind == 0:  # bins and cabinets
        size = rng.uniform((0.4, 0.4, 0.6), (1.4, 0.9, 1.6))
        return meshes.box(size, (0, 0, size[2] / 2), material, color)
    if kind == 1:  # advertising pillar, drum, planter
        radius, height = rng.uniform(0.25, 0.75), rng.uniform(0.5, 2.8)
        return meshes.tube((0, 0, -0.2), (0, 0, height), radius, material, color, around=14)
    if kind == 2:  # bench, bicycle stand, low frame
        length, height = rng.uniform(1.2, 2.4), rng.uniform(0.4, 0.9)
        parts = [meshes.box((length, 0.45, 0.06), (0, 0, height * 0.5), material, color)]
        parts.append(meshes.box((length, 0.05, height * 0.45), (0, 0.22, height * 0.8), material, color))
        for x in (-length * 0.42, length * 0.42):
            parts.append(meshes.box((0.06, 0.4, height * 0.5), (x, 0, height * 0.25), Material.POLE, color))
        return merge(parts)
    parts = []  # a pile of boxes or a container
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform((0.4, 0.4, 0.3), (2.6, 1.5, 1.4))
        at = rng.normal(0, 0.5, 3) * (1, 1, 0) + (0, 0, size[2] / 2)
        parts.append(meshes.box(size, at, material, color * rng.uniform(0.7, 1.2)))
    return merge(parts)


def parked_bicycle(rng: Rng) -> TriMesh:
    """A bicycle without its rider: no cyclist."""
    return merge(bicycle(rng).parts)


def bicycle_rack(rng: Rng) -> TriMesh:
    """Bicycles side by side at their hoops, in a row along x: as large as a car, and hollow."""
    kinds = [parked_bicycle(rng) for _ in range(3)]
    pitch, number = rng.uniform(0.4, 0.75), int(rng.integers(3, 9))
    turned = rng.uniform(0.9, np.pi / 2)
    parts = []
    for k in range(number):
        x = (k - (number - 1) / 2) * pitch
        hoop = meshes.tube((x + 0.1, -0.4, 0), (x + 0.1, 0.4, 0.75), 0.025, Material.METAL, (120, 120, 122))
        parts.append(hoop)
        if rng.random() < 0.8:
            yaw = turned + rng.normal(0, 0.06) + (np.pi if rng.random() < 0.2 else 0.0)
            at = x, rng.normal(0, 0.12), 0.0
            parts.append(
                kinds[rng.integers(3)].moved(from_translation_rpy(at, (rng.normal(0, 0.06), 0, yaw)))
            )
    return merge(parts)


def _green(rng: Rng) -> Array:
    color: Array = np.clip(np.array([60, 85, 38]) * rng.uniform(0.6, 1.5) + rng.normal(0, 8, 3), 5, 250)
    return color


MAKERS: dict[str, Callable[[Rng], TriMesh]] = {
    "building": building, "wall": wall, "fence": fence, "guard_rail": guard_rail, "hedge": hedge,
    "bush": bush, "thicket": thicket, "tree": tree, "great_tree": great_tree, "pole": pole, "sign": sign,
    "clutter": clutter,
    "parked_bicycle": parked_bicycle, "bicycle_rack": bicycle_rack, "bollards": bollards,
}  # fmt: skip
