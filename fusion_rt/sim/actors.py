"""Road users as meshes: x forward, z up, the origin on the ground under the middle of the box."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec import Struct

from fusion_rt.messages import Vec3
from fusion_rt.sim import meshes
from fusion_rt.sim.bicycles import Bicycle, bicycle
from fusion_rt.sim.cars import car, van
from fusion_rt.sim.raycast import Material, TriMesh, merge
from fusion_rt.sim.shapes import Rng, Shape, boxed
from fusion_rt.transforms import Array


class Actor(Struct, frozen=True):
    """A road user or parked vehicle. It moves at a constant rate along the road's coordinates.

    shape   label, size and mesh, in its own frame: x forward, z up, origin on the ground under its middle
    s, d    where it is at t = 0, road coordinates, m
    yaw     against the road's direction, rad
    along   ds/dt, m/s
    across  dd/dt, m/s
    """

    shape: Shape
    s: float
    d: float
    yaw: float
    along: float = 0.0
    across: float = 0.0

    @property
    def label(self) -> str:
        """car, van, truck, bus, pedestrian or cyclist"""
        return self.shape.label

    @property
    def size(self) -> Vec3:
        """length, width, height of its box, m"""
        return self.shape.size


def _clothes(rng: Rng) -> Array:
    level = rng.choice([35, 70, 110, 170, 228], p=[0.36, 0.27, 0.17, 0.1, 0.1])
    color: Array = np.clip(level + rng.normal(0, 25, 3), 5, 250)
    return color


def _skin(rng: Rng) -> Array:
    color: Array = np.array([205, 160, 132]) * rng.uniform(0.35, 1.1)
    return color


def pedestrian(rng: Rng) -> Shape:
    """A person standing or walking; some wear a coat or a skirt, carry something, or pull it along."""
    height = float(np.clip(rng.normal(1.73, 0.10), 1.15, 1.98))
    girth = rng.uniform(0.85, 1.25)
    stride = rng.uniform(-0.5, 0.5) if rng.random() < 0.7 else rng.uniform(-0.05, 0.05)
    parts = [_person(rng, height, girth, (stride, -stride), lean=rng.uniform(-0.03, 0.08))]
    if rng.random() < 0.25:
        hem = rng.uniform(0.2, 0.42) * height
        parts.append(
            meshes.tube(
                (0, 0, 0.55 * height), (0, 0, hem), 0.16 * girth, Material.CLOTH, _clothes(rng),
                end_radius=rng.uniform(0.2, 0.3) * girth,
            )
        )  # fmt: skip
    parts += _luggage(rng, height, girth)
    return boxed("pedestrian", parts, None, slack=rng.uniform((0.02, -0.06, 0.0), (0.36, 0.1, 0.06)))


def _luggage(rng: Rng, height: float, girth: float) -> list[TriMesh]:
    """A rucksack, bags in the hands, a case that is pulled: any of these or none."""

    def piece(smallest: Vec3, largest: Vec3, at: Vec3) -> TriMesh:
        return meshes.box(rng.uniform(smallest, largest), at, Material.CLOTH, _clothes(rng))

    parts = []
    if rng.random() < 0.3:
        parts.append(piece((0.12, 0.2, 0.25), (0.22, 0.35, 0.45), (-0.2 * girth, 0, height * 0.68)))
    for side in (-1, 1):
        if rng.random() < 0.2:
            at = (
                rng.uniform(-0.15, 0.15),
                side * rng.uniform(0.22, 0.32) * girth,
                rng.uniform(0.25, 0.55) * height,
            )
            parts.append(piece((0.15, 0.06, 0.2), (0.45, 0.24, 0.5), at))
    if rng.random() < 0.05:
        behind = -rng.uniform(0.35, 0.6), rng.uniform(-0.3, 0.3), 0.34
        parts.append(piece((0.18, 0.28, 0.5), (0.32, 0.45, 0.65), behind))
    return parts


def _person(rng: Rng, height: float, girth: float, swing: tuple[float, float], lean: float) -> TriMesh:
    """Head, trunk, arms and legs; swing is each leg's angle forward in rad."""
    h = height
    top, trousers, skin = _clothes(rng), _clothes(rng), _skin(rng)
    thigh, calf = rng.uniform((0.085, 0.06), (0.12, 0.085)) * girth  # in trousers
    hip, shoulder = np.array([0.0, 0.0, 0.50 * h]), np.array([lean * h, 0.0, 0.82 * h])
    parts = [
        meshes.ellipsoid((0.10, 0.085, 0.125), (lean * h * 1.1, 0, h - 0.125), Material.SKIN, skin),
        meshes.ellipsoid(
            (0.115, 0.10, 0.10),
            (lean * h * 1.1 - 0.015, 0, h - 0.10),
            Material.CLOTH,
            rng.uniform(15, 120, 3),
        ),
        meshes.ellipsoid(
            (0.145 * girth, 0.20 * girth, 0.19 * h),
            (hip + shoulder) / 2 + (0, 0, 0.01 * h),
            Material.CLOTH,
            top,
        ),
    ]
    for side, angle in zip((-1, 1), swing):
        at = hip + (0, side * 0.09 * girth, 0)
        knee = at + 0.25 * h * np.array([np.sin(angle), 0, -np.cos(angle)])
        bend = angle - abs(angle) * 0.6
        foot = knee + 0.24 * h * np.array([np.sin(bend), 0, -np.cos(bend)])
        foot[2] = max(foot[2], 0.03)
        parts.append(meshes.tube(at, knee, thigh, Material.CLOTH, trousers, end_radius=calf * 1.1))
        parts.append(meshes.tube(knee, foot, calf, Material.CLOTH, trousers, end_radius=calf * 0.75))
        parts.append(meshes.box((0.26, 0.09, 0.07), foot + (0.06, 0, 0), Material.CLOTH, (30, 28, 28)))
        arm = shoulder + (0, side * 0.20 * girth, 0)
        swung, spread = rng.uniform((-0.7, 0.0), (0.9, 0.6))
        if rng.random() < 0.7:
            swung, spread = -angle, rng.uniform(0.0, 0.22)
        elbow = arm + 0.17 * h * np.array([np.sin(swung), spread * side, -np.cos(swung)])
        bent = (
            abs(angle) + 0.2 if rng.random() < 0.8 else rng.uniform(0.8, 2.2)
        )  # as one who holds a telephone
        hand = elbow + 0.16 * h * np.array([np.sin(bent), 0, -np.cos(bent)])
        parts.append(meshes.tube(arm, elbow, 0.05 * girth, Material.CLOTH, top, around=6))
        parts.append(meshes.tube(elbow, hand, 0.04, Material.SKIN, skin, around=6))
    return merge(parts)


def cyclist(rng: Rng) -> Shape:
    """A person riding a bicycle; about 1.76 x 0.6 x 1.74 m, with some air above as real labels have."""
    ridden = bicycle(rng)
    parts = [*ridden.parts, _rider(rng, ridden)]
    return boxed("cyclist", parts, None, slack=rng.uniform((-0.02, -0.08, 0.02), (0.1, 0.14, 0.1)))


def _rider(rng: Rng, ridden: Bicycle) -> TriMesh:
    saddle, bar, crank = ridden.saddle, ridden.bar, ridden.crank
    top, trousers, skin = _clothes(rng), _clothes(rng), _skin(rng)
    lean = rng.uniform(0.2, 0.75)
    trunk = rng.uniform(0.45, 0.53)
    girth = rng.uniform(1.05, 1.45)  # in what one wears outdoors
    shoulder = saddle + trunk * np.array([np.sin(lean), 0, np.cos(lean)])
    head = shoulder + np.array([0.10, 0, 0.19])
    middle = (saddle + shoulder) / 2
    parts = [
        meshes.ellipsoid((0.11, 0.09, 0.13), head, Material.SKIN, skin),
        meshes.ellipsoid(
            (0.14, 0.12, 0.09), head + (-0.01, 0, 0.07), Material.CLOTH, rng.uniform(20, 230, 3)
        ),
        meshes.tube(saddle, shoulder, 0.15 * girth, Material.CLOTH, top, end_radius=0.17),
        meshes.ellipsoid((0.17 * girth, 0.19 * girth, 0.2), middle, Material.CLOTH, top),
    ]
    if rng.random() < 0.3:
        behind = middle + rng.uniform(0.2, 0.26) * np.array([-np.cos(lean), 0, np.sin(lean)])
        sack = rng.uniform((0.16, 0.26, 0.32), (0.28, 0.36, 0.48))
        parts.append(meshes.box(sack, behind, Material.CLOTH, _clothes(rng)))
    phase = rng.uniform(0, 2 * np.pi)
    for side, turn in ((-1, phase), (1, phase + np.pi)):
        foot = crank + (0.17 * np.cos(turn), side * 0.1, 0.17 * np.sin(turn))
        hip = saddle + (0.0, side * 0.1, 0.0)
        knee = (hip + foot) / 2 + (0.22, side * 0.02, 0.06)
        parts.append(meshes.tube(hip, knee, 0.09 * girth, Material.CLOTH, trousers, end_radius=0.07 * girth))
        parts.append(meshes.tube(knee, foot, 0.065 * girth, Material.CLOTH, trousers, end_radius=0.05))
        hand = bar + (0, side * 0.24, 0)
        elbow = (shoulder + hand) / 2 + (-0.03, side * 0.08, -0.05)
        parts.append(
            meshes.tube(shoulder + (0, side * 0.17, 0), elbow, 0.055 * girth, Material.CLOTH, top, around=6)
        )
        parts.append(meshes.tube(elbow, hand, 0.045, Material.SKIN, skin, around=6))
    return merge(parts)


MAKERS: dict[str, Callable[[Rng], Shape]] = {
    "car": car,
    "van": van,
    "pedestrian": pedestrian,
    "cyclist": cyclist,
}
