"""What an image shows, against what is followed."""

import numpy as np
import pytest

from fusion_rt.errors import MessageError
from fusion_rt.outlines import outlines
from fusion_rt.rig import Camera, Pose
from fusion_rt.tracking.image_boxes import ImageBoxes, image_iou, paired
from fusion_rt.transforms import from_translation_rpy, transform_points

CAMERA = Camera(
    width=1242,
    height=375,
    K=((721.5, 0.0, 609.6), (0.0, 721.5, 172.9), (0.0, 0.0, 1.0)),
    pose=Pose(translation=(0.27, 0.06, 1.65), rpy_deg=(-90.0, 0.0, -90.0)),
)


def some_boxes(n, seed=0):
    rng = np.random.default_rng(seed)
    boxes = rng.uniform((-5, -15, 0, 0.3, 0.3, 0.5, -4), (60, 15, 2, 5, 2, 2, 4), (n, 7))
    return boxes


def corners_box(box):
    """The rectangle around the corners before the camera, one by one; None where nothing is seen."""
    unit = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    corners = transform_points(from_translation_rpy(box[:3], (0, 0, box[6])), unit * box[3:6])
    seen = transform_points(CAMERA.T_camera_ego, corners)
    seen = seen[seen[:, 2] > 0.1]
    if len(seen) == 0:
        return None
    uv = seen @ CAMERA.intrinsics.T
    uv = uv[:, :2] / uv[:, 2:]
    left, top = np.clip(uv.min(0), 0, (CAMERA.width - 1, CAMERA.height - 1))
    right, bottom = np.clip(uv.max(0), 0, (CAMERA.width - 1, CAMERA.height - 1))
    return None if right - left < 1 or bottom - top < 1 else (left, top, right, bottom)


def image(boxes, scores=None, labels=None, knows=(0, 1)):
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    return ImageBoxes(
        camera=CAMERA,
        T_camera_ego=CAMERA.T_camera_ego,
        boxes=boxes,
        scores=np.ones(len(boxes)) if scores is None else np.asarray(scores, float),
        labels=np.zeros(len(boxes), int) if labels is None else np.asarray(labels),
        knows=knows,
    )


def test_a_box_s_outline_holds_its_corners():
    boxes = some_boxes(300)
    got = outlines(boxes, np.zeros(len(boxes), bool), CAMERA, CAMERA.T_camera_ego)
    for box, outline in zip(boxes, got):
        expected = corners_box(box)
        if expected is None:
            assert np.isnan(outline).all()
        else:
            np.testing.assert_allclose(outline, expected, atol=1e-6)
    assert 50 < np.isfinite(got[:, 0]).sum() < 290


def test_a_cylinder_is_as_wide_from_every_side():
    """A round one of 1 m: 36 px at 20 m however it is turned; its box would be up to 1.4 times as wide."""
    person = np.tile([20.27, 0.0, 0.9, 1.0, 1.0, 1.8, 0.0], (16, 1))
    person[:, 6] = np.arange(16) * np.pi / 8
    seen = outlines(person, np.ones(16, bool), CAMERA, CAMERA.T_camera_ego)
    width = seen[:, 2] - seen[:, 0]
    np.testing.assert_allclose(width, 721.5 / 20, rtol=0.09)  # an octagon's, and its nearer side
    square = outlines(person, np.zeros(16, bool), CAMERA, CAMERA.T_camera_ego)
    assert (square[:, 2] - square[:, 0]).max() > 1.35 * width.max()
    np.testing.assert_allclose(seen[:, [1, 3]], square[:, [1, 3]], atol=4)


def test_overlap():
    a = np.array([[0, 0, 10, 10], [np.nan] * 4, [20, 20, 30, 30]])
    b = np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(image_iou(a, b), [[1 / 3, 0], [0, 0], [0, 1]])


def test_pairs_are_one_to_one_and_of_one_class():
    seen = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [100, 0, 110, 10], [np.nan] * 4], float)
    shown = image([[1, 0, 11, 10], [100, 0, 110, 10], [0, 0, 10, 9]], labels=[0, 1, 0])
    kinds = np.zeros(4, int)
    assert paired(seen, kinds, shown, 0.5).tolist() == [2, 0, -1, -1]
    assert paired(seen, np.array([0, 0, 1, 0]), shown, 0.5).tolist() == [2, 0, 1, -1]
    free = np.array([False, True, True])
    assert paired(seen, kinds, shown, 0.5, free).tolist() in ([2, -1, -1, -1], [-1, 2, -1, -1])
    assert paired(seen, kinds, image([]), 0.5).tolist() == [-1] * 4
    assert paired(np.empty((0, 4)), kinds[:0], shown, 0.5).tolist() == []


def test_what_does_not_fit_is_refused():
    with pytest.raises(MessageError, match=r"labels is \(2,\), expected \(1,\)"):
        image([[0, 0, 1, 1]], labels=[0, 1])
    with pytest.raises(MessageError, match="not finite"):
        image([[0, 0, 1, np.nan]])


def follow(tracker, detections, steps, *, shown, boxes=lambda k: [(20.0, 0.0, 0.0)], score=0.8):
    """A car that stands 20 m ahead: `boxes(k)` of it, and what the image `shown(k)` shows."""
    return [
        tracker.update(
            detections(boxes(k), score=score), stamp_ns=k * 10**8, T_map_ego=np.eye(4), images=shown(k)
        )
        for k in range(steps)
    ]


@pytest.fixture
def outline():
    box = np.array([[20.0, 0, 0.75, 4.2, 1.8, 1.5, 0]])
    return outlines(box, np.zeros(1, bool), CAMERA, CAMERA.T_camera_ego)[0]


def test_an_image_makes_weak_boxes_sure_and_doubts_those_it_does_not_show(make_tracker, detections, outline):
    def shown(boxes, **knowing):
        tracks = follow(make_tracker(), detections, 3, shown=lambda k: [image(boxes, **knowing)], score=0.25)
        return tracks[-1]["score"].tolist()

    assert follow(make_tracker(), detections, 3, shown=lambda k: [], score=0.25)[-1].size == 0
    (sure,) = shown([outline])
    assert sure == pytest.approx(1 / (1 + np.exp(-(np.log(1 / 3) + 3.0))), abs=1e-6)
    assert shown([]) == []
    # Strong ones become weaker where the image should show them, and not where its detector knows no cars.
    for knows, expected in (((0,), 0.8 * np.exp(-1.5) / (0.8 * np.exp(-1.5) + 0.2)), ((1,), 0.8)):
        nothing = image([], knows=knows)
        (last,) = follow(make_tracker(), detections, 3, shown=lambda k, nothing=nothing: [nothing])[-1]
        assert last["score"] == pytest.approx(expected, abs=1e-6)


def test_a_track_lives_on_in_the_image(make_tracker, detections, outline):
    """The lidar's detector loses it after five frames: with the image it is still there 1.5 s later."""

    def ends(shown):
        tracker = make_tracker(max_coast_s=1.0)
        (*_, last) = follow(
            tracker, detections, 20, boxes=lambda k: [(20.0, 0.0, 0.0)] if k < 5 else [], shown=shown
        )
        return last

    assert len(ends(lambda k: [])) == 0
    assert len(ends(lambda k: [image([])])) == 0
    (kept,) = ends(lambda k: [image([outline])])
    assert kept["existence"] > 0.9
    assert (kept["seen_ns"], kept["witnessed_ns"]) == (4 * 10**8, 19 * 10**8)
    np.testing.assert_allclose(kept["state"][:2], (20, 0), atol=0.5)


def test_what_stands_elsewhere_in_the_image_keeps_nothing_alive(make_tracker, detections, outline):
    aside = outline + np.array([200.0, 0, 200.0, 0])
    (*_, last) = follow(
        make_tracker(),
        detections,
        20,
        boxes=lambda k: [(20.0, 0.0, 0.0)] if k < 5 else [],
        shown=lambda k: [image([aside])],
    )
    assert len(last) == 0
