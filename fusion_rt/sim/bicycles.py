"""Bicycles as meshes: x forward, z up, the origin on the ground midway between the wheels."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from fusion_rt.sim import meshes
from fusion_rt.sim.raycast import Material, TriMesh
from fusion_rt.sim.shapes import PAINTS, Rng
from fusion_rt.transforms import Array

# Two of a real wheel's spokes in one: it has about twenty in sight.
_SPOKES = 11


class Bicycle(Struct, frozen=True):
    """What it consists of, and where its rider holds on: (3,) m each."""

    parts: list[TriMesh]
    saddle: Array
    bar: Array
    crank: Array


def bicycle(rng: Rng) -> Bicycle:
    """A frame on two wheels; most have mudguards and a carrier, some have bags or a basket."""
    wheel, base = rng.uniform(0.32, 0.36), rng.uniform(0.98, 1.10)
    paint = PAINTS[rng.integers(len(PAINTS))]
    front, rear = np.array([base / 2, 0, wheel]), np.array([-base / 2, 0, wheel])
    parts = [part for hub in (front, rear) for part in _wheel(rng, hub, wheel)]
    crank, saddle = np.array([-0.05, 0, 0.30]), np.array([-0.22, 0, rng.uniform(0.84, 0.96)])
    head, bar = np.array([base / 2 - 0.14, 0, 0.78]), np.array([base / 2 - 0.2, 0, rng.uniform(0.98, 1.1)])
    below = saddle - (0, 0, 0.15)
    tube = rng.uniform(0.02, 0.03)
    for a, b in (
        (crank, saddle), (crank, head), (below, head), (head, front), (crank, rear), (below, rear),
        (head, bar),
    ):  # fmt: skip
        parts.append(meshes.tube(a, b, tube, Material.METAL, paint, around=5))
    reach = (0, rng.uniform(0.21, 0.33), 0)
    parts.append(meshes.tube(bar - reach, bar + reach, 0.018, Material.METAL, (60, 60, 60), around=5))
    parts.append(meshes.box((0.25, rng.uniform(0.12, 0.2), 0.07), saddle, Material.CLOTH, (30, 30, 30)))
    if rng.random() < 0.5:
        parts.append(
            meshes.box((base * 0.42, 0.05, 0.11), (crank + rear) / 2 + (0, 0, 0.02), Material.METAL, paint)
        )
    if rng.random() < 0.7:
        parts += _carrier(rng, rear + (-0.02, 0, wheel + 0.06))
    if rng.random() < 0.15:
        basket = rng.uniform((0.25, 0.3, 0.2), (0.35, 0.42, 0.3))
        parts.append(meshes.box(basket, bar + (0.22, 0, -0.08), Material.METAL, (70, 65, 60)))
    return Bicycle(parts, saddle, bar, crank)


def _wheel(rng: Rng, hub: Array, radius: float) -> list[TriMesh]:
    guard = rng.uniform(0.0, 0.035)
    parts = [
        meshes.ring(hub, radius, radius - 0.055 - guard, Material.TYRE, (30, 30, 30)),
        meshes.tube(hub - (0, 0.05, 0), hub + (0, 0.05, 0), 0.035, Material.METAL, (110, 110, 110), around=6),
    ]
    for turn in (np.arange(_SPOKES) + rng.uniform()) * (2 * np.pi / _SPOKES):
        rim = hub + (radius - 0.05) * np.array([np.cos(turn), 0, np.sin(turn)])
        parts.append(meshes.tube(hub, rim, 0.007, Material.METAL, (110, 110, 110), around=3))
    return parts


def _carrier(rng: Rng, at: Array) -> list[TriMesh]:
    """Over the rear wheel, with what may be on it or hang beside it."""
    parts = [meshes.box((0.4, 0.13, 0.03), at, Material.METAL, (60, 60, 60))]
    color = rng.uniform(15, 150, 3)
    if rng.random() < 0.25:
        size = rng.uniform((0.3, 0.25, 0.15), (0.4, 0.35, 0.3))
        parts.append(meshes.box(size, at + (0, 0, size[2] / 2), Material.CLOTH, color))
    if rng.random() < 0.2:
        for side in (-1, 1):
            parts.append(meshes.box((0.32, 0.13, 0.32), at + (0, side * 0.13, -0.17), Material.CLOTH, color))
    return parts
