import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_rt.device import CpuDevice

BENT = (-0.3, 0.12, 1e-3, -2e-3, -0.02)
PLAIN = (0.0,) * 5
MEAN, STD = (123.0, 116.0, 104.0), (58.0, 57.0, 56.0)
NO_NORM = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


def K(fx, fy, cx, cy):
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)


def pixels(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def smooth(h, w):
    """A photograph's frequencies, so that interpolation rules matter little."""
    noise = np.random.default_rng(3).integers(0, 256, (h // 8, w // 8, 3), np.uint8)
    return cv2.resize(noise, (w, h), interpolation=cv2.INTER_CUBIC)


def run(device, src, K_src, distortion, K_dst, shape, *, bgr=True, mean=MEAN, std=STD):
    out = np.full((3, *shape), np.nan, np.float32)
    device.kernel("image")(src, out, K_src, distortion, K_dst, bgr=bgr, mean=mean, std=std)
    return out


@pytest.mark.parametrize("bgr", [True, False])
@pytest.mark.parametrize("distortion", [PLAIN, BENT], ids=["plain", "distorted"])
@pytest.mark.parametrize(
    ("shape", "K_dst"),
    [
        ((24, 40), K(30.0, 31.0, 20.3, 11.2)),  # shrinks by 2
        ((48, 80), K(62.0, 60.0, 41.0, 23.0)),  # about the same size
        ((90, 70), K(200.0, 190.0, 30.0, 40.0)),  # grows by 3
        ((15, 24), K(18.0, 18.0, 12.0, 7.0)),  # by 3.3
        ((12, 20), K(12.0, 12.0, 10.0, 6.0)),  # shrinks by 5, and looks beyond the source
        ((40, 60), K(62.0, 60.0, -30.0, 23.0)),  # looks aside: half of it unseen
        ((1, 1), K(60.0, 60.0, 0.5, 0.5)),
    ],
)
def test_equals_the_reference(device, reference, shape, K_dst, distortion, bgr):
    src, K_src = pixels((48, 80)), K(60.0, 60.0, 40.0, 24.0)
    ours = run(device, src, K_src, distortion, K_dst, shape, bgr=bgr)
    theirs, seen = reference.image(
        src, K_src, distortion, K_dst, shape, bgr=bgr, mean=np.array(MEAN), std=np.array(STD)
    )
    # float32 coordinates are good to 1e-4 px; a step from black to white is 256 / 56.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(ours[:, ~seen], 0)


def test_undistortion_equals_opencv(device):
    """OpenCV counts pixel centres from 0, fusion_rt from 0.5; it blends in steps of 1/32 px and rounds."""
    src, ours_K = smooth(120, 200), K(150.0, 155.0, 101.0, 58.0)
    theirs_K = ours_K - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    ours = run(device, src, ours_K, BENT, ours_K, (120, 200), bgr=False, **NO_NORM).transpose(1, 2, 0)
    theirs = cv2.undistort(src, theirs_K, np.array(BENT))
    inner = ours.any(axis=2)
    assert inner.mean() > 0.8
    assert np.abs(ours - theirs)[inner].max() < 6
    assert np.abs(ours - theirs)[inner].mean() < 0.4


@pytest.mark.parametrize("factor", [2, 3])
def test_shrinking_equals_opencv_area(device, factor):
    src = pixels((60, 90))
    K_src, K_dst = K(70, 70, 45, 30), K(70 / factor, 70 / factor, 45 / factor, 30 / factor)
    ours = run(device, src, K_src, PLAIN, K_dst, (60 // factor, 90 // factor), bgr=False, **NO_NORM)
    theirs = cv2.resize(src.astype(np.float32), (90 // factor, 60 // factor), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(ours.transpose(1, 2, 0), theirs, rtol=0, atol=0.02)


def test_growing_equals_opencv_linear(device):
    """Up to the border itself: a footprint that leaves the source counts its inner part."""
    src = pixels((20, 30))
    ours = run(device, src, K(30, 30, 15, 10), PLAIN, K(90, 90, 45, 30), (60, 90), bgr=False, **NO_NORM)
    theirs = cv2.resize(src.astype(np.float32), (90, 60), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(ours.transpose(1, 2, 0), theirs, rtol=0, atol=0.02)


def test_undistorting_then_shrinking_equals_opencv(device):
    src, K_src = smooth(240, 400), K(300.0, 310.0, 202.0, 116.0)
    K_dst = np.diag([0.5, 0.5, 1]) @ K_src
    ours = run(device, src, K_src, BENT, K_dst, (120, 200), bgr=True, **NO_NORM)
    theirs_K = K_src - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    theirs = cv2.resize(
        cv2.undistort(src, theirs_K, np.array(BENT)), (200, 120), interpolation=cv2.INTER_AREA
    )
    theirs = cv2.cvtColor(theirs, cv2.COLOR_BGR2RGB).transpose(2, 0, 1)
    inner = ours.any(axis=0)
    assert np.abs(ours - theirs)[:, inner].mean() < 0.5
    assert np.abs(ours - theirs)[:, inner].max() < 8


def test_same_camera_is_a_copy(device):
    src, camera = pixels((9, 14)), K(10, 11, 7, 4)
    ours = run(device, src, camera, PLAIN, camera, (9, 14), bgr=True, **NO_NORM)
    np.testing.assert_array_equal(ours, src[..., ::-1].transpose(2, 0, 1))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    focal=st.floats(0.1, 100),
    ratio=st.floats(0.05, 20),
    centre=st.floats(-30, 30),
    distortion=st.sampled_from([PLAIN, BENT, (1e10, 0, 0, 0, 0)]),
    value=st.integers(0, 255),
)
def test_one_colour_stays_that_colour(size, shape, focal, ratio, centre, distortion, value):
    """Nowhere a mixture with what lies outside: each pixel is the colour or the mean colour."""
    src = np.full((*size, 3), value, np.uint8)
    K_src, K_dst = K(focal, focal, size[1] / 2, size[0] / 2), K(focal / ratio, focal / ratio, centre, 1.0)
    out = run(CpuDevice(2), src, K_src, distortion, K_dst, shape)
    colour = (value - np.array(MEAN)) / np.array(STD)
    error = np.minimum(np.abs(out), np.abs(out - colour[:, None, None]))
    assert error.max() < 1e-3


@pytest.mark.parametrize("distortion", [PLAIN, BENT], ids=["plain", "distorted"])
@pytest.mark.parametrize("cx", [1e9, -1e9, 3e38, -3e38])
def test_a_camera_that_sees_nothing_of_the_source_gives_the_mean_colour(device, cx, distortion):
    out = run(device, pixels((6, 8)), K(20, 20, cx, -cx), distortion, K(20, 20, 2, 2), (5, 4))
    np.testing.assert_array_equal(out, 0)


def test_an_empty_output_is_left_alone(device):
    camera = K(20, 20, 2, 2)
    assert run(device, pixels((6, 8)), camera, PLAIN, camera, (0, 4)).shape == (3, 0, 4)
    assert run(device, pixels((6, 8)), camera, BENT, camera, (4, 0)).shape == (3, 4, 0)


def test_scratch_memory_grows_and_stays_right(device, reference):
    kernel = device.kernel("image")
    for h, w in ((5, 6), (30, 40), (7, 9)):
        src, out, camera = pixels((h, w)), np.empty((3, h, w), np.float32), K(20, 20, 3, 3)
        kernel(src, out, camera, PLAIN, camera, bgr=False, mean=(0, 0, 0), std=(1, 1, 1))
        np.testing.assert_array_equal(out, src.transpose(2, 0, 1))
