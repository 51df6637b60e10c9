import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_rt.device import CpuDevice

K = np.array([[8.0, 0, 10], [0, 8, 5], [0, 0, 1]])
LOOK_AHEAD = np.array([[0, -1, 0, 0], [0, 0, -1, 1.6], [1, 0, 0, -0.2]])  # x right, y down, z forward
LOOK_BACK = np.array([[0, 1, 0, 0.1], [0, 0, -1, 1.6], [-1, 0, 0, -0.2]])
P = np.stack([K @ LOOK_AHEAD, K @ LOOK_BACK, K @ LOOK_AHEAD + 0.02]).astype(np.float32)
H, W = 10, 20
NUMBERS = st.floats(-12, 12, width=32) | st.sampled_from([0.0, 1e10, -3e38, np.inf, -np.inf, np.nan])


def run(device, features, where, boxes):
    """features (V, C, h, w) -> (n, 9 C)."""
    out = np.full((len(boxes), 9 * features.shape[1]), np.nan, np.float32)
    device.kernel("view_sample")(np.ascontiguousarray(features.transpose(0, 2, 3, 1)), where, boxes, out)
    return out


def feature_maps(cameras, channels=4):
    return np.random.default_rng(0).normal(size=(cameras, channels, H, W)).astype(np.float32)


def boxes_around(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [
            rng.uniform(-15, 15, (n, 2)),
            rng.normal(1, 1, n),
            rng.uniform(0.3, 5, (n, 3)),
            rng.uniform(-9, 9, n),
        ]
    ).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 200])
@pytest.mark.parametrize("cameras", [0, 1, 2, 3])
def test_equals_the_reference(device, reference, n, cameras):
    features, boxes = feature_maps(cameras), boxes_around(n)
    expected = reference.view_sample(features, P[:cameras], boxes)
    got = run(device, features, P[:cameras], boxes)
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-4)
    assert n < 200 or cameras == 0 or 0.1 < expected.any(1).mean() <= 0.9


def test_parts_of_the_outline_in_their_order(device):
    """Two planes that hold u and v of the pixels' centres: samples are positions. A box 4 m wide, 2 m high,
    10 m before the camera and as thin as can be: 3.2 by 1.6 px."""
    u, v = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    features = np.stack([u, v]).astype(np.float32)[None]
    box = np.float32([[10.2, 0, 1.6, 1e-4, 4, 2, 0]])
    parts = run(device, features, P[:1], box).reshape(3, 3, 2)
    np.testing.assert_allclose(parts[:, :, 0], [[10 - 3.2 / 3, 10, 10 + 3.2 / 3]] * 3, atol=1e-3)
    np.testing.assert_allclose(parts[:, :, 1].T, [[5 - 1.6 / 3, 5, 5 + 1.6 / 3]] * 3, atol=1e-3)


def test_half_beside_the_image_the_half_in_it_is_looked_at(device):
    u, v = np.meshgrid(np.arange(W) + 0.5, np.arange(H) + 0.5)
    features = np.stack([u, v]).astype(np.float32)[None]
    left = 10.2, 12.5, 1.6, 1e-4, 4, 2, 0  # its middle is at the left edge
    parts = run(device, features, P[:1], np.float32([left])).reshape(3, 3, 2)
    np.testing.assert_allclose(parts[0, :, 0], [0.5, 0.8, 4 / 3], atol=1e-3)  # 1.6 px; the edge repeats


def test_several_cameras_are_averaged_and_one_that_looks_nowhere_is_not(device):
    features, boxes = feature_maps(2), np.float32([[8, 1, 1, 4, 2, 1.5, 0.3]])
    one, other = (run(device, features[k : k + 1], P[:1], boxes) for k in range(2))
    both = run(device, features, np.stack([P[0], P[0]]), boxes)
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)
    np.testing.assert_array_equal(run(device, features, np.stack([P[0], 0 * P[0]]), boxes), one)


@pytest.mark.parametrize("where", [(-8, 0, 1), (8, 40, 1), (0.1, 0, 1.6)])
def test_what_no_camera_sees_is_zero(device, where):
    box = np.float32([[*where, 1, 1, 1, 0]])
    assert not run(device, feature_maps(1), P[:1], box).any()


@settings(max_examples=60, deadline=None)
@given(
    box=st.lists(NUMBERS, min_size=7, max_size=7),
    row=st.lists(NUMBERS, min_size=12, max_size=12),
    aside=st.booleans(),
)
def test_any_box_and_any_camera_give_what_is_in_the_image_or_zero(box, row, aside):
    features = feature_maps(1)
    where = np.float32(row).reshape(1, 3, 4) if aside else P[:1]
    out = run(CpuDevice(2), features, where, np.array([box], np.float32))
    assert np.isfinite(out).all()
    assert np.abs(out).max(initial=0) <= np.abs(features).max() + 1e-5
