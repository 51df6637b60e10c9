import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from fusion_rt.device import CpuDevice


@pytest.fixture(scope="module")
def grid(reference):
    return reference.Grid(x_min=-6.0, y_min=-4.0, cell_m=0.5, nx=14, ny=9)


def head(grid, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    heatmap = rng.normal(size=(classes, grid.ny, grid.nx)).astype(np.float32)
    return heatmap, rng.normal(size=(15, grid.ny, grid.nx), scale=2).astype(np.float32)


def run(device, heatmap, regression, grid, threshold=0.4, k=300, slack=0.0):
    """heatmap (classes, ny, nx), regression (15, ny, nx) -> rows, counts."""
    kernel, out = device.kernel("decode"), np.full((k, 16), 77, np.float32)
    n = kernel(
        heatmap, np.ascontiguousarray(regression.transpose(1, 2, 0)), grid, threshold, k, out, slack=slack
    )
    assert (out[n:] == 77).all()
    return out[:n], kernel.counts


def assert_rows(ours, theirs):
    np.testing.assert_array_equal(ours[:, 10], theirs[:, 10])
    # expf, atan2f: a few units of the last place of float32
    np.testing.assert_allclose(ours, theirs, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("classes", [0, 1, 3])
@pytest.mark.parametrize("k", [0, 1, 10, 300])
@pytest.mark.parametrize("threshold", [0.01, 0.5, 0.999])
def test_equals_the_reference(device, reference, grid, classes, k, threshold):
    heatmap, regression = head(grid, classes)
    rows, counts = run(device, heatmap, regression, grid, threshold, k)
    expected, expected_counts = reference.decode(heatmap, regression, grid, threshold, k)
    assert counts == expected_counts
    assert_rows(rows, expected)


def test_finds_the_peaks_that_scipy_finds(device, grid):
    heatmap, regression = head(grid)
    regression[:2] = 0  # boxes at the cells' centres
    rows, _ = run(device, heatmap, regression, grid, 0.5)
    top = np.stack([ndimage.maximum_filter(plane, 3, mode="constant", cval=-np.inf) for plane in heatmap])
    wanted = np.argwhere((heatmap == top) & (heatmap > 0))
    found = np.column_stack([rows[:, 10], (rows[:, 1] + 4) / 0.5 - 0.5, (rows[:, 0] + 6) / 0.5 - 0.5])
    np.testing.assert_array_equal(found[np.lexsort(found.T[::-1])], wanted)


@pytest.mark.parametrize("slack", [0.1, 0.5, 1e9])
def test_cells_hardly_lower_than_a_neighbour_are_peaks_too(device, reference, grid, slack):
    heatmap, regression = head(grid)
    rows, counts = run(device, heatmap, regression, grid, slack=slack)
    expected, expected_counts = reference.decode(heatmap, regression, grid, 0.4, 300, slack)
    assert counts == expected_counts
    assert counts["peaks"] > run(device, heatmap, regression, grid)[1]["peaks"]
    assert_rows(rows, expected)
    if slack == 1e9:
        assert len(rows) == np.count_nonzero(heatmap > np.log(0.4 / 0.6))


def test_two_people_in_cells_side_by_side_are_two(device, grid):
    heatmap, regression = (
        np.full((1, grid.ny, grid.nx), -5, np.float32),
        np.zeros((15, grid.ny, grid.nx), np.float32),
    )
    heatmap[0, 4, 6:8] = 2.0, 1.7
    assert [run(device, heatmap, regression, grid, slack=s)[1]["peaks"] for s in (0.0, 0.2, 0.5)] == [1, 1, 2]


@settings(max_examples=60, deadline=None)
@given(
    heatmap=hnp.arrays(
        np.float32,
        (2, 4, 5),
        elements=st.sampled_from([-1.0, 0.0, -0.0, 1.0, 2.0, 3e38, np.inf, -np.inf, np.nan]),
    ),
    k=st.integers(0, 12),
    slack=st.sampled_from([0.0, 1.0, 3e38]),
)
def test_ties_and_broken_logits(reference, heatmap, k, slack):
    grid = reference.Grid(0.0, 0.0, 1.0, nx=5, ny=4)
    regression = np.zeros((15, 4, 5), np.float32)
    regression[8] = np.arange(20).reshape(4, 5)  # which cell it was
    rows, counts = run(CpuDevice(2), heatmap, regression, grid, 0.4, k, slack)
    with np.errstate(over="ignore"):
        expected, expected_counts = reference.decode(heatmap, regression, grid, 0.4, k, slack)
    assert counts == expected_counts
    assert_rows(rows, expected)


def test_a_plateau_has_one_peak_its_first_cell(device, grid):
    heatmap, regression = np.full((1, grid.ny, grid.nx), 2, np.float32), head(grid)[1]
    regression[:2] = 0
    rows, counts = run(device, heatmap, regression, grid)
    assert counts == {"peaks": 1, "overflow": 0, "broken": 0}
    np.testing.assert_array_equal(rows[0, :2], np.float32([-5.75, -3.75]))


def test_equal_peaks_come_by_class_and_cell_and_the_rest_is_counted(device, grid):
    heatmap, regression = (
        np.zeros((2, grid.ny, grid.nx), np.float32),
        np.zeros((15, grid.ny, grid.nx), np.float32),
    )
    heatmap[:, ::2, ::2] = 1  # 5 x 7 peaks a class, all equal
    rows, counts = run(device, heatmap, regression, grid, 0.6, k=40)
    assert counts == {"peaks": 70, "overflow": 30, "broken": 0}
    x, y = np.meshgrid(-5.75 + np.arange(7), -3.75 + np.arange(5))
    places = np.column_stack([x.ravel(), y.ravel()])
    np.testing.assert_array_equal(rows[:, :2], np.concatenate([places, places[:5]]))
    np.testing.assert_array_equal(rows[:, 10], [0] * 35 + [1] * 5)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 1.1e6])
@pytest.mark.parametrize("channel", [0, 2, 5, 7, 9, 14])
def test_a_box_that_is_not_finite_is_no_answer(device, grid, channel, value):
    heatmap, regression = (
        np.zeros((1, grid.ny, grid.nx), np.float32),
        np.zeros((15, grid.ny, grid.nx), np.float32),
    )
    heatmap[0, [2, 6], [3, 9]] = 3, 2
    regression[channel, 2, 3] = value
    rows, counts = run(device, heatmap, regression, grid, 0.6)
    assert counts == {"peaks": 1, "overflow": 0, "broken": 1}
    assert rows[0, 9] == pytest.approx(1 / (1 + np.exp(-2)))


def test_sizes_and_deviations_are_held_within_bounds(device, grid):
    heatmap, regression = (
        np.zeros((1, grid.ny, grid.nx), np.float32),
        np.zeros((15, grid.ny, grid.nx), np.float32),
    )
    heatmap[0, 0, 0], heatmap[0, -1, -1] = 3, 2
    regression[:, 0, 0], regression[:, -1, -1] = 1e6, -1e6
    rows, _ = run(device, heatmap, regression, grid, 0.6)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(rows[:, 3:6], np.exp([[3.0] * 3, [-2.0] * 3]), rtol=1e-6)
    np.testing.assert_allclose(rows[:, 11:], np.exp([[4.0] * 5, [-6.0] * 5]), rtol=1e-6)


def test_the_threshold_itself_is_not_above_it(device, grid):
    heatmap, regression = np.zeros((1, grid.ny, grid.nx), np.float32), head(grid)[1]
    assert len(run(device, heatmap, regression, grid, 0.5)[0]) == 0
    heatmap[0, 4, 4] = np.nextafter(np.float32(0), np.float32(1))
    assert len(run(device, heatmap, regression, grid, 0.5)[0]) == 1
