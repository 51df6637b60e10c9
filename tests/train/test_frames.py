import numpy as np
import pytest

from fusion_rt.errors import LogError
from fusion_rt.sim.frame_files import read_scene


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
