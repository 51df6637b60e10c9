"""A road: where it runs, how high the ground lies, and its surface as a mesh.

Road coordinates are s (m along the centre line) and d (m to the left of it).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.sim import meshes
from fusion_rt.sim.raycast import Material, TriMesh, make, merge
from fusion_rt.transforms import Array, from_rotation_translation

STEP_M = 0.5
SIDE_M = 75.0  # the ground ends this far from the centre line
_KERB_M = 0.12  # width over which a kerb rises


class Road(Struct, frozen=True):
    """One street with its pavements, verges and side streets.

    s, x, y, heading  (K,) float64 centre line every STEP_M
    half_width        m of carriageway on either side
    pavement          m of raised pavement beyond it (left, right)
    kerb              m the pavement stands above the road
    beyond            Material of the ground past the pavements
    crossings         (n, 2) s range of each side street
    hills, bumps      (h, 3), (b, 4): amplitude m, wave numbers 1/m (s; s and d), phase rad
    camber            slope across the road
    banks             slope of the ground past the pavements (left, right)
    """

    s: Array
    x: Array
    y: Array
    heading: Array
    half_width: float
    pavement: tuple[float, float]
    kerb: float
    beyond: Material
    crossings: Array
    hills: Array
    bumps: Array
    camber: float
    banks: tuple[float, float]

    def heading_at(self, s: Any) -> Any:
        """Direction of the centre line, rad."""
        return np.interp(s, self.s, self.heading)

    def in_crossing(self, s: Any, margin_m: float = 0.0) -> Any:
        """Whether s lies in a side street."""
        s = np.asarray(s, float)[..., None]
        low, high = self.crossings[:, 0] - margin_m, self.crossings[:, 1] + margin_m
        return np.any((s > low) & (s < high), axis=-1)

    def height(self, s: Any, d: Any) -> Any:
        """Height of the ground in m; s and d broadcast."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        z = self.camber * d
        amplitude, k, phase = self.hills.T
        z = z + (np.sin(k * s[..., None] + phase) - np.sin(phase)) @ amplitude
        rough = np.where(np.abs(d) < self.half_width + max(self.pavement), 0.3, 1.0)
        amplitude, k, j, phase = self.bumps.T
        z = z + rough * (np.sin(k * s[..., None] + j * d[..., None] + phase) @ amplitude)
        outside = np.abs(d) - self.half_width
        raised = self.kerb * np.clip(outside / _KERB_M, 0.0, 1.0)
        side = np.where(d > 0, self.pavement[0], self.pavement[1])
        slope = np.where(d > 0, self.banks[0], self.banks[1])
        bank = np.clip(slope * np.maximum(outside - side - 0.5, 0.0), -2.5, 3.5)
        return z + np.where(self.in_crossing(s), 0.0, raised) + bank

    def point(self, s: Any, d: Any) -> Array:
        """World coordinates (..., 3) of the ground at s, d."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        heading = self.heading_at(s)
        x = np.interp(s, self.s, self.x) - d * np.sin(heading)
        y = np.interp(s, self.s, self.y) + d * np.cos(heading)
        return np.stack([x, y, self.height(s, d)], axis=-1)

    def pose(self, s: float, d: float, yaw: float, *, base_m: float = 2.6, smooth: bool = False) -> Array:
        """T_world_object (4, 4) of something standing on the ground, tilted with it.

        yaw: rad against the road's direction; base_m: the span over which the ground is averaged.
        smooth: ignore kerbs and bumps, as for a vehicle on the carriageway.
        """
        c, n, h = np.cos(yaw), np.sin(yaw), base_m / 2
        ds = np.array([c, -c, -n, n]) * h
        dd = np.array([n, -n, c, -c]) * h
        if smooth:
            dd = np.clip(d + dd, -self.half_width, self.half_width) - d
        corners = self.point(s + ds, d + dd)
        middle = self.point(s, d)
        middle[2] = corners[:, 2].mean()
        x = corners[0] - corners[1]
        x /= np.linalg.norm(x)
        y = corners[2] - corners[3]
        z = np.cross(x, y)
        z /= np.linalg.norm(z)
        return from_rotation_translation(np.column_stack([x, np.cross(z, x), z]), middle)

    def upright(self, s: float, d: float, yaw: float) -> Array:
        """T_world_object (4, 4) of something that stands plumb: buildings, poles, people."""
        turn = self.heading_at(s) + yaw
        R = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1.0]])
        return from_rotation_translation(R, self.point(s, d))


def draw_road(
    rng: np.random.Generator,
    *,
    start_m: float,
    end_m: float,
    half_width: float,
    pavement: tuple[float, float],
    beyond: Material,
    bend: float,
    steepness: float,
    crossings: float,
) -> Road:
    """A road from s = start_m to end_m.

    bend: largest curvature, 1/m; steepness: largest slope; crossings: side streets in 100 m, mean.
    """
    s = np.arange(start_m, end_m + STEP_M, STEP_M)
    curvature = np.zeros(len(s))
    for _ in range(3):
        wave, phase = rng.uniform(60, 220), rng.uniform(0, 2 * np.pi)
        curvature += rng.uniform(-1, 1) * bend / 2 * np.sin(2 * np.pi * s / wave + phase)
    curvature += rng.uniform(-0.4, 0.4) * bend
    curvature = np.clip(curvature, -1 / 80, 1 / 80)  # the ground reaches 75 m out without folding
    heading = np.cumsum(curvature) * STEP_M
    heading -= np.interp(0.0, s, heading)
    x, y = np.cumsum(np.cos(heading)) * STEP_M, np.cumsum(np.sin(heading)) * STEP_M
    x, y = x - np.interp(0.0, s, x), y - np.interp(0.0, s, y)
    expected = crossings * (end_m - start_m) / 100
    ranges = []
    for _ in range(rng.poisson(expected)):
        at, width = rng.uniform(start_m, end_m), rng.uniform(5.0, 14.0)
        ranges.append((at - width / 2, at + width / 2))
    hills = []
    for _ in range(2):
        k = 2 * np.pi / rng.uniform(80, 400)
        hills.append((rng.uniform(-1, 1) * steepness / k / 1.5, k, rng.uniform(0, 2 * np.pi)))
    bumps = []
    for _ in range(4):
        k, j = rng.normal(0, 2 * np.pi / 10, 2)
        bumps.append((rng.uniform(0.0, 0.06), k, j, rng.uniform(0, 2 * np.pi)))
    flat = rng.random(2) < 0.5
    banks = np.where(flat, rng.normal(0, 0.01, 2), rng.normal(0.0, 0.08, 2))
    return Road(
        s, x, y, heading, half_width, pavement,
        kerb=float(rng.uniform(0.03, 0.16)) if max(pavement) > 0.3 else 0.02,
        beyond=beyond,
        crossings=np.array(ranges).reshape(-1, 2),
        hills=np.array(hills),
        bumps=np.array(bumps),
        camber=float(rng.normal(0, 0.012)),
        banks=(float(banks[0]), float(banks[1])),
    )  # fmt: skip


def surface(road: Road, rng: np.random.Generator) -> TriMesh:
    """The ground as a grid that follows the road, with its lane markings."""
    w, (left, right) = road.half_width, road.pavement
    inner = np.linspace(-w, w, 7)
    columns = [-SIDE_M, -55, -40, -30, -22, -17, -13, -10, *inner, 10, 13, 17, 22, 30, 40, 55, SIDE_M]
    columns += [-w - _KERB_M, w + _KERB_M, -w - right - 0.3, w + left + 0.3]
    d = np.unique(np.array(columns, float))
    breaks = np.concatenate([road.crossings.ravel(), road.crossings.ravel() + 0.15])
    rows = np.concatenate([np.arange(road.s[0], road.s[-1], 1.5), breaks])
    s = np.unique(rows[(rows >= road.s[0]) & (rows <= road.s[-1])])
    points = road.point(s[:, None], d[None, :])
    ds, dd = (s[:-1] + s[1:])[:, None] / 2, (d[:-1] + d[1:])[None, :] / 2
    outside = np.abs(dd) - w
    side = np.where(dd > 0, left, right)
    material = np.where(outside < 0, int(Material.ROAD), int(Material.PAVEMENT))
    material = np.where(outside > side + 0.2, int(road.beyond), material)
    material = np.where(road.in_crossing(ds) & (np.abs(dd) < 60), int(Material.ROAD), material)
    material = np.broadcast_to(material, (len(s) - 1, len(d) - 1))
    palette = np.zeros((len(Material), 3))
    palette[Material.ROAD] = rng.uniform(70, 125) + rng.normal(0, 4, 3)
    palette[Material.PAVEMENT] = rng.uniform(110, 170) + rng.normal(0, 8, 3)
    palette[Material.GRASS] = np.array([75, 100, 45]) * rng.uniform(0.7, 1.4) + rng.normal(0, 8, 3)
    shade = rng.normal(1.0, 0.04, (*material.shape, 1))
    color = np.clip(palette[material] * shade, 0, 255)
    parts = [meshes.grid_surface(points, material, color), _plain(points, road.beyond, palette[road.beyond])]
    if rng.random() < 0.75 and w > 2.6:
        parts.append(_markings(road, rng))
    return merge(parts)


def _plain(points: Array, material: Material, color: Array) -> TriMesh:
    """Level ground under everything, out to the horizon: the surveyed ground ends, the earth does not."""
    middle, low = points.reshape(-1, 3).mean(0), points[..., 2].min() - 0.5
    x, y = np.meshgrid((-500.0, 500.0), (-500.0, 500.0))
    plane = np.stack([middle[0] + x, middle[1] + y, np.full_like(x, low)], axis=-1)
    return meshes.grid_surface(plane, np.full((1, 1), int(material)), np.clip(color, 0, 255).reshape(1, 1, 3))


def _markings(road: Road, rng: np.random.Generator) -> TriMesh:
    """Dashes along the middle and lines along the edges, a centimetre above the road."""
    dash, gap = rng.uniform(1.5, 6.0), rng.uniform(2.0, 9.0)
    quads = []
    lines = [(0.0, dash, gap)]
    if rng.random() < 0.6:
        lines += [(road.half_width - 0.25, 3.0, 0.0), (0.25 - road.half_width, 3.0, 0.0)]
    if road.half_width > 5.5:
        lines += [(road.half_width / 2, dash, gap), (-road.half_width / 2, dash, gap)]
    for at, length, pause in lines:
        start = np.arange(road.s[0], road.s[-1] - length, length + pause)
        start = start[~road.in_crossing(start)]
        corners = np.stack([start, start, start + length, start + length], axis=1)
        across = np.broadcast_to(at + np.array([-0.07, 0.07, -0.07, 0.07]), corners.shape)
        quads.append(road.point(corners, across) + (0, 0, 0.012))
    vertices = np.concatenate(quads)
    n = len(vertices)
    faces = (np.array([[0, 2, 1], [1, 2, 3]])[None] + 4 * np.arange(n)[:, None, None]).reshape(-1, 3)
    return make(vertices.reshape(-1, 3), faces, Material.ROAD, np.full(3, rng.uniform(190, 245)))
