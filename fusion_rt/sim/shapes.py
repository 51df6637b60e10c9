"""What stands for a road user: a mesh and the box that a labeller would draw around it."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from fusion_rt.messages import Vec3
from fusion_rt.sim.raycast import TriMesh, merge
from fusion_rt.transforms import Array, from_translation_rpy

Rng = np.random.Generator

# Metallic and plain car colours as they are seen on roads, RGB, with their shares.
PAINTS = np.array(
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
PAINT_SHARES = np.array([0.22, 0.24, 0.18, 0.13, 0.10, 0.07, 0.03, 0.03])


class Shape(Struct, frozen=True):
    """A mesh and the box that holds it: size is length, width, height in metres."""

    label: str
    size: Vec3
    mesh: TriMesh


def boxed(label: str, parts: list[TriMesh], size: Vec3 | None, slack: Array | float = 0.0) -> Shape:
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
