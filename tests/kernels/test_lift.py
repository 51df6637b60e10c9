import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_rt.device import CpuDevice

K = np.array([[8.0, 0, 10], [0, 8, 5], [0, 0, 1]])
LOOK_AHEAD = np.array([[0, -1, 0, 0], [0, 0, -1, 1.6], [1, 0, 0, -0.2]])  # x right, y down, z forward
LOOK_BACK = np.array([[0, 1, 0, 0.1], [0, 0, -1, 1.6], [-1, 0, 0, -0.2]])


@pytest.fixture(scope="module")
def grid(reference):
    return reference.Grid(x_min=-12.0, y_min=-9.0, cell_m=0.75, nx=32, ny=24)


def run(device, features, P, grid, z):
    """features (cameras, C, h, w) -> (C, ny, nx), depth (ny, nx)."""
    out = np.full((grid.ny, grid.nx, features.shape[1]), np.nan, np.float32)
    depth = np.full((grid.ny, grid.nx), np.nan, np.float32)
    device.kernel("lift")(np.ascontiguousarray(features.transpose(0, 2, 3, 1)), P, grid, z, out, depth)
    return out.transpose(2, 0, 1), depth


def feature_maps(cameras, channels, h=10, w=20, seed=0):
    return np.random.default_rng(seed).normal(size=(cameras, channels, h, w)).astype(np.float32)


@pytest.mark.parametrize("cameras", [0, 1, 2, 3])
@pytest.mark.parametrize("channels", [1, 33, 256])
def test_equals_the_reference(device, reference, grid, cameras, channels):
    rng = np.random.default_rng(cameras)
    P = np.stack([K @ LOOK_AHEAD, K @ LOOK_BACK, K @ LOOK_AHEAD + 0.1 * rng.normal(size=(3, 4))])[:cameras]
    P, features, z = P.astype(np.float32), feature_maps(cameras, channels), (-0.5, 0.5, 1.5)
    out, depth = run(device, features, P, grid, z)
    expected, expected_depth = reference.lift(features, P, grid, z)
    np.testing.assert_array_equal(depth > 0, expected_depth > 0)
    np.testing.assert_allclose(depth, expected_depth, rtol=1e-5)
    assert cameras == 0 or 0.1 < (depth > 0).mean() < 0.9
    np.testing.assert_allclose(out, expected, rtol=0, atol=5e-5)


def test_equals_opencv(device, grid):
    """Projection by cv2.projectPoints, samples by cv2.remap; pixel centres there count from 0."""
    features, z = feature_maps(1, 3), 0.4
    out, depth = run(device, features, (K @ LOOK_AHEAD)[None].astype(np.float32), grid, [z])
    x, y = np.meshgrid(*(m + (np.arange(n) + 0.5) * 0.75 for m, n in ((-12, 32), (-9, 24))))
    points = np.stack([x, y, np.full_like(x, z)], axis=-1).reshape(-1, 3)
    turn = cv2.Rodrigues(LOOK_AHEAD[:, :3])[0]
    uv = cv2.projectPoints(points, turn, LOOK_AHEAD[:, 3], K, None)[0].reshape(*x.shape, 2)
    ahead = (points @ LOOK_AHEAD[2, :3] + LOOK_AHEAD[2, 3]).reshape(x.shape)
    seen = (ahead > 0.1) & (uv >= 0).all(-1) & (uv < [20, 10]).all(-1)
    np.testing.assert_allclose(depth, np.where(seen, ahead, 0), rtol=1e-5)
    where = (uv - 0.5).astype(np.float32)
    for c in range(3):
        sampled = cv2.remap(features[0, c], where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        # cv2.remap may round coordinates to 1/32 px.
        np.testing.assert_allclose(out[c], np.where(seen, sampled, 0), rtol=0, atol=0.15)


@settings(max_examples=40, deadline=None)
@given(
    P=st.lists(
        st.floats(-20, 20, width=32) | st.sampled_from([0.0, 1e30, -1e30, np.inf, np.nan]),
        min_size=12,
        max_size=12,
    ),
    size=st.tuples(st.integers(1, 4), st.integers(1, 4)),
)
def test_a_constant_stays_constant_where_it_is_seen(grid, P, size):
    """Also for a camera that is broken or looks anywhere."""
    features = np.full((1, 2, *size), 3.25, np.float32)
    out, depth = run(CpuDevice(2), features, np.array(P, np.float32).reshape(1, 3, 4), grid, [0.0, 1.0])
    assert ((depth == 0) | (depth > 0.1)).all()
    np.testing.assert_allclose(out, np.broadcast_to(3.25 * (depth > 0), out.shape), rtol=0, atol=1e-5)


def test_the_image_ends_at_its_width_and_height(device, reference):
    """One row of cells seen straight ahead: u runs through 0 and through the width exactly."""
    grid = reference.Grid(x_min=0.5, y_min=-2.5, cell_m=1.0, nx=1, ny=5)  # y -2..2 at x 1
    P = np.zeros((1, 3, 4), np.float32)
    P[0, 0, :] = [0, 1, 0, 1]  # u = y + 1: -1, 0, 1, 2, 3
    P[0, 1, 3], P[0, 2, 3] = 0.5, 1
    _, depth = run(device, np.ones((1, 1, 1, 2), np.float32), P, grid, [0.0])
    np.testing.assert_array_equal(depth[:, 0], [0, 1, 1, 0, 0])


def test_nothing_nearer_than_ten_centimetres_is_seen(device, reference):
    grid = reference.Grid(x_min=-0.5, y_min=-0.5, cell_m=1.0, nx=1, ny=1)
    P = np.zeros((1, 3, 4), np.float32)
    for depth, seen in ((0.1, 0), (0.11, 1), (-1, 0), (0, 0)):
        P[0, :, 3] = [0.5 * depth, 0.5 * depth, depth]
        far = run(device, np.ones((1, 1, 1, 1), np.float32), P, grid, [0.0])[1].item()
        assert far == np.float32(depth if seen else 0)


def test_no_heights_see_nothing(device, grid):
    out, depth = run(device, feature_maps(1, 2), (K @ LOOK_AHEAD)[None].astype(np.float32), grid, [])
    assert not out.any()
    assert not depth.any()
