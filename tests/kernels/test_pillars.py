import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fusion_rt.device import CpuDevice

Z = (-2.0, 3.0)


@pytest.fixture(scope="module")
def grid(reference):
    return reference.Grid(x_min=-3.0, y_min=-2.0, cell_m=0.4, nx=20, ny=11)  # 0.4 is inexact in float32


def layer(channels, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(8, channels)).astype(np.float32), rng.normal(size=channels).astype(np.float32)


def run(device, xyz, intensity, W, b, grid, z=Z):
    """-> (C + 1, ny, nx), the counts."""
    out = np.full((grid.ny, grid.nx, W.shape[1] + 1), np.nan, np.float32)
    counts = device.kernel("pillars")(xyz, intensity, W, b, grid, *z, out)
    return out.transpose(2, 0, 1), counts


@pytest.mark.parametrize("channels", [1, 7, 32, 128])
@pytest.mark.parametrize("n", [0, 1, 2000])
def test_equals_the_reference(device, reference, cases, grid, n, channels):
    rng = np.random.default_rng(n + channels)
    xyz = cases.hostile_cloud(rng, n)
    intensity = cases.sprinkle(rng, rng.uniform(-0.2, 1.2, n).astype(np.float32), 0.05)
    W, b = layer(channels)
    out, counts = run(device, xyz, intensity, W, b, grid)
    expected, expected_counts = reference.pillars(xyz, intensity, W, b, grid, *Z)
    assert counts == expected_counts
    np.testing.assert_array_equal(out[-1] > 0, expected[-1] > 0)
    # Sums of positions are cut to 65536ths of a metre.
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-4)


@settings(max_examples=60, deadline=None)
@given(
    xyz=hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 30), st.just(3)),
        elements=st.floats(width=32)
        | st.floats(-4, 6, width=32)
        | st.sampled_from([-3.0, -2.0, 2.4, 3.0, 5.0, 1e10, np.inf, np.nan]).map(
            lambda v: float(np.float32(v))
        ),
    )
)
def test_any_cloud_is_counted_to_the_last_point(reference, grid, xyz):
    intensity, (W, b) = np.ones(len(xyz), np.float32), layer(3)
    out, counts = run(CpuDevice(2), xyz, intensity, W, b, grid)
    expected, expected_counts = reference.pillars(xyz, intensity, W, b, grid, *Z)
    assert counts == expected_counts
    assert counts["points_in"] + counts["not_finite"] + counts["outside"] == len(xyz)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-4)


def test_borders_belong_to_the_upper_cell_and_the_last_to_none(device, reference):
    grid = reference.Grid(x_min=0.0, y_min=0.0, cell_m=0.5, nx=16, ny=16)  # exact in float32
    W, b = layer(1)
    below = np.nextafter(np.float32(8), np.float32(0))
    for point, cell in (
        ((0, 0, 0), (0, 0)),
        ((0.5, 0, 0), (0, 1)),
        ((below, below, 0), (15, 15)),
        ((8, 4, 0), None),  # cell index 16
        ((4, 8, 0), None),
        ((np.nextafter(np.float32(0), np.float32(-1)), 4, 0), None),
        ((4, 4, Z[0]), (8, 8)),
        ((4, 4, Z[1]), None),
        ((4, 4, np.nextafter(np.float32(Z[1]), np.float32(0))), (8, 8)),
    ):
        out, counts = run(device, np.array([point], np.float32), np.ones(1, np.float32), W, b, grid)
        where = [tuple(c) for c in np.argwhere(out[-1] > 0)]
        assert where == ([cell] if cell else []), point
        assert counts["outside"] == (cell is None)


def test_rounding_onto_the_border_is_outside(device, reference):
    """Below x_max in metres, yet (x - x_min) / cell is the number of cells."""
    grid = reference.Grid(x_min=-40.0, y_min=0.0, cell_m=0.1, nx=800, ny=1)
    x = np.nextafter(np.float32(40), np.float32(0))
    assert (x - np.float32(-40)) / np.float32(0.1) == 800
    W, b = layer(1)
    _, counts = run(device, np.array([[x, 0.05, 0]], np.float32), np.ones(1, np.float32), W, b, grid)
    assert counts == {"points_in": 0, "pillars": 0, "not_finite": 0, "outside": 1}


@pytest.mark.parametrize("n", [1, 50_000])
def test_all_points_in_one_cell(device, reference, grid, n):
    rng = np.random.default_rng(0)
    xyz = rng.uniform([0.21, 0.01, -1], [0.59, 0.39, 2], (n, 3)).astype(np.float32)
    intensity, (W, b) = rng.uniform(0, 1, n).astype(np.float32), layer(16)
    out, counts = run(device, xyz, intensity, W, b, grid)
    assert counts == {"points_in": n, "pillars": 1, "not_finite": 0, "outside": 0}
    np.testing.assert_allclose(out, reference.pillars(xyz, intensity, W, b, grid, *Z)[0], rtol=0, atol=2e-4)


def test_the_order_of_the_points_changes_no_bit(device, cases, grid):
    rng = np.random.default_rng(5)
    xyz, intensity = cases.hostile_cloud(rng, 3000), rng.uniform(0, 1, 3000).astype(np.float32)
    W, b = layer(16)
    first, _ = run(device, xyz, intensity, W, b, grid)
    order = rng.permutation(3000)
    second, _ = run(device, xyz[order], intensity[order], W, b, grid)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("value", [3e38, -3e38, 255.0])
def test_an_absurd_intensity_is_held_to_its_range(device, grid, value):
    xyz, (W, b) = np.zeros((1, 3), np.float32), layer(8)
    ours, counts = run(device, xyz, np.float32([value]), W, b, grid)
    held, _ = run(device, xyz, np.float32([1.0 if value > 0 else 0.0]), W, b, grid)
    np.testing.assert_array_equal(ours, held)
    assert counts["points_in"] == 1


def test_a_canvas_used_again_holds_only_the_last_cloud(device, reference, cases, grid):
    rng = np.random.default_rng(6)
    kernel, buffer, (W, b) = (
        device.kernel("pillars"),
        np.full((1, grid.ny, grid.nx, 10), 9, np.float32),
        layer(9),
    )
    for n in (1000, 10, 0, 4000, 1):
        xyz, intensity = cases.hostile_cloud(rng, n), rng.uniform(0, 1, n).astype(np.float32)
        kernel(xyz, intensity, W, b, grid, *Z, buffer[0])  # a new view of the same memory each time
        expected, _ = reference.pillars(xyz, intensity, W, b, grid, *Z)
        np.testing.assert_allclose(buffer[0].transpose(2, 0, 1), expected, rtol=0, atol=2e-4)


def test_only_the_touched_cells_are_cleared_between_calls(device, grid):
    kernel, buffer, (W, b) = (
        device.kernel("pillars"),
        np.zeros((1, grid.ny, grid.nx, 2), np.float32),
        layer(1),
    )
    point, one = np.zeros((1, 3), np.float32), np.ones(1, np.float32)
    kernel(point, one, W, b, grid, *Z, buffer[0])
    buffer[0, 0, 0] = 5  # against the rule, to see what the kernel touches
    kernel(point[:0], one[:0], W, b, grid, *Z, buffer[0])
    assert (buffer[0, 0, 0] == 5).all()
    assert np.count_nonzero(buffer) == 2


def test_another_canvas_starts_empty(device, reference, grid):
    kernel, (W, b) = device.kernel("pillars"), layer(1)
    point, one = np.zeros((1, 3), np.float32), np.ones(1, np.float32)
    for shape in ((grid.ny, grid.nx), (grid.nx, grid.ny), (4, 30)):
        other = reference.Grid(-3.0, -2.0, 0.4, nx=shape[1], ny=shape[0])
        out = np.full((*shape, 2), 7, np.float32)
        kernel(point, one, W, b, other, *Z, out)
        np.testing.assert_allclose(
            out.transpose(2, 0, 1), reference.pillars(point, one, W, b, other, *Z)[0], atol=1e-5
        )


@pytest.mark.parametrize("threads", [1, 2])
def test_clearing_beside_other_work_changes_nothing(grid, cases, threads):
    rng = np.random.default_rng(0)
    plain, ahead = (CpuDevice(threads).kernel("pillars") for _ in range(2))
    canvas = [np.full((grid.ny, grid.nx, 5), np.nan, np.float32) for _ in range(3)]
    W, b = layer(4)
    ahead.clear()  # nothing was done yet
    for turn in range(6):
        xyz, intensity = cases.hostile_cloud(rng, 500 * turn), np.ones(500 * turn, np.float32)
        arguments = xyz, intensity, W, b, grid, *Z
        assert plain(*arguments, canvas[0]) == ahead(*arguments, canvas[1])
        np.testing.assert_array_equal(canvas[0], canvas[1])
        for _ in range(turn % 3):
            ahead.clear()
    ahead.clear()
    for _ in range(2):  # the clearing was of another canvas
        assert plain(*arguments, canvas[0]) == ahead(*arguments, canvas[2])
        np.testing.assert_array_equal(canvas[0], canvas[2])
        ahead.clear()
    del ahead
    assert not canvas[2].any()


def test_other_weights_on_the_same_canvas(grid, cases):
    rng = np.random.default_rng(1)
    kernel, out = CpuDevice(2).kernel("pillars"), np.empty((grid.ny, grid.nx, 5), np.float32)
    xyz, intensity = cases.hostile_cloud(rng, 900), np.ones(900, np.float32)
    for seed in (0, 1, 2):
        fresh = np.empty_like(out)
        kernel(xyz, intensity, *layer(4, seed), grid, *Z, out)
        CpuDevice(2).kernel("pillars")(xyz, intensity, *layer(4, seed), grid, *Z, fresh)
        np.testing.assert_array_equal(out, fresh)
        if seed:
            kernel.clear()
