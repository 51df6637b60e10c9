import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_rt.device import CpuDevice

NUMBERS = st.floats(-12, 12, width=32) | st.sampled_from([0.0, 1e10, -3e38, np.inf, -np.inf, np.nan])
MARGIN_M, MOST = 0.5, 1000


@pytest.fixture(scope="module")
def grid(reference):
    return reference.Grid(x_min=-6.0, y_min=-4.0, cell_m=0.5, nx=28, ny=18)


def layers(seed=0, channels=64):
    rng = np.random.default_rng(seed)
    shapes = ((3, 16), (3, 16), (3, 16), (16, channels), (channels,))
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def group(device, xyz, grid):
    """The points by cell, all heights accepted."""
    encoder = device.kernel("pillars")
    canvas = np.zeros((grid.ny, grid.nx, 2), np.float32)
    encoder(
        xyz,
        np.ones(len(xyz), np.float32),
        np.ones((8, 1), np.float32),
        np.ones(1, np.float32),
        grid,
        -90,
        90,
        canvas,
    )
    return encoder.grouped


def run(device, xyz, rows, grid, weights, most=MOST):
    out = np.full((len(rows), len(weights[4]) + 1), np.nan, np.float32)
    device.kernel("roi_points")(group(device, xyz, grid), rows, MARGIN_M, most, *weights, out)
    return out


def boxes(rng, n):
    rows = np.zeros((n, 16), np.float32)
    rows[:, :2] = rng.uniform(-8, 10, (n, 2))
    rows[:, 2] = rng.uniform(0, 2, n)
    rows[:, 3:6] = rng.uniform(0.3, 6, (n, 3))
    rows[:, 6] = rng.uniform(-4, 4, n)
    rows[:, 10] = rng.integers(3, size=n)
    return rows


@pytest.mark.parametrize(("points", "n"), [(0, 3), (1, 1), (4000, 0), (4000, 60), (300, 60)])
@pytest.mark.parametrize("most", [1, 20, 1000])
def test_equals_the_reference(device, reference, grid, points, n, most):
    rng = np.random.default_rng(points + n)
    # On a raster, so that hardly any lies where rounding decides whether it is inside.
    xyz = (rng.integers(-50, 90, (points, 3)) / 11 * [1, 0.7, 0.2]).astype(np.float32)
    xyz = xyz[(np.abs(xyz[:, 1]) < 4) & (np.abs(xyz[:, 0] - 1) < 7)]
    rows = boxes(rng, n)
    u, v = (xyz[:, 0] - grid.x_min) / grid.cell_m, (xyz[:, 1] - grid.y_min) / grid.cell_m
    offset = np.column_stack([(u % 1 - 0.5) * grid.cell_m, (v % 1 - 0.5) * grid.cell_m, xyz[:, 2]])
    expected = reference.roi_points(xyz, reference.lots(offset), rows, MARGIN_M, most, *layers())
    np.testing.assert_allclose(run(device, xyz, rows, grid, layers(), most), expected, rtol=1e-4, atol=1e-4)


def test_of_a_crowd_about_so_many_are_looked_at(device, grid):
    """A channel that sees only along: the more are looked at, the nearer to the face the farthest of them."""
    at, size, kind, second = (np.zeros(shape, np.float32) for shape in ((3, 16), (3, 16), (1, 16), (16, 64)))
    at[0, 0] = second[0, 0] = 1
    rng = np.random.default_rng(0)
    xyz = rng.uniform(-1, 1, (20000, 3)).astype(np.float32)
    row = np.zeros((1, 16), np.float32)
    row[0, 3:6] = 2
    weights = at, size, kind, second, np.zeros(64, np.float32)
    few, some, every = (run(device, xyz, row, grid, weights, most)[0] for most in (20, 2000, 30000))
    assert 0.5 < few[0] < some[0] < every[0] < 1
    assert some[0] == pytest.approx(1, abs=0.01)
    assert few[64] == some[64] == every[64] == pytest.approx(np.log1p(20000) / 5)


def test_where_a_point_lies_is_told_in_the_frame_of_the_box(device, grid):
    """Channels that hand through along, across, up and half the length."""
    at, size, kind, second = (np.zeros(shape, np.float32) for shape in ((3, 16), (3, 16), (1, 16), (16, 64)))
    at[[0, 1, 2], [0, 1, 2]] = 1
    size[0, 3] = 1
    second[:4, :4] = np.eye(4)
    row = np.zeros((1, 16), np.float32)
    row[0, :7] = [1, 0.5, 0.7, 4, 2, 1.5, np.pi / 2]  # faces left (y)
    inside = [[0.6, 2, 1.0], [0.9, 1.5, 1.3]]
    outside = [[2.51, 0.5, 0.7], [1, 3.01, 0.7], [1, 0.5, 2.0]]
    out = run(
        device, np.float32(inside + outside), row, grid, (at, size, kind, second, np.zeros(64, np.float32))
    )[0]
    np.testing.assert_allclose(out[:4], [1.5, 0.4, 0.6, 2.0], atol=1e-5)
    assert out[64] == pytest.approx(np.log(3) / 5)


def test_the_order_of_points_does_not_matter(device, grid):
    rng = np.random.default_rng(3)
    xyz, rows = rng.normal(0, 2, (2000, 3)).astype(np.float32), boxes(rng, 20)
    for most in (30, MOST):
        first = run(device, xyz, rows, grid, layers(), most)
        np.testing.assert_array_equal(run(device, xyz[::-1].copy(), rows, grid, layers(), most), first)


def test_every_class_has_a_bias_of_its_own(device, grid):
    rows = np.zeros((3, 16), np.float32)
    rows[:, 3:6] = 1
    rows[:, 10] = range(3)
    out = run(device, np.zeros((1, 3), np.float32), rows, grid, layers(5))
    assert len(np.unique(out[:, :64], axis=0)) == 3
    assert (out[:, 64] == out[0, 64]).all()


@settings(max_examples=60, deadline=None)
@given(box=st.lists(NUMBERS, min_size=7, max_size=7))
def test_any_box_gives_finite_numbers(grid, box):
    row = np.zeros((1, 16), np.float32)
    row[0, :7] = box
    xyz = np.random.default_rng(0).normal(0, 3, (500, 3)).astype(np.float32)
    out = run(CpuDevice(2), xyz, row, grid, layers(1))
    assert np.isfinite(out[0, 64])
    assert (out[np.isfinite(out)] >= 0).all()
