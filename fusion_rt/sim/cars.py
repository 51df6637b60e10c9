"""Cars, vans, trucks and buses as meshes: x forward, z up, the origin on the ground under the middle."""

from __future__ import annotations

import numpy as np

from fusion_rt.sim import meshes
from fusion_rt.sim.raycast import Material, TriMesh, merge
from fusion_rt.sim.shapes import PAINT_SHARES, PAINTS, Rng, Shape, boxed
from fusion_rt.transforms import Array

# A labelled box has some air around the body, m: length, width, height together on both sides. Seen from
# behind, 99 % of a real car's points lie so far within its label.
_AIR_M = np.array([0.06, 0.04, 0.02])
# Places across a body or a roof, in halves of its width.
_ACROSS = np.array([-1.0, -0.95, -0.85, -0.65, -0.35, 0.35, 0.65, 0.85, 0.95, 1.0])
_ALONG = np.array([0.0, 0.15, 0.4, 0.7, 0.9, 1.0])  # places along a roof, from the windscreen


def car(rng: Rng) -> Shape:
    """A passenger car: hatchback, saloon, estate, SUV or two-seater.

    Sizes follow real boxes: 3.88 ± 0.42 x 1.63 ± 0.10 x 1.53 ± 0.13 m; of the 280 cars in KITTI's tracking
    labels 2 % are shorter than 3.1 m, down to 2.2 m. Bumpers are bent, flanks and roof arched as much as
    the points of real cars tell (docs/simulation.md).
    """
    kind = int(rng.choice(5, p=[0.41, 0.26, 0.19, 0.12, 0.02]))
    box = (
        float(np.clip(rng.normal((3.60, 4.20, 4.20, 4.15, 2.55)[kind], 0.32), 2.2, 5.2)),
        float(np.clip(rng.normal((1.59, 1.65, 1.65, 1.75, 1.54)[kind], 0.08), 1.42, 2.0)),
        float(np.clip(rng.normal((1.52, 1.46, 1.51, 1.71, 1.55)[kind], 0.08), 1.28, 1.95)),
    )
    length, width, height = (float(v) for v in np.array(box) - _AIR_M)
    paint = PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARES)] * rng.uniform(0.85, 1.1)
    paint = np.clip(paint, 0, 255)
    clearance = rng.uniform(0.16, 0.24) * (1.25 if kind == 3 else 1.0)
    belt = height * rng.uniform(0.60, 0.68)
    hood = belt * rng.uniform(0.87, 0.96)
    front, rear = length / 2, -length / 2
    windscreen = front - length * rng.uniform(0.22, 0.30)  # foot of the windscreen
    tail = rear + length * ((0.03, 0.18, 0.02, 0.03, 0.02)[kind] + rng.uniform(0.0, 0.03))
    bumper = clearance + (belt - clearance) * 0.45
    lower = [
        (front * 0.94, clearance), (front, bumper * 0.75), (front * 0.985, bumper),
        (front * 0.89, hood * 0.92), (windscreen, hood), (windscreen, belt), (tail, belt),
        (rear * 0.97, belt * 0.97), (rear, bumper), (rear * 0.99, bumper * 0.75), (rear * 0.96, clearance),
    ]  # fmt: skip
    bow = rng.uniform((0.08, 0.04), (0.2, 0.12))  # how far the ends are bent back, front and rear, m
    parts = [_body(rng, np.array(lower), width, belt, bow, paint)]
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
    parts += _lamps(front, rear, width, bumper, hood, belt, bow)
    return boxed("car", parts, box)


def _body(rng: Rng, profile: Array, width: float, belt: float, bow: Array, paint: Array) -> TriMesh:
    """All below the windows: a side profile (P, 2) x, z swept across, whose ends are bent back towards the
    corners and whose flanks lean in above and below."""
    x, z = profile.T
    ends = np.abs(x) / np.abs(x).max() > 0.8
    bend = np.where(x > 0, *bow)
    corner = np.where(x > 0, rng.uniform(0.12, 0.3), rng.uniform(0.06, 0.18))
    flank = np.interp(
        z / belt, [0.2, 0.5, 0.75, 1.0], [rng.uniform(0.91, 0.97), 1.0, 0.99, rng.uniform(0.92, 0.97)]
    )
    slices = []
    for v in _ACROSS:
        back = bend * v**2 + corner * max(0.0, (abs(v) - 0.75) / 0.25) ** 2
        slices.append(np.column_stack([x - np.sign(x) * back * ends, v * width / 2 * flank, z]))
    return meshes.swept(np.array(slices), Material.PAINT, paint)


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
    """Windows between painted pillars below an arched roof, highest a little before its middle."""
    slant_front = (height - belt) * rng.uniform(1.0, 1.6)
    slant_rear = (height - belt) * ((0.45, 1.3, 0.35, 0.4, 0.35)[kind] + rng.uniform(0.0, 0.3))
    low, high = width / 2 * rng.uniform(0.90, 0.95), width / 2 * rng.uniform(0.68, 0.80)
    front, rear = windscreen - slant_front, tail + slant_rear
    drop = rng.uniform((0.03, 0.04), (0.07, 0.12))  # at the windscreen and at the rear, m
    across = rng.uniform(0.02, 0.045), rng.uniform(0.02, 0.04)  # over the width and at its edges

    def roof(u: Array, v: Array) -> Array:
        """Points at u, 0 at the windscreen to 1, and v, -1 to 1 across: (..., 3)."""
        fall = np.where(u < 0.4, drop[0] * ((0.4 - u) / 0.4) ** 2, drop[1] * ((u - 0.4) / 0.6) ** 2)
        fall = fall + across[0] * v**2 + across[1] * np.maximum(0, (np.abs(v) - 0.7) / 0.3) ** 2
        return np.stack(np.broadcast_arrays(front + u * (rear - front), v * high, height - fall), axis=-1)

    glass = np.array([38, 44, 50]) * rng.uniform(0.6, 1.4)
    top = roof(_ALONG[:, None], _ACROSS)
    cells = len(_ALONG) - 1, len(_ACROSS) - 1
    skin = np.broadcast_to(np.clip(paint, 0, 255), (*cells, 3))
    parts = [meshes.grid_surface(top, np.full(cells, int(Material.PAINT)), skin)]
    for x, edge in ((windscreen, 0.0), (tail, 1.0)):
        v = _pane(-1.0, 1.0, 0.07)
        below = np.column_stack([np.full(len(v), x), v * low, np.full(len(v), belt)])
        parts.append(_window(below, roof(np.array(edge), v), 0.07, paint, glass))
    for side in (-1.0, 1.0):
        for start, end in ((0.0, 0.5), (0.5, 1.0)):
            u = _pane(start, end, 0.09)
            below = np.column_stack(
                [windscreen + u * (tail - windscreen), np.full(len(u), side * low), np.full(len(u), belt)]
            )
            parts.append(_window(below, roof(u, np.array(side)), 0.09, paint, glass))
    return merge(parts)


def _pane(start: float, end: float, frame: float) -> Array:
    """Where a window's frame begins and ends and its glass is cut, from start to end."""
    share: Array = start + (end - start) * np.array([0.0, frame, 0.33, 0.67, 1 - frame, 1.0])
    return share


def _window(below: Array, above: Array, frame: float, paint: Array, glass: Array) -> TriMesh:
    """A pane from its lower edge (N, 3) to its upper one, inside a painted frame of that share of its height
    and the first and last step of its width."""
    up = np.array([0.0, frame, 1 - frame, 1.0])
    points = below[None] + up[:, None, None] * (above - below)[None]
    cells = len(up) - 1, len(below) - 1
    material = np.full(cells, int(Material.PAINT))
    color = np.broadcast_to(np.clip(paint, 0, 255), (*cells, 3)).copy()
    material[1, 1:-1], color[1, 1:-1] = int(Material.GLASS), np.clip(glass, 0, 255)
    return meshes.grid_surface(points, material, color)


def _lamps(
    front: float, rear: float, width: float, bumper: float, hood: float, belt: float, bow: Array
) -> list[TriMesh]:
    at = 0.3  # of the width, from the middle
    bent = bow * (2 * at) ** 2
    parts = []
    for side in (-1, 1):
        y = side * width * at
        head = (front * 0.94 - bent[0], y, (bumper + hood * 0.92) / 2)
        tail = (rear * 0.985 + bent[1], y, (bumper + belt * 0.97) / 2)
        parts.append(meshes.box((0.06, width * 0.2, 0.12), head, Material.LAMP, (235, 235, 225)))
        parts.append(meshes.box((0.05, width * 0.16, 0.16), tail, Material.LAMP, (160, 20, 22)))
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
    paint = np.clip(PAINTS[rng.choice(len(PAINTS), p=PAINT_SHARES)] * rng.uniform(0.8, 1.1), 0, 255)
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
    return boxed(("van", "truck", "bus")[kind], parts, (length, width, height))
