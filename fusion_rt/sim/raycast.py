"""Triangles and rays: a mesh with materials, and Embree to cast rays at it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
from msgspec import Struct
from numpy.typing import ArrayLike

from fusion_rt.errors import ConfigError
from fusion_rt.transforms import Array, transform_points


class Material(IntEnum):
    """What a face is made of: decides lidar reflectivity and camera texture."""

    ROAD = 0
    PAVEMENT = 1
    GRASS = 2
    WALL = 3
    LEAVES = 4
    POLE = 5
    SIGN = 6
    PAINT = 7
    GLASS = 8
    TYRE = 9
    CLOTH = 10
    SKIN = 11
    METAL = 12
    LAMP = 13


# Share of 905 nm light sent back at normal incidence, 0..1: (low, high), drawn once an object.
REFLECTIVITY: dict[Material, tuple[float, float]] = {
    Material.ROAD: (0.15, 0.36),
    Material.PAVEMENT: (0.22, 0.40),
    Material.GRASS: (0.25, 0.50),
    Material.WALL: (0.20, 0.60),
    Material.LEAVES: (0.25, 0.55),
    Material.POLE: (0.20, 0.60),
    Material.SIGN: (0.70, 1.00),
    Material.PAINT: (0.08, 0.60),
    Material.GLASS: (0.02, 0.10),
    Material.TYRE: (0.03, 0.10),
    Material.CLOTH: (0.10, 0.60),
    Material.SKIN: (0.35, 0.55),
    Material.METAL: (0.20, 0.60),
    Material.LAMP: (0.60, 1.00),
}


class TriMesh(Struct, frozen=True):
    """Triangles with what they are made of.

    vertices  (V, 3) float32, metres
    faces     (F, 3) int32
    material  (F,) uint8, Material
    instance  (F,) int32, the actor's index, -1 for the static world
    color     (F, 3) uint8, RGB base colour
    """

    vertices: Array
    faces: Array
    material: Array
    instance: Array
    color: Array

    def moved(self, T_target_mesh: Array) -> TriMesh:
        """The mesh in another frame."""
        vertices = transform_points(T_target_mesh, self.vertices)
        return TriMesh(vertices, self.faces, self.material, self.instance, self.color)

    def scaled(self, factors: Array) -> TriMesh:
        """The mesh with each axis stretched about the origin."""
        vertices = self.vertices * np.asarray(factors, np.float32)
        return TriMesh(vertices, self.faces, self.material, self.instance, self.color)

    def of(self, instance: int) -> TriMesh:
        """The mesh with every face given to one instance."""
        whole = np.full(len(self.faces), instance, np.int32)
        return TriMesh(self.vertices, self.faces, self.material, whole, self.color)


def make(vertices: ArrayLike, faces: Array, material: Material, color: ArrayLike) -> TriMesh:
    """A static mesh of one material and colour."""
    n = len(faces)
    return TriMesh(
        np.asarray(vertices, np.float32),
        np.asarray(faces, np.int32),
        np.full(n, int(material), np.uint8),
        np.full(n, -1, np.int32),
        np.broadcast_to(np.clip(np.asarray(color), 0, 255).astype(np.uint8), (n, 3)).copy(),
    )


def merge(meshes: Sequence[TriMesh]) -> TriMesh:
    """One mesh of many."""
    offsets = np.cumsum([0, *(len(m.vertices) for m in meshes[:-1])])
    return TriMesh(
        np.concatenate([m.vertices for m in meshes]),
        np.concatenate([m.faces + np.int32(o) for m, o in zip(meshes, offsets)]),
        np.concatenate([m.material for m in meshes]),
        np.concatenate([m.instance for m in meshes]),
        np.concatenate([m.color for m in meshes]),
    )


class Hits(Struct, frozen=True):
    """Where rays ended: distance (N,) float32 in units of the ray's direction, inf for a miss;
    face (N,) int32, -1 for a miss."""

    distance: Array
    face: Array


class Scene:
    """A mesh in Embree, or one beside what was built before, whose faces then come first.

    Raises ConfigError when the extra `sim` is not installed."""

    def __init__(self, mesh: TriMesh, *, beside: Scene | None = None) -> None:
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ImportError as error:
            raise ConfigError(
                "the simulator casts rays with embreex: pip install 'fusion-rt[sim]'"
            ) from error
        built = EmbreeScene()
        TriangleMesh(built, np.ascontiguousarray(mesh.vertices), np.ascontiguousarray(mesh.faces))
        corners = mesh.vertices[mesh.faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = normals / np.maximum(length, 1e-12)
        if beside is None:
            self.mesh, self.normals, self._parts = mesh, normals, [(built, 0)]
        else:
            self.mesh = merge([beside.mesh, mesh])
            self.normals = np.concatenate([beside.normals, normals])  # (F, 3), either side
            self._parts = [*beside._parts, (built, len(beside.mesh.faces))]

    def cast(self, origins: Array, directions: Array) -> Hits:
        """The nearest hit of each ray; origins and directions (N, 3) float32."""
        origins, directions = (np.ascontiguousarray(a, np.float32) for a in (origins, directions))
        distance = np.full(len(origins), np.inf, np.float32)
        face = np.full(len(origins), -1, np.int32)
        for part, first in self._parts:
            result = part.run(origins, directions, output=1)
            nearer = (result["primID"] >= 0) & (result["tfar"] < distance)
            distance[nearer] = result["tfar"][nearer]
            face[nearer] = result["primID"][nearer] + first
        return Hits(distance, face)

    def occluded(self, origins: Array, directions: Array) -> Array:
        """(N,) bool: whether anything stands in a ray's way."""
        origins, directions = (np.ascontiguousarray(a, np.float32) for a in (origins, directions))
        blocked = np.zeros(len(origins), bool)
        for part, _ in self._parts:
            blocked |= part.run(origins, directions, query="OCCLUDED") == 0
        return blocked
