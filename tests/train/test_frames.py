from dataclasses import replace

import numpy as np
import pytest

from fusion_rt.errors import LogError
from fusion_rt.models.presets import DRIVING_S
from fusion_rt.sim.frame_files import read_scene
from fusion_rt.train.samples import fitted


def test_units_and_shapes(scene):
    frame = scene.now
    assert frame.points.dtype == np.float32
    assert frame.points.shape == (3400, 3)
    assert frame.points[:, 0].max() == pytest.approx(70, abs=3)
    assert frame.image.shape == (192, 640, 3)
    assert frame.image[100:, :, 0].max() > frame.image[100:, :, 2].max() - 60  # red discs: RGB, not BGR
    assert frame.boxes.shape == (5, 9)
    assert scene.motion == (5.0, 0.1, -1.0)
    # What stands still moves back by 0.5 m in ego axes.
    moved = scene.previous.boxes[:, :3] + scene.T_now_previous[:3, 3]
    np.testing.assert_allclose(moved, scene.now.boxes[:, :3], atol=1e-5)


@pytest.mark.parametrize(
    ("rows", "horizon", "cut"), [(192, 90, 36), (130, 90, 0), (300, 90, 36), (300, 75, 6), (300, 60, 0)]
)
def test_an_image_of_another_size_is_fitted_with_its_calibration(scene, rows, horizon, cut):
    """Half as wide as the network wants it, and lower or higher: rows are black or cut off, above where the
    horizon would be below the middle."""
    wide = DRIVING_S.image_width
    image = np.zeros((rows, wide // 2, 3), np.uint8)
    image[100:110, 200:220] = 255
    K = np.array([[350.0, 0, 230], [0, 360, horizon], [0, 0, 1]])
    frame = fitted(replace(scene.now, image=image, K=K), DRIVING_S)
    assert frame.image.shape == (DRIVING_S.image_height, wide, 3)
    shown = np.roll(frame.image, cut, axis=0)
    assert shown[202:218, 402:438].min() == 255  # (row, column), twice as far from the corner
    assert shown[:198].max() == shown[222:].max() == 0
    middle = np.linalg.solve(K, [210, 105, 1])
    assert (frame.K @ middle)[:2] == pytest.approx((420, 210 - cut))
    assert fitted(frame, DRIVING_S) is frame


@pytest.mark.parametrize("damage", ["cut", "foreign", "key", "image"])
def test_a_bad_file_is_named(tmp_path, write_scene, damage):
    path = write_scene(tmp_path / "a.npz", seed=1)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:5000])
    elif damage == "foreign":
        path.write_bytes(b"not a scene")
    else:
        with np.load(path) as data:
            values = dict(data)
        if damage == "key":
            del values["boxes1"]
        else:
            values["image1"] = np.zeros(10, np.uint8)
        np.savez(path, **values)
    with pytest.raises(LogError, match=r"a\.npz: not a training frame .*fusion-rt sim frames"):
        read_scene(path)
