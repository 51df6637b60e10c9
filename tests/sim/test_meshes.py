"""Meshes against solid geometry: closed, of the volume that a formula gives, inside their own boxes."""

import math

import numpy as np
import pytest

from fusion_rt.sim import actors, meshes, scenery
from fusion_rt.sim.plot import BESIDE
from fusion_rt.sim.raycast import Material, Scene, merge


def solid(mesh):
    """Triangles by number of place: equal vertices made one, faces without area left out."""
    _, place = np.unique(np.round(mesh.vertices, 5), axis=0, return_inverse=True)
    faces = place.reshape(-1)[mesh.faces]
    flat = (faces[:, 0] == faces[:, 1]) | (faces[:, 1] == faces[:, 2]) | (faces[:, 2] == faces[:, 0])
    return faces[~flat]


def is_closed(mesh):
    """Every edge is walked once in each direction."""
    faces = solid(mesh)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    walked = {tuple(edge) for edge in edges}
    return len(walked) == len(edges) and all((b, a) in walked for a, b in walked)


def volume(mesh):
    """By the divergence theorem."""
    a, b, c = (mesh.vertices[mesh.faces[:, i]].astype(np.float64) for i in range(3))
    return abs(np.einsum("ij,ij->", a, np.cross(b, c))) / 6


def polygon(around):
    """Area of a regular polygon in the unit circle."""
    return around / 2 * math.sin(2 * math.pi / around)


WHITE = (255, 255, 255)
PROFILE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [0.0, 1.0]])
SOLIDS = {
    "box": (meshes.box((2, 3, 4), (1, -1, 5), Material.WALL, WHITE), 24.0),
    "cylinder": (
        meshes.tube((1, 0, 0), (1, 2, 2), 0.5, Material.POLE, WHITE),
        polygon(8) * 0.25 * math.sqrt(8),
    ),
    "cone": (
        meshes.tube((0, 0, 0), (0, 0, 3), 1.0, Material.POLE, WHITE, end_radius=0.5, around=12),
        polygon(12) * (1 + 0.5 + 0.25),
    ),
    "ring": (
        meshes.ring((0, 0, 1), 0.4, 0.3, Material.TYRE, WHITE, around=16),
        polygon(16) * (0.16 - 0.09) * 0.04,
    ),
    "extrusion": (
        meshes.extrusion(PROFILE, np.array([-1.0, 0.0, 2.0]), np.ones(3), Material.PAINT, WHITE),
        2.0 * 3.0,
    ),
    "wedge": (
        meshes.extrusion(PROFILE, np.array([0.0, 2.0]), np.array([1.0, 0.5]), Material.PAINT, WHITE),
        2.0 * 2.0 * 0.75,
    ),
}


@pytest.mark.parametrize("name", SOLIDS)
def test_solids_are_closed_and_of_their_volume(name):
    mesh, expected = SOLIDS[name]
    assert is_closed(mesh)
    np.testing.assert_allclose(volume(mesh), expected, rtol=1e-4)


def test_an_open_mesh_is_told_from_a_closed_one():
    points = np.stack(np.meshgrid([0.0, 1.0], [0.0, 1.0], [0.0], indexing="ij"), axis=-1)[:, :, 0]
    assert not is_closed(meshes.grid_surface(points, np.zeros((1, 1)), np.zeros((1, 1, 3))))


def test_ellipsoids_fill_theirs_ever_better():
    whole = 4 / 3 * math.pi * 1 * 2 * 3
    missing = []
    for around in (10, 20, 40):
        mesh = meshes.ellipsoid((1, 2, 3), (4, 5, 6), Material.SKIN, WHITE, around=around)
        assert is_closed(mesh)
        np.testing.assert_allclose((mesh.vertices.max(0) + mesh.vertices.min(0)) / 2, (4, 5, 6), atol=0.11)
        missing.append(1 - volume(mesh) / whole)
    assert missing[0] > missing[1] > missing[2] > 0
    assert missing[2] < 0.02


def test_grid_surface_keeps_each_cells_material():
    points = np.stack(np.meshgrid(np.arange(3.0), np.arange(4.0), [0.0], indexing="ij"), axis=-1)[:, :, 0]
    material = np.arange(6).reshape(2, 3)
    mesh = meshes.grid_surface(points, material, np.repeat(material[..., None], 3, axis=2))
    centres = mesh.vertices[mesh.faces].mean(1)
    expected = material[centres[:, 0].astype(int), centres[:, 1].astype(int)]
    np.testing.assert_array_equal(mesh.material, expected)
    np.testing.assert_array_equal(mesh.color[:, 0], expected)


def test_merging_keeps_every_triangle():
    parts = [mesh for mesh, _ in SOLIDS.values()]
    whole = merge(parts)
    corners = np.concatenate([p.vertices[p.faces] for p in parts])
    np.testing.assert_array_equal(whole.vertices[whole.faces], corners)
    np.testing.assert_array_equal(whole.material, np.concatenate([p.material for p in parts]))


def check(mesh):
    assert mesh.vertices.dtype == np.float32
    assert np.isfinite(mesh.vertices).all()
    assert mesh.faces.dtype == np.int32
    assert mesh.faces.min() >= 0
    assert mesh.faces.max() < len(mesh.vertices)
    assert len(mesh.faces) == len(mesh.material) == len(mesh.instance) == len(mesh.color)
    assert set(np.unique(mesh.material)) <= set(Material)
    assert (mesh.instance == -1).all()


@pytest.mark.parametrize("kind", BESIDE)
def test_scenery_is_valid_and_stands_on_the_ground(kind):
    for seed in range(12):
        mesh = BESIDE[kind](np.random.default_rng(seed))
        check(mesh)
        assert mesh.vertices[:, 2].min() < 0.3  # nothing hovers
        assert mesh.vertices[:, 2].max() > 0.25
        same = BESIDE[kind](np.random.default_rng(seed))
        assert mesh.vertices.tobytes() == same.vertices.tobytes()


@pytest.mark.parametrize("seed", range(8))
def test_windows_are_seen_behind_the_front(seed):
    """Bands and piers stand before the panes and leave them free."""
    house = scenery.building(np.random.default_rng(seed))
    glass = house.vertices[house.faces[house.material == Material.GLASS]]
    panes = glass.mean(1)[np.ptp(glass, axis=1)[:, 1] < 1e-6]
    eyes = np.column_stack([panes[:, 0], np.full(len(panes), -30.0), panes[:, 2]])
    ahead = np.tile([0.0, 1.0, 0.0], (len(panes), 1))
    met = Scene(house).cast(eyes, ahead).face
    assert (house.material[met] == Material.GLASS).mean() >= 0.5  # ivy, a balcony or a pipe hides some
    walls = house.vertices[np.unique(house.faces[house.material == Material.WALL])]
    assert -1.6 <= walls[:, 1].min() <= panes[:, 1].min() + 0.031


# Length, width, height in metres: smallest and largest that one meets.
SIZES = {
    "car": ((2.15, 1.35, 1.2), (5.3, 2.1, 2.05)),
    "van": ((3.5, 1.5, 1.5), (15.0, 3.0, 4.5)),
    "pedestrian": ((0.3, 0.35, 1.1), (1.9, 1.2, 2.1)),
    "cyclist": ((1.5, 0.4, 1.4), (2.2, 0.9, 2.1)),
}


# How far people stand out of their boxes and how much air is in those, m: labels leave out a hand, the end of
# a bar or a bag, and hold a whole stride.
ROOM = {
    "pedestrian": ((1e-5, 0.0601, 1e-5), (0.361, 0.101, 0.061)),
    "cyclist": ((0.0201, 0.0801, 0.0), (0.101, 0.141, 0.101)),
}


@pytest.mark.parametrize("kind", actors.MAKERS)
def test_actors_fill_their_boxes(kind):
    for seed in range(30):
        shape = actors.MAKERS[kind](np.random.default_rng(seed))
        check(shape.mesh)
        low, high = shape.mesh.vertices.min(0), shape.mesh.vertices.max(0)
        np.testing.assert_allclose(low[2], 0, atol=1e-5)
        np.testing.assert_allclose((low + high)[:2], 0, atol=1e-5)
        out, slack = ROOM.get(kind, ((0.0301,) * 3, (0.4, 0.2, 0.2)))  # wheels and mirrors stand out by 3 cm
        assert np.all(high - low <= np.array(shape.size) + out)
        assert np.all(high - low >= np.array(shape.size) - slack)
        assert np.all(np.array(shape.size) >= SIZES[kind][0]), shape.size
        assert np.all(np.array(shape.size) <= SIZES[kind][1]), shape.size


# Means of KITTI's training labels, m, as Frustum PointNets (Qi et al. 2018) printed them.
MEANS = {
    "car": (3.883, 1.629, 1.526),
    "pedestrian": (0.844, 0.661, 1.763),
    "cyclist": (1.763, 0.597, 1.737),
}


@pytest.mark.parametrize("kind", MEANS)
def test_actors_are_as_large_as_real_ones_in_the_mean(kind):
    sizes = [actors.MAKERS[kind](np.random.default_rng(seed)).size for seed in range(400)]
    np.testing.assert_allclose(np.mean(sizes, axis=0), MEANS[kind], rtol=0.04)
