"""Detectors of images at work: small ones whose boxes are known, and FastestDet on a real street."""

import numpy as np
import pytest

from fusion_rt.detectors import folder
from fusion_rt.device import CpuDevice
from fusion_rt.errors import EngineError
from fusion_rt.images import decode_image
from fusion_rt.logs.kitti_object import read_frame
from fusion_rt.messages import Image
from fusion_rt.rig import Camera, Pose
from fusion_rt.scenario import find_file
from fusion_rt.tracking.image_boxes import image_iou

OURS = ("car", "pedestrian", "cyclist")
FLOAT, INT64 = 1, 7
CAMERA = Camera(width=60, height=40, K=((50, 0, 30), (0, 50, 20), (0, 0, 1)), pose=Pose())
GREY = np.full((40, 60, 3), 100, np.uint8)


@pytest.fixture
def load(tmp_path):
    def make(model, recipe):
        folder.add(model, recipe, tmp_path / "detector", classes=OURS)
        return folder.load(tmp_path / "detector", classes=OURS, device=CpuDevice(1))

    return make


def test_a_grid_s_boxes_in_pixels_of_the_image(load, grid_onnx, write_recipe):
    """Twice as large an image as the input: a box of 10 x 10 px of it is 20 x 20 px."""
    detector = load(grid_onnx((1, 1, 0, 1.0), (1, 2, 1, 0.5), (0, 1, 0, 0.1)), write_recipe())
    seen = detector.look(GREY, CAMERA, bgr=True)
    assert seen.labels.tolist() == [0, 1, 2]  # a person is a pedestrian or a cyclist
    assert seen.scores.tolist() == pytest.approx([1.0, 0.5**0.6, 0.5**0.6], rel=1e-6)
    np.testing.assert_allclose(seen.boxes, [(10, 10, 30, 30), (30, 10, 50, 30), (30, 10, 50, 30)], atol=1e-4)
    placed = detector.placed(seen, CAMERA, CAMERA.T_camera_ego)
    assert placed.knows == (0, 1, 2)


def test_what_is_not_mapped_is_dropped(load, grid_onnx, write_recipe):
    recipe = write_recipe(class_map={"person": "pedestrian"})
    detector = load(grid_onnx((1, 1, 0, 1.0), (1, 2, 1, 0.9)), recipe)
    seen = detector.look(GREY, CAMERA, bgr=True)
    assert seen.labels.tolist() == [1]
    assert detector.placed(seen, CAMERA, CAMERA.T_camera_ego).knows == (1,)


def test_tiles_lie_beside_each_other(load, grid_onnx, write_recipe):
    """Of each tile the same box; a box that lies outside of the image is none."""
    recipe = write_recipe(image={"tiles": 2})
    detector = load(grid_onnx((1, 1, 0, 1.0), (0, 0, 0, 1.0)), recipe)
    seen = detector.look(np.full((20, 54, 3), 100, np.uint8), CAMERA, bgr=True)
    # Tiles of 30 columns from 0 and from 24; the box at the corner is cut to its lower right quarter.
    expected = [(5, 5, 15, 15), (29, 5, 39, 15), (0, 0, 5, 5), (24 - 5, 0, 29, 5)]
    assert sorted(seen.boxes.round(3).tolist()) == sorted([list(map(float, e)) for e in expected])


def test_numbers_that_are_none(load, grid_onnx, write_recipe):
    detector = load(grid_onnx((1, 1, 0, 1.0)), write_recipe())
    with pytest.raises(EngineError, match="42 of 42 values of cells are not finite"):
        detector.look(np.full((40, 60, 3), 255, np.uint8), CAMERA, bgr=True)
    assert len(detector.look(GREY, CAMERA, bgr=True).scores) == 1


def test_an_image_in_which_nothing_is(load, grid_onnx, write_recipe):
    seen = load(grid_onnx(), write_recipe()).look(GREY, CAMERA, bgr=True)
    assert (seen.boxes.shape, seen.scores.shape, seen.labels.shape) == ((0, 4), (0,), (0,))


def test_yolox(load, make_onnx, write_recipe, tmp_path):
    """Raw heads of 8 and 16 px on 32 x 16; the image is 64 x 32, padded at the right and below."""
    cells = np.zeros((1, 8 + 2, 7), np.float32)
    cells[0, 1 * 4 + 2] = (0.5, 0.5, np.log(2), 0.0, 0.8, 1.0, 0.0)
    cells[0, 9] = (0, 0, 200.0, 0.0, 1.0, 1.0, 0.0)  # larger than any number
    recipe = {
        "family": "yolox",
        "name": "x",
        "image": {"name": "images", "width": 32, "height": 16, "fit": "corner", "std": [1.0, 1.0, 1.0]},
        "output": "output",
        "strides": [8, 16],
        "classes": ["auto", "person"],
        "class_map": {"auto": "car"},
    }
    model = make_onnx(tmp_path / "x.onnx", {"images": ((1, 3, 16, 32), FLOAT)}, {"output": cells})
    seen = load(model, write_recipe(recipe)).look(np.full((32, 64, 3), 100, np.uint8), CAMERA, bgr=True)
    np.testing.assert_allclose(seen.boxes[-1], (2 * 12, 2 * 8, 2 * 28, 31), atol=1e-4)
    assert seen.scores[-1] == pytest.approx(0.8)


def test_chosen_boxes_of_any_number(load, make_onnx, write_recipe, tmp_path):
    """Labels are whole numbers, lengths are open, one label is of no class."""
    recipe = {
        "family": "boxes",
        "name": "b",
        "image": {"name": "x", "width": 30, "height": 20, "layout": "nhwc", "colours": "rgb"},
        "outputs": {"boxes": "boxes", "scores": "scores", "labels": "labels"},
        "normalised": True,
        "first_label": 1,
        "classes": ["auto", "person"],
        "class_map": {"auto": "car", "person": "pedestrian"},
    }
    outputs = {
        "boxes": np.array([[0.1, 0.2, 0.5, 0.6], [0.5, 0.5, 0.9, 0.9], [0.0, 0.0, 1.0, 1.0]], np.float32),
        "scores": np.array([0.9, 0.5, 1.0], np.float32),
        "labels": np.array([2, 1, 9]),
    }
    model = make_onnx(
        tmp_path / "b.onnx", {"x": ((1, 20, 30, 3), FLOAT)}, outputs, open_outputs=tuple(outputs)
    )
    seen = load(model, write_recipe(recipe)).look(GREY, CAMERA, bgr=True)
    assert seen.labels.tolist() == [1, 0]
    np.testing.assert_allclose(seen.boxes, [(6, 8, 30, 24), (30, 20, 54, 36)], atol=1e-4)


def test_fastestdet_sees_a_real_street(shared_data, tmp_path):
    """The file that its recipe is for; all large cars and people of two frames."""
    model = shared_data / "models" / "FastestDet.onnx"
    if not model.is_file():
        pytest.skip(f"no {model}")
    folder.add(model, find_file("fastestdet", "detectors"), tmp_path / "f", classes=OURS)
    detector = folder.load(tmp_path / "f", classes=OURS, device=CpuDevice(1))
    for name, label, count in (("000008", "Car", 4), ("000000", "Pedestrian", 1)):
        frame = read_frame(shared_data / "kitti_object", name)
        (image,) = (packet for packet in frame.packets if isinstance(packet, Image))
        seen = detector.look(decode_image(image), frame.rig.cameras["camera"], bgr=True)
        mine = seen.boxes[seen.labels == OURS.index(label.lower())]
        large = [b for b in frame.labels if b.type == label and b.bbox[3] - b.bbox[1] > 60]
        truth = np.array([b.bbox for b in large])
        assert len(truth) >= count
        assert image_iou(truth, mine).max(axis=1).min() > 0.5
