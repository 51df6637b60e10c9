import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_rt.device import CpuDevice

NUMBERS = st.floats(-12, 12, width=32) | st.sampled_from([0.0, 1e10, -3e38, np.inf, -np.inf, np.nan])


@pytest.fixture(scope="module")
def grid(reference):
    return reference.Grid(x_min=-6.0, y_min=-4.0, cell_m=0.5, nx=28, ny=18)


def run(device, features, boxes, grid):
    """features (C, ny, nx) -> (n, 5 C)."""
    out = np.full((len(boxes), 5 * len(features)), np.nan, np.float32)
    device.kernel("roi_sample")(np.ascontiguousarray(features.transpose(1, 2, 0)), boxes, grid, out)
    return out


def canvas(grid, channels=5):
    return np.random.default_rng(0).normal(size=(channels, grid.ny, grid.nx)).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 200])
@pytest.mark.parametrize("channels", [0, 1, 7])
def test_equals_the_reference(device, reference, grid, n, channels):
    rng = np.random.default_rng(n)
    boxes = np.column_stack(
        [rng.uniform(-8, 10, (n, 2)), rng.normal(size=n), rng.uniform(0, 6, (n, 3)), rng.uniform(-9, 9, n)]
    ).astype(np.float32)
    features = canvas(grid, channels)
    expected = reference.roi_sample(features, boxes, grid)
    np.testing.assert_allclose(run(device, features, boxes, grid), expected, rtol=0, atol=5e-5)


def test_the_five_points_in_their_order(device, grid):
    """Two planes that hold x and y of the cells' centres: samples are positions."""
    x, y = np.meshgrid(-6 + (np.arange(28) + 0.5) * 0.5, -4 + (np.arange(18) + 0.5) * 0.5)
    features = np.stack([x, y]).astype(np.float32)
    box = np.float32([[1, 0.5, 0, 4, 2, 1.5, np.pi / 2]])  # facing left (y)
    points = run(device, features, box, grid).reshape(5, 2)
    np.testing.assert_allclose(
        points, [[1, 0.5], [1, 2.5], [1, -1.5], [0, 0.5], [2, 0.5]], atol=1e-5
    )  # centre, front, back, left, right


@settings(max_examples=60, deadline=None)
@given(box=st.lists(NUMBERS, min_size=7, max_size=7))
def test_any_box_gives_values_of_the_canvas_or_zero(grid, box):
    features = canvas(grid, 2)
    out = run(CpuDevice(2), features, np.array([box], np.float32), grid)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= np.abs(features).max() + 1e-5


def test_a_broken_corner_cell_does_not_reach_a_box_outside(device, grid):
    features = canvas(grid, 1)
    features[0, 0, 0] = np.nan
    out = run(device, features, np.float32([[50, 50, 0, 4, 2, 1, 0], [1, 1, 0, 4, 2, 1, 0]]), grid)
    assert not out[0].any()
    assert np.isfinite(out[1]).all()
