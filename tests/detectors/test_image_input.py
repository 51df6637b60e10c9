"""From pixels to the input and back."""

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusion_rt.detectors.image_input import OVERLAP, fill, tiles, without_distortion
from fusion_rt.detectors.image_recipe import ImageInput
from fusion_rt.rig import Camera, Pose


def wanted(**changes):
    return ImageInput(**({"name": "image", "width": 64, "height": 64, "std": (1.0, 1.0, 1.0)} | changes))


def drawn(box, width=256, height=128):
    pixels = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = (200, 100, 50)
    return pixels


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "corner"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_what_is_seen_is_found_where_it_was(fit, layout):
    box = (40, 32, 120, 96)
    spec = wanted(fit=fit, layout=layout, pad=7)
    out = np.full(spec.shape, np.nan, np.float32)
    place = fill(drawn(box), spec, out, bgr=True)
    assert np.isfinite(out).all()
    image = out[0].transpose(1, 2, 0) if layout == "nchw" else out[0]
    rows, columns = (image[..., 0] > 150).nonzero()
    seen = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    np.testing.assert_allclose(place.to_image(seen), [box], atol=2)
    padded = (image == 7).all(axis=2)
    expected = {"stretch": 0, "letterbox": 32, "corner": 32}[fit]
    assert padded.all(axis=1).sum() == expected
    assert padded[0].all() == (fit == "letterbox")


def test_colours_mean_and_std():
    spec = wanted(colours="rgb", mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    out = np.zeros(spec.shape, np.float32)
    fill(np.full((64, 64, 3), (10, 20, 30), np.uint8), spec, out, bgr=True)
    np.testing.assert_allclose(out[0, :, 5, 5], ((30 - 1) / 2, (20 - 2) / 4, (10 - 3) / 8))
    fill(np.full((64, 64, 3), (10, 20, 30), np.uint8), spec, out, bgr=False)
    np.testing.assert_allclose(out[0, :, 5, 5], ((10 - 1) / 2, (20 - 2) / 4, (30 - 3) / 8))


@given(st.integers(64, 4000), st.integers(1, 8))
def test_tiles_cover_the_image(width, count):
    parts = tiles(width, count)
    assert len(parts) == count
    assert (parts[0][0], parts[-1][1]) == (0, pytest.approx(width, abs=1))
    for (start, end), (next_start, next_end) in itertools.pairwise(parts):
        assert end - start == pytest.approx(next_end - next_start, abs=1)
        assert end - next_start == pytest.approx(OVERLAP * (end - start), abs=2)


def test_boxes_of_a_bent_image_hold_what_they_held():
    """Points of a straight image, bent by OpenCV: their box, straightened, is around them."""
    camera = Camera(
        width=1280,
        height=720,
        K=((900.0, 0.0, 640.0), (0.0, 900.0, 360.0), (0.0, 0.0, 1.0)),
        pose=Pose(),
        distortion=(-0.25, 0.08, 0.001, -0.001, 0.0),
    )
    edge = np.linspace(-0.1, 0.1, 21)
    square = np.array([(x + 0.4, y - 0.2, 1.0) for x in edge for y in edge])
    bent, _ = cv2.projectPoints(
        square, np.zeros(3), np.zeros(3), camera.intrinsics, np.array(camera.distortion)
    )
    straight = square @ camera.intrinsics.T
    box = np.concatenate([bent.reshape(-1, 2).min(0), bent.reshape(-1, 2).max(0)])[None]
    (got,) = without_distortion(box, camera)
    expected = np.concatenate([straight[:, :2].min(0), straight[:, :2].max(0)])
    assert np.abs(box[0] - expected).max() > 15
    np.testing.assert_allclose(got, expected, atol=8)
    assert without_distortion(box[:0], camera).shape == (0, 4)
