import numpy as np
import pytest

from fusion_rt.errors import LogError
from fusion_rt.evaluation import pictures
from fusion_rt.evaluation.pictures import COLOURS, FALSE, IGNORED, MISSED, TRUE, Thing

CAR = np.array([20.0, 3.0, 0.8, 4.0, 1.7, 1.5, 0.4])


ALL = (COLOURS["car"], FALSE, IGNORED, MISSED, TRUE)


def colours(picture):
    """Those of a box that are there, or nearly so: lines are smoothed."""
    there = np.unique(picture.reshape(-1, 3), axis=0).astype(int)
    return {c for c in ALL if (np.abs(there - c).sum(1) < 45).any()}


def moved(x, y=0.0):
    return CAR + [x, y, 0, 0, 0, 0, 0]


@pytest.fixture
def camera(rig):
    return rig.cameras["camera"]


@pytest.mark.parametrize(
    ("truth", "found", "there", "absent"),
    [
        ([Thing(CAR, "car")], [Thing(moved(0.3), "car", 0.9)], [TRUE, COLOURS["car"]], [MISSED, FALSE]),
        ([Thing(CAR, "car")], [], [MISSED], [TRUE, FALSE]),
        ([Thing(CAR, "car", counts=False)], [], [IGNORED], [MISSED]),
        ([], [Thing(CAR, "car", 0.5)], [FALSE], [COLOURS["car"]]),
        ([Thing(CAR, "car")], [Thing(CAR, "cyclist", 0.5)], [MISSED, FALSE], [TRUE]),
        ([Thing(CAR, "van", counts=False)], [Thing(CAR, "car", 0.5)], [COLOURS["car"]], [FALSE]),
    ],
)
def test_each_colour_says_what_became_of_a_box(camera, truth, found, there, absent):
    shown = colours(pictures.compare(None, camera, np.zeros((0, 3)), truth, found))
    assert shown >= set(there)
    assert not shown & set(absent)


def test_the_image_stands_beside_the_view_from_above(camera):
    pixels = np.full((camera.height, camera.width, 3), 50, np.uint8)
    points = np.random.default_rng(0).uniform((0, -20, 0), (60, 20, 2), (500, 3))
    truth, found = [Thing(CAR, "car")], [Thing(moved(15, -6), "car", 0.7)]
    picture = pictures.compare(pixels, camera, points, truth, found)
    above = pictures.compare(None, camera, points, truth, found)
    assert picture.shape[1] > camera.width / 2 + above.shape[1] / 2
    np.testing.assert_array_equal(picture[:, -above.shape[1] :], above)
    in_image = colours(picture[: camera.height, : camera.width])
    assert {MISSED, FALSE} <= in_image
    assert (pixels == 50).all()  # what was given is left alone


def test_what_is_behind_the_camera_is_not_in_its_image(camera):
    pixels = np.full((camera.height, camera.width, 3), 50, np.uint8)
    pictures.draw_box(pixels, moved(-30), camera, FALSE, "behind")
    assert (pixels == 50).all()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="cannot be written"):
        pictures.save(np.zeros((2, 2, 3), np.uint8), tmp_path / "file" / "a.png")
