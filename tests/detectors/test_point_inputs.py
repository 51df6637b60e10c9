"""Points as images and as pillars."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.detectors import bev_map, pillars
from fusion_rt.detectors.point_recipe import BevMap, Pillars, Space
from fusion_rt.errors import ConfigError

SPACE = Space(x_min=0.0, x_max=4.0, y_min=-1.0, y_max=1.0, z_min=-2.0, z_max=2.0)
MAP = BevMap(name="x", rows=4, columns=2, channels=("intensity", "height", "density"), full=64)


def drawn(points, spec=MAP):
    out = np.full((len(spec.channels), spec.rows, spec.columns), np.nan, np.float32)
    points = np.asarray(points, np.float32).reshape(-1, 4)
    bev_map.draw(points[:, :3], points[:, 3], spec, SPACE, out)
    return out


def test_a_cell_tells_of_its_highest_point():
    got = drawn([(2.5, 0.5, -1.0, 0.9), (2.2, 0.1, 1.0, 0.3), (2.9, 0.9, 0.0, 0.6)])
    expected = np.zeros((3, 4, 2))
    expected[:, 2, 1] = (0.3, 3 / 4, np.log(4) / np.log(64))
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_what_lies_outside_or_is_no_number_is_not_drawn():
    assert not drawn(
        [(4.0, 0, 0, 1), (-0.1, 0, 0, 1), (1, 1.0, 0, 1), (1, 0, 2.0, 1), (np.nan, 0, 0, 1)]
    ).any()
    assert not drawn([]).any()


def test_density_ends_at_one_and_channels_are_chosen():
    spec = BevMap(name="x", rows=4, columns=2, channels=("density",), full=8)
    assert drawn([(0.5, -0.5, 0, 1)] * 20, spec)[0, 0, 0] == 1
    assert drawn([(0.5, -0.5, 0, 1)] * 3, spec)[0, 0, 0] == pytest.approx(2 / 3)
    with pytest.raises(ConfigError, match=r"channels: 'heigth' .* did you mean 'height'"):
        BevMap(name="x", rows=1, columns=1, channels=("heigth",))
    with pytest.raises(ConfigError, match="x_min 4 is not below x_max 0"):
        Space(x_min=4.0, x_max=0.0, y_min=-1.0, y_max=1.0, z_min=-2.0, z_max=2.0)


def grouped(points, *, most=3, each=2):
    spec = Pillars(voxels="v", counts="n", coordinates="c", cell_m=1.0, most=most, points=each)
    voxels, counts = np.full((most, each, 4), np.nan, np.float32), np.full(most, -7, np.int32)
    at = np.full((most, 4), -7, np.int64)
    points = np.asarray(points, np.float32).reshape(-1, 4)
    n = pillars.group(points[:, :3], points[:, 3], spec, SPACE, voxels=voxels, counts=counts, at=at)
    return n, voxels, counts, at


def test_points_are_grouped_in_the_order_of_their_pillars():
    a, b = (3.5, -0.5, 0.0, 0.1), (0.5, 0.5, 1.0, 0.2)
    n, voxels, counts, at = grouped([a, b, (9, 9, 9, 9), (3.1, -0.9, 1.0, 0.3), (3.2, -0.1, 0.0, 0.4)])
    assert n == 2
    assert at.tolist() == [[0, 0, 0, 3], [0, 0, 1, 0], [-1, -1, -1, -1]]
    assert counts.tolist() == [2, 1, 0]  # the third of the first pillar is one too many
    np.testing.assert_allclose(voxels[0], [a, (3.1, -0.9, 1.0, 0.3)])
    np.testing.assert_allclose(voxels[1], [b, (0, 0, 0, 0)])
    assert not voxels[2].any()


def test_more_pillars_than_fit():
    n, _, counts, at = grouped([(k + 0.5, 0.5, 0, 0) for k in range(4)] * 2)
    assert n == 3
    assert counts.tolist() == [2, 2, 2]
    assert at[:, 3].tolist() == [0, 1, 2]
    assert grouped([])[0] == 0


@given(st.integers(0, 10**6))
def test_pillars_equal_those_made_point_by_point(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform((-1, -2, -3, 0), (5, 2, 3, 1), (rng.integers(0, 60), 4)).astype(np.float32)
    expected = {}
    for point in points:
        x, y, z, _ = point
        if not (0 <= x < 4 and -1 <= y < 1 and -2 <= z < 2):
            continue
        cell = int(y + np.float32(1)), int(x)
        if cell not in expected and len(expected) == 5:
            continue
        inside = expected.setdefault(cell, [])
        if len(inside) < 3:
            inside.append(point)
    n, voxels, counts, at = grouped(points, most=5, each=3)
    assert n == len(expected)
    for k, (cell, inside) in enumerate(expected.items()):
        assert tuple(at[k, 2:].tolist()) == cell
        assert counts[k] == len(inside)
        np.testing.assert_array_equal(voxels[k, : len(inside)], inside)
