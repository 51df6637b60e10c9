"""Embree's hits against intersections worked out by hand."""

import numpy as np
import pytest

from fusion_rt.sim import meshes
from fusion_rt.sim.raycast import Material, Scene, make, merge
from fusion_rt.transforms import from_translation_rpy, transform_points

GREY = (120, 120, 120)
SIZE, CENTER = np.array([4.0, 2.0, 1.5]), np.array([10.0, -1.0, 0.5])
T = from_translation_rpy((3.0, 1.0, -0.5), (0.1, -0.2, 0.7))


def rays(n, seed):
    """Rays from around the origin towards about the box, of any length."""
    rng = np.random.default_rng(seed)
    origins = rng.normal(0, 2, (n, 3))
    directions = (CENTER + rng.normal(0, 1.5, (n, 3)) - origins) * rng.uniform(0.1, 3, (n, 1))
    return origins.astype(np.float32), directions.astype(np.float32)


def slabs(origins, directions, low, high):
    """Where rays enter the box, in units of their direction; inf for a miss (Kay and Kajiya 1986)."""
    with np.errstate(divide="ignore"):
        a, b = (low - origins) / directions, (high - origins) / directions
    enter, leave = np.minimum(a, b).max(1), np.maximum(a, b).min(1)
    first = np.where(enter > 0, enter, leave)
    return np.where((enter <= leave) & (first > 0), first, np.inf)


@pytest.fixture(scope="module")
def box():
    return Scene(meshes.box(SIZE, CENTER, Material.WALL, GREY))


def test_a_box(box):
    origins, directions = rays(5000, 1)
    o, d = origins.astype(np.float64), directions.astype(np.float64)
    expected = slabs(o, d, CENTER - SIZE / 2, CENTER + SIZE / 2)
    # A ray within a hair of an edge may go either way.
    grown = slabs(o, d, CENTER - SIZE / 2 - 1e-4, CENTER + SIZE / 2 + 1e-4)
    shrunk = slabs(o, d, CENTER - SIZE / 2 + 1e-4, CENTER + SIZE / 2 - 1e-4)
    clear = np.isfinite(grown) == np.isfinite(shrunk)
    assert clear.mean() > 0.99
    hits = box.cast(origins, directions)
    assert 0.2 < np.isfinite(expected).mean() < 0.9
    np.testing.assert_allclose(hits.distance[clear], expected[clear], rtol=1e-4)
    np.testing.assert_array_equal(hits.face[clear] >= 0, np.isfinite(expected[clear]))
    np.testing.assert_array_equal(box.occluded(origins, directions)[clear], np.isfinite(expected[clear]))


def test_the_face_and_its_normal_are_those_of_the_hit(box):
    origins, directions = rays(1000, 2)
    hits = box.cast(origins, directions)
    hit = hits.face >= 0
    at = origins[hit] + hits.distance[hit, None] * directions[hit]
    first = box.mesh.vertices[box.mesh.faces[hits.face[hit], 0]]
    normals = box.normals[hits.face[hit]]
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0, atol=1e-6)
    np.testing.assert_allclose(np.einsum("ij,ij->i", at - first, normals), 0, atol=1e-4)


def test_a_plane():
    corners = np.array([[-1e3, -1e3, 0], [1e3, -1e3, 0], [1e3, 1e3, 0], [-1e3, 1e3, 0]])
    scene = Scene(make(corners, np.array([[0, 1, 2], [0, 2, 3]]), Material.ROAD, GREY))
    rng = np.random.default_rng(3)
    origins = rng.uniform((-5, -5, 0.5), (5, 5, 3), (2000, 3)).astype(np.float32)
    directions = rng.normal(size=(2000, 3)).astype(np.float32)
    directions[:, 2] += np.sign(directions[:, 2]) * np.float32(0.05)
    hits = scene.cast(origins, directions)
    down = directions[:, 2] < 0
    np.testing.assert_allclose(hits.distance[down], -origins[down, 2] / directions[down, 2], rtol=1e-4)
    assert np.isinf(hits.distance[~down]).all()
    assert (hits.face[~down] == -1).all()


def test_the_nearer_of_two_hides_the_other():
    near = meshes.box((1, 4, 4), (5, 0, 0), Material.WALL, GREY).of(3)
    far = meshes.box((1, 9, 9), (9, 0, 0), Material.WALL, GREY).of(8)
    scene = Scene(merge([far, near]))
    directions = np.array([[1, 0, 0.05], [1, 0.45, 0], [-1, 0, 0]], np.float32)
    hits = scene.cast(np.zeros((3, 3), np.float32), directions)
    np.testing.assert_allclose(hits.distance, [4.5, 8.5, np.inf], rtol=1e-5)
    assert scene.mesh.instance[hits.face[:2]].tolist() == [3, 8]


def test_moving_the_mesh_moves_the_hits(box):
    origins, directions = rays(500, 4)
    moved = Scene(box.mesh.moved(T))
    there = moved.cast(
        transform_points(T, origins), (directions.astype(np.float64) @ T[:3, :3].T).astype(np.float32)
    )
    here = box.cast(origins, directions)
    agree = (there.face >= 0) == (here.face >= 0)
    assert agree.mean() > 0.99  # but for hits of an edge
    np.testing.assert_allclose(there.distance[agree], here.distance[agree], rtol=1e-3)


def test_what_is_built_beside_another_is_one_with_it():
    rng = np.random.default_rng(4)
    boxes = [
        meshes.box(rng.uniform(1, 6, 3), rng.uniform(-8, 8, 3), Material.WALL, GREY).of(i) for i in range(9)
    ]
    whole = Scene(merge(boxes))
    joined = Scene(merge(boxes[7:]), beside=Scene(merge(boxes[4:7]), beside=Scene(merge(boxes[:4]))))
    np.testing.assert_array_equal(joined.mesh.faces, whole.mesh.faces)
    np.testing.assert_array_equal(joined.mesh.instance, whole.mesh.instance)
    np.testing.assert_array_equal(joined.normals, whole.normals)
    origins = np.zeros((4000, 3), np.float32)
    directions = rng.normal(size=(4000, 3)).astype(np.float32)
    one, other = whole.cast(origins, directions), joined.cast(origins, directions)
    assert 0.2 < np.mean(one.face >= 0) < 0.9
    assert len(np.unique(whole.mesh.instance[one.face[one.face >= 0]])) > 5
    np.testing.assert_array_equal(one.face, other.face)
    np.testing.assert_array_equal(one.distance, other.distance)
    np.testing.assert_array_equal(whole.occluded(origins, directions), joined.occluded(origins, directions))
