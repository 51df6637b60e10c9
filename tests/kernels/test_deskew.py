import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation, Slerp

from fusion_rt.device import CpuDevice

TIMES = st.floats(-3, 3, width=32) | st.sampled_from([np.inf, -np.inf, 3e38, -3e38])


def run(device, xyz, t, knots_t, knots_T):
    out = np.full(xyz.shape, 7, np.float32)
    device.kernel("deskew")(xyz, t, knots_t, knots_T, out)
    return out


def poses(rng, n):
    T = np.empty((n, 3, 4), np.float32)
    T[:, :, :3] = Rotation.random(n, rng=rng).as_matrix()
    T[:, :, 3] = rng.uniform(-30, 30, (n, 3))
    return T


@pytest.mark.parametrize("knots", [1, 2, 3, 17])
@pytest.mark.parametrize("n", [0, 1, 400])
@pytest.mark.parametrize("ordered", [True, False])
def test_equals_the_reference(device, reference, ordered, n, knots):
    rng = np.random.default_rng(n + knots)
    xyz = rng.uniform(-80, 80, (n, 3)).astype(np.float32)
    knots_t = np.sort(rng.uniform(-0.1, 0.1, knots)).astype(np.float32)
    t = rng.uniform(-0.15, 0.15, n).astype(np.float32)  # also before the first and after the last
    t[: knots // 2] = knots_t[: len(t[: knots // 2])]  # exactly on a knot
    if ordered:
        t.sort()
    knots_T = poses(rng, knots)
    # float32 at 150 m
    expected = reference.deskew(xyz, t, knots_t, knots_T)
    np.testing.assert_allclose(run(device, xyz, t, knots_t, knots_T), expected, rtol=0, atol=2e-4)


def test_mixing_matrices_is_3_mm_from_the_true_turn(device):
    """The figure of deskew.cu: 0.02 rad between two knots, seen at 60 m."""
    turn = Rotation.from_euler("z", [[0.0], [0.02]])
    knots_T = np.concatenate([turn.as_matrix(), np.zeros((2, 3, 1))], axis=2).astype(np.float32)
    t = np.linspace(0, 1, 101).astype(np.float32)
    xyz = np.tile(np.float32([60, 0, 1]), (101, 1))
    ours = run(device, xyz, t, np.float32([0, 1]), knots_T)
    error = np.linalg.norm(ours - Slerp([0, 1], turn)(t).apply(xyz), axis=1)
    assert 0.002 < error.max() < 0.0031


@settings(max_examples=60, deadline=None)
@given(times=st.lists(TIMES, min_size=1, max_size=20), knots=st.integers(1, 5))
def test_times_outside_the_knots_take_the_nearest_pose(times, knots):
    t, knots_t = np.array(times, np.float32), np.linspace(-1, 1, knots).astype(np.float32)
    knots_T = np.zeros((knots, 3, 4), np.float32)
    knots_T[:, 0, 3] = knots_t  # the pose's x is its time
    out = run(CpuDevice(2), np.zeros((len(t), 3), np.float32), t, knots_t, knots_T)
    np.testing.assert_allclose(out[:, 0], np.clip(t, knots_t[0], knots_t[-1]), rtol=0, atol=1e-6)


def test_a_point_without_a_time_has_no_place(device):
    xyz, knots_T = np.ones((2, 3), np.float32), poses(np.random.default_rng(0), 2)
    t = np.float32([np.nan, 0])
    out = run(device, xyz, t, np.float32([0, 1]), knots_T)
    assert np.isnan(out[0]).all()
    assert np.isfinite(out[1]).all()
    # One pose for all: no time is asked for.
    assert np.isfinite(run(device, xyz, t, np.float32([0]), knots_T[:1])).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_point_breaks_no_other(device, value):
    rng = np.random.default_rng(0)
    xyz, knots_T = np.ones((5, 3), np.float32), poses(rng, 2)
    xyz[2, 1] = value
    out = run(device, xyz, np.zeros(5, np.float32), np.float32([0, 1]), knots_T)
    assert not np.isfinite(out[2]).any()
    assert np.isfinite(out[[0, 1, 3, 4]]).all()


def test_works_in_place(device, reference):
    rng = np.random.default_rng(1)
    xyz, t = rng.uniform(-9, 9, (50, 3)).astype(np.float32), rng.uniform(0, 1, 50).astype(np.float32)
    knots_t, knots_T = np.float32([0, 1]), poses(rng, 2)
    expected = run(device, xyz, t, knots_t, knots_T)
    device.kernel("deskew")(xyz, t, knots_t, knots_T, xyz)
    np.testing.assert_array_equal(xyz, expected)
