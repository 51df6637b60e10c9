import numpy as np
import pytest

from fusion_rt.models.presets import DRIVING_S
from fusion_rt.sim.frame_files import Frame
from fusion_rt.train.image_targets import UNKNOWN, image_targets

# u = 80 - 80 y / x, v = 24 + 80 (1.5 - z) / x: a level camera at the height of 1.5 m
P = np.array([[80.0, -80, 0, 0], [24, 0, -80, 120], [1, 0, 0, 0]])
CAR = [10.0, 0.0, 0.75, 4.0, 1.7, 1.5, 0.0, 0, 0]


def frame(points, boxes=(CAR,), cls=(0,), visible=(1.0,)):
    n = len(boxes)
    return Frame(
        points=np.array(points, np.float32).reshape(-1, 3),
        intensity=np.zeros(len(points), np.float32),
        image=np.zeros((192, 640, 3), np.uint8),
        K=np.eye(3),
        T_camera_ego=np.eye(4),
        boxes=np.array(boxes, np.float32).reshape(n, 9),
        cls=np.array(cls, np.int64),
        npoints=np.zeros(n, np.int64),
        visible=np.array(visible, np.float32),
    )


def pixel(x, y, z):
    u, v, d = P @ [x, y, z, 1]
    return int(v / d), int(u / d)


def test_a_pixel_knows_the_nearest_point_in_it():
    near, behind, off_it = (8.0, 0.0, 0.75), (16.0, 0.0, 0.0), (20.0, 3.0, 1.0)
    assert pixel(*near) == pixel(*behind)
    targets = image_targets(frame([behind, near, off_it]), P, DRIVING_S)
    assert targets.log_depth[pixel(*near)] == pytest.approx(np.log(8), rel=1e-6)
    assert targets.log_depth[pixel(*off_it)] == pytest.approx(np.log(20), rel=1e-6)
    assert targets.kind[pixel(*near)] == 0
    assert targets.kind[pixel(*off_it)] == len(DRIVING_S.classes)
    assert np.isfinite(targets.log_depth).sum() == (targets.kind != UNKNOWN).sum() == 2


def test_the_road_under_an_object_is_background():
    targets = image_targets(frame([(8.5, 0.0, 0.02)]), P, DRIVING_S)
    assert targets.kind[pixel(8.5, 0, 0.02)] == len(DRIVING_S.classes)


def test_ignored_objects_are_neither_wanted_nor_background():
    targets = image_targets(frame([(8.5, 0.0, 0.8)], cls=[-1]), P, DRIVING_S)
    assert (targets.kind == UNKNOWN).all()
    assert targets.heatmap.max() == 0


def test_centres_of_what_is_visible():
    boxes = [CAR, [20.0, 5.0, 0.85, 0.6, 0.6, 1.7, 0.3, 0, 0], [-10.0, 0, 0.75, 4, 1.7, 1.5, 0, 0, 0]]
    targets = image_targets(frame([], boxes, [0, 1, 0], [1.0, 1.0, 1.0]), P, DRIVING_S)
    assert [tuple(c) for c in np.argwhere(targets.heatmap == 1)] == [
        (0, *pixel(10, 0, 0.75)),
        (1, *pixel(20, 5, 0.85)),
    ]
    hidden = image_targets(frame([], boxes, [0, 1, 0], [0.2, 0.2, 0.2]), P, DRIVING_S)
    assert hidden.heatmap.max() == 0


def test_points_beside_behind_and_on_the_camera_fall_nowhere():
    points = [(-5.0, 0, 1), (0, 0, 1.5), (0.5, 0, 1.5), (10, 11, 1), (10, 0, 5.5)]
    assert (image_targets(frame(points), P, DRIVING_S).kind == UNKNOWN).all()
