import numpy as np
import pytest

from fusion_rt.errors import ConfigError
from fusion_rt.sensors.people import COCO, DETECTOR_PX, PeopleFinder, _region, anchors, find_files


@pytest.fixture(scope="module")
def finder():
    try:
        find_files(None, "lite")
    except ConfigError as error:
        pytest.skip(str(error))
    return PeopleFinder.load()


@pytest.fixture(scope="module")
def walker(shared_data):
    """A pedestrian of KITTI, 164 px tall, cut out with what is around: pixels, and the labelled box."""
    cv2 = pytest.importorskip("cv2")
    folder = shared_data / "kitti_object" / "training"
    pixels = cv2.imread(str(folder / "image_2" / "000000.png"))
    row = (folder / "label_2" / "000000.txt").read_text().split()
    assert row[0] == "Pedestrian"
    box = np.array(row[4:8], float)
    return np.ascontiguousarray(pixels[80:370, 610:910]), box - (610, 80, 610, 80)


def iou(a, b):
    shared = np.prod(np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0))
    return shared / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - shared)


def test_a_pedestrian_is_found_with_the_body_in_order(finder, walker):
    pixels, box = walker
    people = finder.find(pixels)
    assert people.scores.shape == (1,)
    assert iou(people.boxes[0], box) > 0.6
    x, y, seen = people.keypoints[0].T
    assert (seen > 0.3).sum() >= 12
    nose, shoulders, hips, knees, ankles = 0, [5, 6], [11, 12], [13, 14], [15, 16]
    heights = [y[nose], y[shoulders].mean(), y[hips].mean(), y[knees].mean(), y[ankles].mean()]
    assert heights == sorted(heights)  # from the head down
    assert (np.abs(x - box[[0, 2]].mean()) < box[2] - box[0]).all()


def test_turned_images_give_turned_bodies(finder, walker):
    """Somebody who lies: the region is turned with the body."""
    pixels, box = walker
    upright, lying = finder.find(pixels), finder.find(np.ascontiguousarray(np.rot90(pixels, -1)))
    assert lying.scores.shape == (1,)
    x, y, _ = upright.keypoints[0].T
    turned = np.column_stack([pixels.shape[0] - y, x])
    off = np.linalg.norm(lying.keypoints[0, :, :2] - turned, axis=1)
    assert np.median(off) < 0.15 * (box[3] - box[1])


def test_an_image_without_people(finder):
    for pixels in (np.zeros((480, 640, 3), np.uint8), np.full((30, 900, 3), 255, np.uint8)):
        people = finder.find(pixels)
        assert (people.boxes.shape, people.keypoints.shape) == ((0, 4), (0, 17, 3))


def test_the_detectors_anchors():
    got = anchors()
    assert got.shape == (2254, 2)  # as many rows as the network's output
    assert (got > 0).all()
    assert (got < 1).all()
    np.testing.assert_allclose(got[0], [4 / DETECTOR_PX] * 2)


def test_the_region_stands_with_the_body():
    """Hips at (100, 50), the head to the right: the region's top is there."""
    T = _region(np.array([100.0, 50.0]), np.array([140.0, 50.0]))
    np.testing.assert_allclose(T @ [128, 128, 1], [100, 50])
    np.testing.assert_allclose(T @ [128, 0, 1], [150, 50], atol=1e-9)  # 1.25 times as far
    np.testing.assert_allclose(T @ [256, 128, 1], [100, 100], atol=1e-9)


def test_cocos_points_are_17():
    assert len(set(COCO)) == 17


def test_without_the_files_it_says_how_to_get_them(tmp_path):
    with pytest.raises(ConfigError, match=r"no pose_landmark_lite.tflite .*npm install .*@mediapipe/pose"):
        PeopleFinder.load(tmp_path)
    with pytest.raises(ConfigError, match="variant 'best' is not one of lite, full, heavy"):
        PeopleFinder.load(variant="best")
