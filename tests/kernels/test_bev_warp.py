import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fusion_rt.device import CpuDevice

NUMBERS = st.floats(-30, 30, width=32) | st.sampled_from([0.0, 1.0, 1e10, -3e38, np.inf, -np.inf, np.nan])


@pytest.fixture(scope="module")
def grid(reference):
    return reference.Grid(x_min=-6.0, y_min=-4.0, cell_m=0.5, nx=28, ny=18)


def run(device, state, T, grid):
    """state (C, ny, nx) -> (C, ny, nx)."""
    out = np.full((grid.ny, grid.nx, len(state)), np.nan, np.float32)
    device.kernel("bev_warp")(
        np.ascontiguousarray(state.transpose(1, 2, 0)), np.asarray(T, np.float32), grid, out
    )
    return out.transpose(2, 0, 1)


def canvas(grid, channels=5, seed=0):
    return np.random.default_rng(seed).normal(size=(channels, grid.ny, grid.nx)).astype(np.float32)


def motion(yaw, x, y):
    return np.array([[np.cos(yaw), -np.sin(yaw), x], [np.sin(yaw), np.cos(yaw), y]])


@pytest.mark.parametrize(
    "T", [motion(0.1, 0.8, -0.1), motion(-0.4, -3.3, 2.2), motion(3.0, 0, 0), motion(0, 60, 0)]
)
def test_equals_the_reference_and_scipy(device, reference, grid, T):
    state = canvas(grid)
    ours = run(device, state, T, grid)
    theirs = reference.bev_warp(state, T.astype(np.float32), grid)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=5e-5)
    x, y = np.meshgrid(-6 + (np.arange(28) + 0.5) * 0.5, -4 + (np.arange(18) + 0.5) * 0.5)
    u, v = (
        (T[0, 0] * x + T[0, 1] * y + T[0, 2] + 6) / 0.5 - 0.5,
        (T[1, 0] * x + T[1, 1] * y + T[1, 2] + 4) / 0.5 - 0.5,
    )
    for plane, mine in zip(state, ours):
        scipy = ndimage.map_coordinates(plane.astype(np.float64), [v, u], order=1, mode="grid-constant")
        np.testing.assert_allclose(mine, scipy, rtol=0, atol=5e-5)


def test_standing_still_changes_nothing(device, grid):
    state = canvas(grid)
    np.testing.assert_array_equal(run(device, state, motion(0, 0, 0), grid), state)


def test_a_move_by_whole_cells_shifts_and_fills_with_zero(device, grid):
    state = canvas(grid)
    shifted = run(device, state, motion(0, 1.0, -0.5), grid)  # x in the past = x now + 2 cells
    np.testing.assert_array_equal(shifted[:, 1:, :-2], state[:, :-1, 2:])
    assert not shifted[:, 0].any()
    assert not shifted[:, :, -2:].any()


@settings(max_examples=60, deadline=None)
@given(T=st.lists(NUMBERS, min_size=6, max_size=6))
def test_any_motion_stays_within_the_values_seen(grid, T):
    """Never a NaN from a broken pose: the memory would keep it for ever."""
    state = canvas(grid, channels=2)
    out = run(CpuDevice(2), state, np.array(T).reshape(2, 3), grid)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= np.abs(state).max() + 1e-5


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_broken_cell_reaches_only_those_that_look_at_it(device, grid, value):
    state = canvas(grid, channels=1)
    state[0, 0, 0] = value  # also where taps outside of the canvas would point
    assert np.isfinite(run(device, state, motion(0, 100, 100), grid)).all()
    np.testing.assert_array_equal(run(device, state, motion(0, 0, 0), grid), state)
    assert np.count_nonzero(~np.isfinite(run(device, state, motion(0, 0.25, 0.25), grid))) == 1


def test_no_channels(device, grid):
    assert run(device, canvas(grid, channels=0), motion(0, 1, 0), grid).shape == (0, grid.ny, grid.nx)
