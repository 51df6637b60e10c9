"""Road users as meshes: x forward, z up, the origin on the ground under the middle of the box."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec import Struct

from fusion_rt.messages import Vec3
from fusion_rt.sim import meshes
from fusion_rt.sim.raycast import Material, TriMesh, merge
from fusion_rt.transforms import Array, from_translation_rpy

Rng = np.random.Generator

# Metallic and plain car colours as they are seen on roads, RGB, with their shares.
_PAINTS = np.array(
    [
        [225, 225, 228],
        [25, 26, 30],
        [150, 153, 158],
        [90, 93, 98],
        [40, 60, 120],
        [150, 25, 30],
        [70, 90, 70],
        [180, 160, 120],
    ]
)
_PAINT_SHARES = np.array([0.22, 0.24, 0.18, 0.13, 0.10, 0.07, 0.03, 0.03])


class Shape(Struct, frozen=True):
    """A mesh and the box that holds it: size is length, width, height in metres."""

    label: str
    size: Vec3
    mesh: TriMesh


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


def car(rng: Rng) -> Shape:
    """A passenger car: hatchback, saloon, estate, SUV or two-seater.

    Sizes follow real boxes: 3.9 ± 0.42 x 1.63 ± 0.10 x 1.53 ± 0.13 m; of the 280 cars in KITTI's tracking
    labels 2 % are shorter than 3.1 m, down to 2.2 m.
    """
    kind = rng.choice(5, p=[0.41, 0.26, 0.19, 0.12, 0.02])
    length = float(np.clip(rng.normal((3.65, 4.25, 4.25, 4.2, 2.55)[kind], 0.32), 2.2, 5.2))
    width = float(np.clip(rng.normal((1.60, 1.66, 1.66, 1.76, 1.54)[kind], 0.08), 1.42, 2.0))
    height = float(np.clip(rng.normal((1.51, 1.45, 1.50, 1.70, 1.55)[kind], 0.08), 1.28, 1.95))
    paint = _PAINTS[rng.choice(len(_PAINTS), p=_PAINT_SHARES)] * rng.uniform(0.85, 1.1)
    paint = np.clip(paint, 0, 255)
    clearance = rng.uniform(0.16, 0.24) * (1.25 if kind == 3 else 1.0)
    belt = height * rng.uniform(0.56, 0.62)
    hood = belt * rng.uniform(0.90, 0.99)
    front, rear = length / 2, -length / 2
    windscreen = front - length * rng.uniform(0.22, 0.30)  # foot of the windscreen
    tail = rear + length * ((0.03, 0.18, 0.02, 0.03, 0.02)[kind] + rng.uniform(0.0, 0.03))
    bumper = clearance + (belt - clearance) * 0.45
    lower = [
        (front * 0.93, clearance), (front, bumper * 0.75), (front * 0.99, bumper),
        (front * 0.90, hood * 0.93), (windscreen, hood), (windscreen, belt), (tail, belt),
        (rear * 0.97, belt * 0.97), (rear, bumper), (rear * 0.99, bumper * 0.75), (rear * 0.93, clearance),
    ]  # fmt: skip
    y = width / 2 * np.array([-1.0, -0.86, -0.4, 0.4, 0.86, 1.0])
    parts = [
        meshes.extrusion(np.array(lower), y, np.array([0.93, 0.98, 1, 1, 0.98, 0.93]), Material.PAINT, paint)
    ]
    parts.append(_cabin(rng, width, height, belt, windscreen, tail, paint, kind))
    radius = height * rng.uniform(0.19, 0.22)
    for x in (front - length * 0.19, rear + length * 0.18):
        for side in (-1, 1):
            outer = side * (width / 2 - 0.01)
            parts.append(
                meshes.tube(
                    (x, outer - side * 0.2, radius),
                    (x, outer, radius),
                    radius,
                    Material.TYRE,
                    (28, 28, 30),
                    around=10,
                )
            )
            hub = (x, outer + side * 0.005, radius)
            parts.append(
                meshes.tube((x, outer, radius), hub, radius * 0.62, Material.METAL, (150, 150, 155), around=6)
            )
    parts += _lamps(front, rear, width, bumper, belt)
    return _shape("car", parts, (length, width, height))


def _cabin(
    rng: Rng,
    width: float,
    height: float,
    belt: float,
    windscreen: float,
    tail: float,
    paint: Array,
    kind: int,
) -> TriMesh:
    """Roof and windows: a frustum whose sides are glass between painted pillars."""
    slant_front = (height - belt) * rng.uniform(1.0, 1.6)
    slant_rear = (height - belt) * ((0.45, 1.3, 0.35, 0.4, 0.35)[kind] + rng.uniform(0.0, 0.3))
    low, high = width / 2 * 0.97, width / 2 * rng.uniform(0.72, 0.82)
    x0, x1 = windscreen, tail
    r0, r1 = windscreen - slant_front, tail + slant_rear
    corner = {
        "fl": (x0, low, belt), "fr": (x0, -low, belt), "rl": (x1, low, belt), "rr": (x1, -low, belt),
        "FL": (r0, high, height), "FR": (r0, -high, height),
        "RL": (r1, high, height), "RR": (r1, -high, height),
    }  # fmt: skip
    c = {k: np.array(v) for k, v in corner.items()}
    glass_color = np.array([38, 44, 50]) * rng.uniform(0.6, 1.4)
    parts = [_quad(c["FL"], c["FR"], c["RL"], c["RR"], Material.PAINT, paint, bulge=0.0)]
    for a, b, A, B in (("fl", "fr", "FL", "FR"), ("rl", "rr", "RL", "RR")):
        parts.append(_window(c[a], c[b], c[A], c[B], 0.07, paint, glass_color))
    for a, b, A, B in (("fl", "rl", "FL", "RL"), ("fr", "rr", "FR", "RR")):
        middle, Middle = (c[a] + c[b]) / 2, (c[A] + c[B]) / 2
        parts.append(_window(c[a], middle, c[A], Middle, 0.09, paint, glass_color))
        parts.append(_window(middle, c[b], Middle, c[B], 0.09, paint, glass_color))
    return merge(parts)


def _quad(a: Array, b: Array, c: Array, d: Array, material: Material, color: Array, bulge: float) -> TriMesh:
    points = np.array([[a, b], [c, d]])
    return meshes.grid_surface(
        points, np.full((1, 1), int(material)), np.broadcast_to(np.clip(color, 0, 255), (1, 1, 3))
    )


def _window(a: Array, b: Array, c: Array, d: Array, frame: float, paint: Array, glass: Array) -> TriMesh:
    """A pane a b (below) to c d (above) inside a painted frame of that share of each side."""
    u = np.array([0.0, frame, 1 - frame, 1.0])
    below, above = a + u[:, None] * (b - a), c + u[:, None] * (d - c)
    points = below[None] + u[:, None, None] * (above - below)[None]
    material = np.full((3, 3), int(Material.PAINT))
    color = np.broadcast_to(np.clip(paint, 0, 255), (3, 3, 3)).copy()
    material[1, 1], color[1, 1] = int(Material.GLASS), np.clip(glass, 0, 255)
    return meshes.grid_surface(points, material, color)


def _lamps(front: float, rear: float, width: float, bumper: float, belt: float) -> list[TriMesh]:
    z = (bumper + belt) / 2
    parts = []
    for side in (-1, 1):
        y = side * width * 0.36
        parts.append(
            meshes.box((0.06, width * 0.2, 0.12), (front * 0.955, y, z), Material.LAMP, (235, 235, 225))
        )
        parts.append(
            meshes.box((0.05, width * 0.16, 0.16), (rear * 0.985, y, z), Material.LAMP, (160, 20, 22))
        )
    parts.append(meshes.box((0.02, 0.5, 0.11), (rear * 0.999, 0, bumper), Material.SIGN, (230, 230, 220)))
    return parts


def van(rng: Rng) -> Shape:
    """A van, truck or bus: an ignored class, boxes of other proportions."""
    kind = rng.choice(3, p=[0.6, 0.28, 0.12])
    size = (
        rng.normal((5.0, 8.5, 11.0)[kind], (0.4, 1.5, 1.0)[kind]),
        rng.normal((1.9, 2.5, 2.55)[kind], 0.1),
        rng.normal((2.2, 3.3, 3.2)[kind], (0.2, 0.3, 0.2)[kind]),
    )
    length, width, height = (float(v) for v in size)
    paint = np.clip(_PAINTS[rng.choice(len(_PAINTS), p=_PAINT_SHARES)] * rng.uniform(0.8, 1.1), 0, 255)
    front, rear, low = length / 2, -length / 2, 0.35
    cab = min(1.8, length * 0.3)
    profile = [
        (front * 0.98, low), (front, height * 0.35), (front - 0.1 - cab * 0.15, height * 0.45),
        (front - cab * 0.55, height), (rear, height), (rear, low),
    ]  # fmt: skip
    y = width / 2 * np.array([-1.0, -0.9, 0.9, 1.0])
    parts = [meshes.extrusion(np.array(profile), y, np.array([0.98, 1, 1, 0.98]), Material.PAINT, paint)]
    for side in (-1, 1):
        z = height * 0.62
        pane = (length * (0.8 if kind == 2 else 0.16), 0.02, height * 0.22)
        x = 0.0 if kind == 2 else front - cab
        parts.append(meshes.box(pane, (x, side * (width / 2 + 0.005), z), Material.GLASS, (40, 45, 50)))
        for at in (front - cab * 0.7, rear + length * 0.2):
            outer = side * (width / 2 - 0.02)
            parts.append(
                meshes.tube(
                    (at, outer - side * 0.25, 0.42),
                    (at, outer, 0.42),
                    0.42,
                    Material.TYRE,
                    (28, 28, 30),
                    around=12,
                )
            )
    return _shape(("van", "truck", "bus")[kind], parts, (length, width, height))


def _clothes(rng: Rng) -> Array:
    color: Array = np.clip(
        rng.choice([35, 70, 110, 170], p=[0.4, 0.3, 0.2, 0.1]) + rng.normal(0, 25, 3), 5, 240
    )
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
    return _shape("pedestrian", parts, None, slack=rng.uniform((0.1, 0.02, 0.0), (0.45, 0.14, 0.06)))


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
            parts.append(piece((0.15, 0.06, 0.2), (0.4, 0.2, 0.4), at))
    if rng.random() < 0.05:
        behind = -rng.uniform(0.35, 0.6), rng.uniform(-0.3, 0.3), 0.34
        parts.append(piece((0.18, 0.28, 0.5), (0.32, 0.45, 0.65), behind))
    return parts


def _person(rng: Rng, height: float, girth: float, swing: tuple[float, float], lean: float) -> TriMesh:
    """Head, trunk, arms and legs; swing is each leg's angle forward in rad."""
    h = height
    top, trousers = _clothes(rng), _clothes(rng)
    hip, shoulder = np.array([0.0, 0.0, 0.50 * h]), np.array([lean * h, 0.0, 0.82 * h])
    parts = [
        meshes.ellipsoid(
            (0.10, 0.085, 0.125), (lean * h * 1.1, 0, h - 0.125), Material.SKIN, (190, 150, 125)
        ),
        meshes.ellipsoid(
            (0.115, 0.10, 0.10),
            (lean * h * 1.1 - 0.015, 0, h - 0.10),
            Material.CLOTH,
            rng.uniform(15, 120, 3),
        ),
        meshes.ellipsoid(
            (0.13 * girth, 0.20 * girth, 0.19 * h),
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
        parts.append(meshes.tube(at, knee, 0.085 * girth, Material.CLOTH, trousers, end_radius=0.06))
        parts.append(meshes.tube(knee, foot, 0.06, Material.CLOTH, trousers, end_radius=0.045))
        parts.append(meshes.box((0.26, 0.09, 0.07), foot + (0.06, 0, 0), Material.CLOTH, (30, 28, 28)))
        arm = shoulder + (0, side * 0.20 * girth, 0)
        swung, spread = (-angle, 0.1) if rng.random() < 0.7 else rng.uniform((-0.7, 0.0), (0.9, 0.6))
        elbow = arm + 0.17 * h * np.array([np.sin(swung), spread * side, -np.cos(swung)])
        bent = (
            abs(angle) + 0.2 if rng.random() < 0.8 else rng.uniform(0.8, 2.2)
        )  # as one who holds a telephone
        hand = elbow + 0.16 * h * np.array([np.sin(bent), 0, -np.cos(bent)])
        parts.append(meshes.tube(arm, elbow, 0.05 * girth, Material.CLOTH, top, around=6))
        parts.append(meshes.tube(elbow, hand, 0.04, Material.SKIN, (190, 150, 125), around=6))
    return merge(parts)


def cyclist(rng: Rng) -> Shape:
    """A person riding a bicycle; about 1.76 x 0.6 x 1.74 m."""
    wheel = rng.uniform(0.32, 0.36)
    base = rng.uniform(0.98, 1.10)
    paint = np.clip(_PAINTS[rng.integers(len(_PAINTS))] * 1.0, 0, 255)
    parts = [
        meshes.ring((x, 0, wheel), wheel, wheel - 0.055, Material.TYRE, (30, 30, 30))
        for x in (base / 2, -base / 2)
    ]
    crank, saddle = np.array([-0.05, 0, 0.30]), np.array([-0.22, 0, rng.uniform(0.88, 1.0)])
    head, bar = np.array([base / 2 - 0.14, 0, 0.78]), np.array([base / 2 - 0.2, 0, rng.uniform(0.98, 1.1)])
    for a, b in (
        (crank, saddle), (crank, head), (saddle - (0, 0, 0.15), head), (head, np.array([base / 2, 0, wheel])),
        (crank, np.array([-base / 2, 0, wheel])), (saddle - (0, 0, 0.15), np.array([-base / 2, 0, wheel])),
        (head, bar),
    ):  # fmt: skip
        parts.append(meshes.tube(a, b, 0.025, Material.METAL, paint, around=5))
    parts.append(
        meshes.tube(bar - (0, 0.27, 0), bar + (0, 0.27, 0), 0.018, Material.METAL, (60, 60, 60), around=5)
    )
    parts.append(_rider(rng, saddle, bar, crank))
    if rng.random() < 0.25:
        parts.append(meshes.box((0.35, 0.3, 0.25), (-base / 2 - 0.05, 0, 0.8), Material.CLOTH, _clothes(rng)))
    return _shape("cyclist", parts, None, slack=rng.uniform((0.0, 0.0, -0.02), (0.12, 0.1, 0.03)))


def _rider(rng: Rng, saddle: Array, bar: Array, crank: Array) -> TriMesh:
    top, trousers = _clothes(rng), _clothes(rng)
    lean = rng.uniform(0.25, 0.75)
    trunk = rng.uniform(0.50, 0.58)
    shoulder = saddle + trunk * np.array([np.sin(lean), 0, np.cos(lean)])
    head = shoulder + np.array([0.10, 0, 0.20])
    middle = (saddle + shoulder) / 2
    parts = [
        meshes.ellipsoid((0.11, 0.09, 0.13), head, Material.SKIN, (190, 150, 125)),
        meshes.ellipsoid(
            (0.14, 0.12, 0.09), head + (-0.01, 0, 0.07), Material.CLOTH, rng.uniform(20, 230, 3)
        ),
        meshes.tube(saddle, shoulder, 0.15, Material.CLOTH, top, end_radius=0.17),
        meshes.ellipsoid((0.17, 0.19, 0.2), middle, Material.CLOTH, top),
    ]
    phase = rng.uniform(0, 2 * np.pi)
    for side, turn in ((-1, phase), (1, phase + np.pi)):
        foot = crank + (0.17 * np.cos(turn), side * 0.1, 0.17 * np.sin(turn))
        hip = saddle + (0.0, side * 0.1, 0.0)
        knee = (hip + foot) / 2 + (0.22, side * 0.02, 0.06)
        parts.append(meshes.tube(hip, knee, 0.085, Material.CLOTH, trousers, end_radius=0.06))
        parts.append(meshes.tube(knee, foot, 0.06, Material.CLOTH, trousers, end_radius=0.045))
        hand = bar + (0, side * 0.24, 0)
        elbow = (shoulder + hand) / 2 + (-0.03, side * 0.08, -0.05)
        parts.append(meshes.tube(shoulder + (0, side * 0.17, 0), elbow, 0.05, Material.CLOTH, top, around=6))
        parts.append(meshes.tube(elbow, hand, 0.04, Material.SKIN, (190, 150, 125), around=6))
    return merge(parts)


MAKERS: dict[str, Callable[[Rng], Shape]] = {
    "car": car,
    "van": van,
    "pedestrian": pedestrian,
    "cyclist": cyclist,
}


def _shape(label: str, parts: list[TriMesh], size: Vec3 | None, slack: Array | float = 0.0) -> Shape:
    """The parts as one mesh, centred in x and y over its own box.

    size None: the mesh's extent and the slack that people leave who label boxes over a whole stride."""
    mesh = merge(parts)
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    middle = (low + high) / 2
    mesh = mesh.moved(from_translation_rpy((-middle[0], -middle[1], -low[2]), (0, 0, 0)))
    extent = high - low + slack
    if size is not None:  # wheels and lamps stand out by a centimetre: the label is the body's box
        extent = np.maximum(np.array(size), extent - 0.03)
    return Shape(label, (float(extent[0]), float(extent[1]), float(extent[2])), mesh)
