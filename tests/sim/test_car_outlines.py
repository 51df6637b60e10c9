"""Ends of cars: by hand, and those of the simulated ones against what real points tell."""

import numpy as np
import pytest

from fusion_rt.sim import car_outlines, lidar, meshes
from fusion_rt.sim.actors import MAKERS
from fusion_rt.sim.car_outlines import outline, report
from fusion_rt.sim.raycast import Material, Scene, merge
from fusion_rt.transforms import from_translation_rpy


def face(box, behind, *, rear=True):
    """Points on a plane so far behind the near face, from side to side, at the middles of the bands."""
    y, z = np.meshgrid(np.linspace(-0.99, 0.99, 41), [0.22, 0.37, 0.52, 0.67], indexing="ij")
    x = np.full(y.shape, -(box[3] / 2 - behind) if rear else box[3] / 2 - behind)
    local = np.stack([x, y * box[4] / 2, (z - 0.5) * box[5]], axis=-1).reshape(-1, 3)
    c, s = np.cos(box[6]), np.sin(box[6])
    return local @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + box[:3]


@pytest.mark.parametrize(("yaw", "rear"), [(0.2, True), (0.2 + np.pi, False)])
def test_a_flat_end(yaw, rear):
    box = np.array([15.0, 3.0, 0.75, 4.0, 1.6, 1.5, yaw])
    found = outline(face(box, 0.07, rear=rear), box)
    assert found.rear == rear
    np.testing.assert_allclose(found.depth, 0.07, atol=1e-9)
    np.testing.assert_allclose(found.share, [0.25, 0.25, 0.25, 0.25, 0, 0, 0])
    np.testing.assert_allclose(found.reach[:4], 0.94, atol=0.05)
    assert np.isnan(found.reach[4:]).all()


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((15.0, 3.0, 0.75, 4.0, 1.6, 1.5, 1.2), 1.0),  # seen from the side
        ((5.0, 1.0, 0.75, 4.0, 1.6, 1.5, 0.2), 1.0),  # too near
        ((40.0, 3.0, 0.75, 4.0, 1.6, 1.5, 0.1), 1.0),  # too far
        ((15.0, 3.0, 0.75, 4.0, 1.6, 1.5, 0.2), 0.2),  # few points
    ],
)
def test_who_tells_nothing(box, kept):
    box = np.array(box)
    points = face(box, 0.07)
    assert outline(points[: int(kept * len(points))], box) is None


def test_half_an_end_is_not_taken_for_a_whole_one():
    box = np.array([15.0, 3.0, 0.75, 4.0, 1.6, 1.5, 0.2])
    points = face(box, 0.0)
    c, s = np.cos(box[6]), np.sin(box[6])
    aside = -s * (points[:, 0] - 15) + c * (points[:, 1] - 3)
    assert outline(points[aside > -0.3], box) is None


def test_the_report_sets_both_side_by_side():
    box = np.array([15.0, 3.0, 0.75, 4.0, 1.6, 1.5, 0.2])
    text = report([outline(face(box, 0.1), box)] * 2, [outline(face(box, 0.03), box)])
    assert "| rear (2 / 1) | 10 / 3 | 10 / 3 | 10 / 3 | 10 / 3 | 10 / 3 |" in text
    assert "| front (0 / 0) | nan / nan |" in text


def test_simulated_cars_end_as_real_ones():
    """The limits are half-way to what cars were before they were rounded: flat to within 5 cm at 0.9 of the
    half width, 3 % of the points at the top, 0.97 wide; real ones: 11 cm, none, 0.88 to 0.92."""
    ends = []
    for seed in range(24):
        shape = MAKERS["car"](np.random.default_rng(seed))
        box = np.array([16.0, 1.0, shape.size[2] / 2, *shape.size, 0.1])
        ground = meshes.box((80, 80, 0.1), (0, 0, -0.05), Material.ROAD, (90, 90, 90))
        scene = Scene(merge([ground, shape.mesh.moved(from_translation_rpy((16, 1, 0), (0, 0, 0.1)))]))
        pose = from_translation_rpy((0, 0, 1.73), (0, 0, 0))
        returns = lidar.sweep(
            lambda _, scene=scene: scene,
            lambda _, pose=pose: pose,
            lidar.PATTERNS["HDL-64"],
            np.full(len(scene.mesh.faces), 0.5, np.float32),
            np.random.default_rng(seed),
            azimuth_rad=(-0.2, 0.3),
        )
        ends.append(outline(returns.xyz + pose[:3, 3], box))
    assert all(end is not None and end.rear for end in ends)
    depth = np.nanmedian([end.depth for end in ends], axis=0)
    assert 0.04 < depth[0] < 0.12
    assert 0.07 < depth[3] - depth[0] < 0.15
    share = np.mean([end.share for end in ends], axis=0)
    assert share[-1] < 0.012
    assert 0.11 < share[car_outlines.HEIGHTS.index(0.6)] < 0.18
    reach = np.nanmedian([end.reach for end in ends], axis=0)
    assert (reach[:3] > 0.85).all()
    assert (reach[:3] < 0.945).all()
