"""What stands on pavements and is no road user: posts, boxes, bins, parked bicycles, of a person's or a car's
size. Each maker's origin is on the ground."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fusion_rt.sim import meshes
from fusion_rt.sim.bicycles import bicycle
from fusion_rt.sim.raycast import Material, TriMesh, merge
from fusion_rt.sim.shapes import PAINTS, Rng
from fusion_rt.transforms import Array, from_translation_rpy

_LACQUERS = np.array(  # of bins, boxes and stands, RGB
    [
        [232, 232, 228], [150, 152, 150], [88, 92, 90], [52, 68, 56], [38, 40, 42], [60, 95, 60],
        [45, 75, 130], [215, 180, 40], [110, 78, 52], [170, 45, 38],
    ]
)  # fmt: skip


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
        meshes.tube(
            (0, 0, -meshes.SUNK_M), (0, 0, height), radius, Material.POLE, color, end_radius=radius * 0.8
        )
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
    return merge(
        [meshes.tube((x, 0, -meshes.SUNK_M), (x, 0, height), radius, Material.POLE, color) for x in places]
    )


def sign(rng: Rng) -> TriMesh:
    """A traffic sign or light on its post, facing along x, or a post with a bin, letterbox or timetable,
    which has a person's height."""
    height, plate = rng.uniform(1.8, 3.0), rng.uniform(0.4, 0.9)
    parts = [
        meshes.tube(
            (0, 0, -meshes.SUNK_M),
            (0, 0, height + plate / 2),
            0.035,
            Material.POLE,
            (130, 130, 132),
            around=6,
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


def stop(rng: Rng) -> TriMesh:
    """Where buses or trams stop: a post with its signs, timetable and bin, often a shelter beside it."""
    height = rng.uniform(2.3, 3.2)
    steel, board = _lacquer(rng), _lacquer(rng)
    parts = [
        meshes.tube((0, 0, -meshes.SUNK_M), (0, 0, height), rng.uniform(0.03, 0.08), Material.POLE, steel)
    ]
    for low, chance in ((height - 0.6, 1.0), (rng.uniform(0.9, 1.4), 0.8)):
        if rng.random() < chance:
            size = rng.uniform((0.04, 0.35, 0.4), (0.14, 0.7, 0.8))
            at = (rng.normal(0, 0.05), rng.choice([-1, 0, 1]) * size[1] / 2, low + size[2] / 2)
            parts.append(meshes.box(size, at, Material.SIGN, board))
    if rng.random() < 0.6:
        size = rng.uniform((0.25, 0.3, 0.4), (0.4, 0.45, 0.7))
        at = (0.1, rng.uniform(-0.6, 0.6), rng.uniform(0.4, 1.0))
        parts.append(meshes.box(size, at, Material.METAL, _lacquer(rng)))
    if rng.random() < 0.4:
        parts.append(
            _shelter(rng, steel).moved(from_translation_rpy((rng.uniform(2.0, 4.5), 0.8, 0), (0, 0, 0)))
        )
    return merge(parts)


def _shelter(rng: Rng, steel: Array) -> TriMesh:
    """A roof on four posts with a back wall of glass or boards and a bench."""
    length, depth, height = rng.uniform((2.4, 1.1, 2.2), (4.5, 1.8, 2.6))
    material = Material.GLASS if rng.random() < 0.6 else Material.WALL
    parts = [
        meshes.box((length + 0.3, depth + 0.4, 0.1), (0, 0, height), Material.METAL, steel),
        meshes.box((length, 0.03, height - 0.6), (0, depth / 2, height / 2 + 0.1), material, steel),
        meshes.box((length * 0.7, 0.4, 0.06), (0, depth / 2 - 0.3, 0.48), Material.METAL, steel),
    ]
    for x in (-length / 2, length / 2):
        for y in (-depth / 2, depth / 2):
            parts.append(
                meshes.tube((x, y, -meshes.SUNK_M), (x, y, height), 0.045, Material.POLE, steel, around=6)
            )
    if rng.random() < 0.5:  # a lit poster at its end, as wide as a person is long
        at = (length / 2, 0, 1.15)
        parts.append(meshes.box((0.15, min(depth, 1.3), 1.8), at, Material.SIGN, rng.uniform(30, 240, 3)))
    return merge(parts)


def cabinet(rng: Rng) -> TriMesh:
    """Boxes of the power or telephone company, side by side on plinths, facing along y; some bear posters."""
    parts, x, color = [], 0.0, _lacquer(rng)
    for _ in range(int(rng.choice([1, 2, 3], p=[0.6, 0.28, 0.12]))):
        size = rng.uniform((0.4, 0.25, 0.8), (1.4, 0.55, 1.75))
        middle = (x + size[0] / 2, 0, size[2] / 2 + 0.05)
        parts.append(meshes.box(size, middle, Material.PAINT, color))
        parts.append(meshes.box(size * (0.94, 0.9, 1), (middle[0], 0, 0.02), Material.WALL, (110, 108, 104)))
        if rng.random() < 0.3:
            poster = rng.uniform((0.3, 0.02, 0.3), (0.6, 0.02, 0.7))
            at = (middle[0], -size[1] / 2, size[2] * 0.6)
            parts.append(meshes.box(poster, at, Material.SIGN, rng.uniform(30, 240, 3)))
        x += size[0] + rng.uniform(0.02, 0.4)
    return merge(parts).moved(from_translation_rpy((-x / 2, 0, 0), (0, 0, 0)))


def wheelie_bins(rng: Rng) -> TriMesh:
    """Household bins beside each other, put out for the morning; a large one now and then."""
    parts, x = [], 0.0
    large = rng.random() < 0.2
    for _ in range(1 if large else int(rng.integers(1, 7))):
        wide, deep, tall = (
            rng.uniform((1.2, 0.7, 1.1), (1.4, 1.0, 1.4))
            if large
            else rng.uniform((0.45, 0.5, 0.9), (0.62, 0.75, 1.15))
        )
        color = _lacquer(rng)
        low, high = (
            np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2 * (wide, deep) * k for k in (0.78, 1.0)
        )
        rows = np.array(
            [np.column_stack([low, np.full(4, 0.06)]), np.column_stack([high, np.full(4, tall - 0.1)])]
        )
        lid = meshes.box(
            (wide * 1.04, deep * 1.08, 0.08), (0, -0.02, tall - 0.06), Material.PAINT, _lacquer(rng)
        )
        axle = meshes.tube(
            (-wide / 2, deep * 0.4, 0.1), (wide / 2, deep * 0.4, 0.1), 0.1, Material.TYRE, (30, 30, 30)
        )
        at = from_translation_rpy((x + wide / 2, rng.normal(0, 0.08), 0), (0, 0, rng.normal(0, 0.12)))
        parts.append(merge([meshes.swept(rows, Material.PAINT, color), lid, axle]).moved(at))
        x += wide + rng.uniform(0.03, 0.3)
    return merge(parts).moved(from_translation_rpy((-x / 2, 0, 0), (0, 0, 0)))


def terrace(rng: Rng) -> TriMesh:
    """Tables and empty chairs before a cafe, with parasols that are open or folded to a person's shape."""
    parts, cloth, wood = [], rng.uniform(20, 240, 3), rng.uniform(40, 160, 3)
    for _ in range(int(rng.integers(1, 5))):
        x, y = rng.uniform(-1.8, 1.8), rng.uniform(-1.2, 1.2)
        parts.append(meshes.tube((x, y, 0), (x, y, 0.72), 0.04, Material.METAL, wood, around=6))
        parts.append(meshes.box((0.7, 0.7, 0.04), (x, y, 0.74), Material.METAL, wood))
        for turn in rng.uniform(-np.pi, np.pi) + np.arange(int(rng.integers(1, 5))) * np.pi / 2:
            seat = x + 0.6 * np.cos(turn), y + 0.6 * np.sin(turn)
            parts.append(
                _chair(wood).moved(from_translation_rpy((*seat, 0), (0, 0, turn + rng.normal(0, 0.3))))
            )
    if rng.random() < 0.7:
        height, middle = rng.uniform(2.1, 2.7), rng.normal(0, 0.5, 2)
        foot, tip = (*middle, 0.0), (*middle, height)
        parts.append(meshes.tube(foot, tip, 0.03, Material.POLE, (160, 150, 140), around=6))
        reach, low = (
            (rng.uniform(0.1, 0.24), 0.7) if rng.random() < 0.6 else (rng.uniform(1.0, 1.7), height - 0.5)
        )
        parts.append(meshes.tube((*middle, low), tip, reach, Material.CLOTH, cloth, end_radius=0.03))
    return merge(parts)


def _chair(color: Array) -> TriMesh:
    """Its seat is 0.45 m up; x points to its back."""
    legs = [
        meshes.tube((x, y, 0), (x, y, 0.45), 0.015, Material.METAL, color, around=3)
        for x in (-0.2, 0.2)
        for y in (-0.2, 0.2)
    ]
    seat = meshes.box((0.44, 0.44, 0.04), (0, 0, 0.45), Material.CLOTH, color)
    return merge([*legs, seat, meshes.box((0.04, 0.44, 0.45), (0.22, 0, 0.68), Material.CLOTH, color)])


def scooter(rng: Rng) -> TriMesh:
    """A parked motor scooter or motorcycle, x forward."""
    wheel, base = rng.uniform(0.22, 0.33), rng.uniform(1.2, 1.45)
    paint, dark = PAINTS[rng.integers(len(PAINTS))], (35, 35, 38)
    front, rear = np.array([base / 2, 0, wheel]), np.array([-base / 2, 0, wheel])
    side = np.array([0, 0.06, 0])
    parts = [
        meshes.tube(hub - side, hub + side, wheel, Material.TYRE, dark, around=12) for hub in (front, rear)
    ]
    body = rng.uniform((0.6, 0.25, 0.3), (0.9, 0.4, 0.5))
    bar = np.array([base / 2 - 0.22, 0, rng.uniform(0.95, 1.1)])
    parts.append(meshes.box(body, (-0.25, 0, wheel + 0.3), Material.PAINT, paint))
    parts.append(meshes.box((0.7, 0.27, 0.12), (-0.28, 0, wheel + 0.52), Material.CLOTH, dark))
    parts.append(meshes.tube(front, bar, 0.05, Material.METAL, dark, around=6))
    parts.append(meshes.tube(bar - (0, 0.35, 0), bar + (0, 0.35, 0), 0.025, Material.METAL, dark, around=5))
    if rng.random() < 0.6:  # a scooter's leg shield and floor
        parts.append(meshes.box((0.08, 0.4, 0.6), bar - (0.02, 0, 0.42), Material.PAINT, paint))
        parts.append(meshes.box((0.5, 0.3, 0.06), (0.15, 0, wheel + 0.02), Material.PAINT, paint))
    if rng.random() < 0.35:
        parts.append(meshes.box((0.36, 0.38, 0.32), (-base / 2, 0, wheel + 0.75), Material.PAINT, dark))
    if rng.random() < 0.3:
        parts.append(meshes.box((0.03, 0.4, 0.45), bar + (0.1, 0, 0.25), Material.GLASS, (80, 85, 90)))
    return merge(parts)


def roadworks(rng: Rng) -> TriMesh:
    """Beacons, cones, barriers or a site fence along x, in red and white."""
    parts, red, white = [], (205, 50, 35), (235, 235, 232)
    pitch, kind = rng.uniform(0.9, 2.2), rng.integers(4)
    for x in (np.arange(int(rng.integers(1, 6))) - 2) * pitch:
        y = rng.normal(0, 0.15)
        if kind == 0:  # cones
            height = rng.uniform(0.45, 0.9)
            parts.append(meshes.tube((x, y, 0), (x, y, height), 0.16, Material.PAINT, red, end_radius=0.03))
            parts.append(meshes.box((0.4, 0.4, 0.04), (x, y, 0.02), Material.TYRE, (40, 40, 40)))
        elif kind == 1:  # beacons on feet
            for row in range(4):
                at = (x, y, 0.3 + 0.22 * row)
                parts.append(meshes.box((0.05, 0.26, 0.22), at, Material.SIGN, (red, white)[row % 2]))
            parts.append(meshes.box((0.8, 0.4, 0.12), (x, y, 0.06), Material.TYRE, (45, 45, 45)))
        elif kind == 2:  # barriers
            for z in (0.45, 0.95):
                parts.append(
                    meshes.box((pitch * 0.9, 0.04, 0.2), (x, y, z), Material.SIGN, (white, red)[z > 0.9])
                )
            for foot in (-0.35, 0.35):
                at = (x + foot * pitch, y, 0.5)
                parts.append(meshes.box((0.06, 0.06, 1.0), at, Material.POLE, white))
        else:  # wire in frames of a person's height
            for rail in (0.1, 1.0, 1.95):
                parts.append(meshes.box((pitch, 0.03, 0.04), (x, y, rail), Material.METAL, (150, 152, 155)))
            for bar in np.linspace(-pitch / 2, pitch / 2, 9):
                at = (x + bar, y, 1.0)
                parts.append(meshes.box((0.02, 0.02, 1.9), at, Material.METAL, (150, 152, 155)))
    return merge(parts)


def conifer(rng: Rng) -> TriMesh:
    """A clipped column, cone or ball of green, some in a pot: as tall and as thick as a person, or taller."""
    radius, height = rng.uniform(0.2, 0.55), rng.uniform(0.9, 3.2)
    color = np.array([52, 74, 40]) * rng.uniform(0.5, 1.5) + rng.normal(0, 8, 3)
    parts, low = [], 0.0
    if rng.random() < 0.4:
        low, wide = rng.uniform(0.3, 0.7), rng.uniform(0.2, 0.45)
        pot = meshes.tube((0, 0, 0), (0, 0, low), wide * 0.8, Material.WALL, _lacquer(rng), end_radius=wide)
        parts.append(pot)
        height = min(height, 2.0)
    half = (radius, radius, height / 2)
    parts.append(meshes.foliage(half, (0, 0, low + height / 2), int(90 + 110 * height), 0.06, rng, color))
    return merge(parts)


def display(rng: Rng) -> TriMesh:
    """What a shop puts out: a board on the pavement, a rail of clothes, crates on a stand."""
    parts, kind = [], rng.integers(3)
    if kind == 0:
        width, height = rng.uniform((0.5, 0.8), (0.8, 1.3))
        for lean, y in ((-0.2, -0.18), (0.2, 0.18)):
            side = meshes.box((width, 0.03, height), (0, 0, 0), Material.SIGN, rng.uniform(30, 240, 3))
            parts.append(side.moved(from_translation_rpy((0, y, height / 2), (lean, 0, 0))))
    elif kind == 1:
        length, height = rng.uniform(0.9, 1.8), rng.uniform(1.3, 1.7)
        steel = (150, 150, 152)
        for x in (-length / 2, length / 2):
            parts.append(meshes.tube((x, 0, 0), (x, 0, height), 0.02, Material.METAL, steel, around=5))
        parts.append(meshes.box((length, 0.04, 0.04), (0, 0, height), Material.METAL, steel))
        for x in np.arange(-length / 2 + 0.1, length / 2, rng.uniform(0.08, 0.2)):
            size = np.array([0.05, 0.45, rng.uniform(0.6, 1.1)])
            parts.append(
                meshes.box(size, (x, 0, height - 0.05 - size[2] / 2), Material.CLOTH, rng.uniform(15, 240, 3))
            )
    else:
        for row in range(int(rng.integers(2, 5))):
            for x in (np.arange(int(rng.integers(1, 5))) - 1.5) * 0.5:
                at = (x, 0.18 * row, 0.3 + 0.22 * row)
                parts.append(meshes.box((0.46, 0.36, 0.2), at, Material.CLOTH, rng.uniform(30, 230, 3)))
        parts.append(meshes.box((2.0, 0.5, 0.25), (0, 0.2, 0.12), Material.POLE, (110, 90, 70)))
    return merge(parts)


def meter(rng: Rng) -> TriMesh:
    """A ticket machine, parking meter, charging post, letterbox or hydrant: up to a person's height."""
    height, color = rng.uniform(0.7, 1.9), _lacquer(rng)
    size = rng.uniform((0.2, 0.18, 0.3), (0.55, 0.5, 0.8))
    size[2] = min(size[2], height)
    parts = [meshes.box(size, (0, 0, height - size[2] / 2), Material.PAINT, color)]
    foot = rng.uniform(0.04, 0.45) * size[0]
    parts.append(
        meshes.tube((0, 0, -meshes.SUNK_M), (0, 0, height - size[2] / 2), foot, Material.POLE, color)
    )
    if rng.random() < 0.4:
        at = (0, 0, height + rng.uniform(0.15, 0.5))
        parts.append(meshes.tube((0, 0, height), at, 0.025, Material.POLE, color, around=6))
        parts.append(meshes.box((0.35, 0.04, 0.35), at, Material.SIGN, (40, 70, 160)))
    return merge(parts)


def trailer(rng: Rng) -> TriMesh:
    """A car's trailer without its car, x forward: a flat or covered box on two wheels and its drawbar."""
    length, width, height = rng.uniform((1.6, 1.1, 0.35), (3.0, 1.7, 0.6))
    color, tyre = _lacquer(rng), (32, 32, 32)
    parts = [meshes.box((length, width, height), (0, 0, 0.45 + height / 2), Material.METAL, color)]
    parts.append(meshes.box((1.2, 0.12, 0.1), (length / 2 + 0.5, 0, 0.45), Material.METAL, (90, 90, 92)))
    for side in (-1, 1):
        y = side * (width / 2 + 0.1)
        parts.append(meshes.tube((0, y - 0.08, 0.3), (0, y + 0.08, 0.3), 0.3, Material.TYRE, tyre, around=12))
    if rng.random() < 0.5:
        tall = rng.uniform(0.3, 1.1)
        at = (0, 0, 0.45 + height + tall / 2)
        parts.append(meshes.box((length, width, tall), at, Material.CLOTH, rng.uniform(20, 200, 3)))
    return merge(parts)


def _lacquer(rng: Rng) -> Array:
    color: Array = np.clip(_LACQUERS[rng.integers(len(_LACQUERS))] + rng.normal(0, 12, 3), 5, 250)
    return color


MAKERS: dict[str, Callable[[Rng], TriMesh]] = {
    "pole": pole, "sign": sign, "clutter": clutter, "parked_bicycle": parked_bicycle,
    "bicycle_rack": bicycle_rack, "bollards": bollards, "stop": stop, "cabinet": cabinet,
    "wheelie_bins": wheelie_bins, "terrace": terrace, "scooter": scooter, "roadworks": roadworks,
    "conifer": conifer, "display": display, "meter": meter, "trailer": trailer,
}  # fmt: skip
