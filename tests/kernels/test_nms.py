import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fusion_rt.device import CpuDevice

BOXES = st.tuples(
    st.floats(-3, 3),
    st.floats(-3, 3),
    st.just(0.0),
    st.floats(0.05, 6),
    st.floats(0.05, 4),
    st.just(1.0),
    st.floats(-9, 9),
)
HOSTILE = st.floats(-6, 6, width=32) | st.sampled_from([0.0, 1e-45, 1e10, 3e38, -3e38, np.inf, np.nan])


def run(device, boxes, iou, classes=None):
    n = len(boxes)
    keep, scores = np.full(n + 1, -7, np.int32), np.linspace(1, 0, n).astype(np.float32)
    classes = np.zeros(n, np.int32) if classes is None else np.asarray(classes, np.int32)
    limits = iou if isinstance(iou, list) else [iou] * 3
    kept = device.kernel("nms")(np.asarray(boxes, np.float32).reshape(n, 7), scores, classes, limits, keep)
    assert (keep[kept + 1 :] == -7).all()
    return keep[:kept].tolist()


def scene(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.column_stack(
        [rng.uniform(-8, 8, (n, 2)), np.zeros(n), rng.uniform(0.3, 5, (n, 3)), rng.uniform(-9, 9, n)]
    ).astype(np.float32)


@pytest.mark.parametrize("iou", [0.0, 0.1, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("n", [0, 1, 2, 120])
def test_equals_the_reference(device, reference, n, iou):
    boxes, classes = scene(n, seed=n), np.random.default_rng(1).integers(0, 3, n)
    assert run(device, boxes, iou, classes) == reference.nms(boxes, classes, iou)


@settings(max_examples=100, deadline=None)
@given(a=BOXES, b=BOXES)
def test_the_overlap_is_that_of_the_polygons(reference, a, b):
    """The decision turns at the true IoU, by clipping in float64."""
    a, b = (np.array(box, np.float32) for box in (a, b))
    exact = reference.iou(a, b)
    device = CpuDevice(1)
    if exact > 2e-4:
        assert run(device, [a, b], exact - 1e-4) == [0]
    if exact < 1 - 1e-4:
        assert run(device, [a, b], exact + 1e-4) == [0, 1]


def test_the_reference_overlaps_as_opencv_does(reference):
    """In general position: where edges coincide, OpenCV loses area."""
    for a, b in zip(scene(300, seed=2) * np.float32([0.3, 0.3, 1, 1, 1, 1, 1]), scene(300, seed=3) * 0.5):
        shapes = [
            ((float(x[0]), float(x[1])), (float(x[3]), float(x[4])), float(np.degrees(x[6]))) for x in (a, b)
        ]
        kind, points = cv2.rotatedRectangleIntersection(*shapes)
        common = cv2.contourArea(points) if kind != cv2.INTERSECT_NONE else 0.0
        union = float(a[3] * a[4] + b[3] * b[4]) - common
        assert reference.iou(a, b) == pytest.approx(common / union, abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(boxes=st.lists(st.tuples(*[HOSTILE] * 7), max_size=12), iou=st.floats(0, 1))
def test_any_boxes_the_best_always_stays(boxes, iou):
    kept = run(CpuDevice(2), boxes, iou)
    assert kept[:1] == [0][: len(boxes)]
    assert kept == sorted(set(kept))
    assert all(0 <= k < len(boxes) for k in kept)


@pytest.mark.parametrize("column", [0, 1, 3, 4, 6])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_broken_box_overlaps_nothing(device, column, value):
    boxes = np.tile(np.float32([1, 2, 0, 4, 2, 1.5, 0.3]), (3, 1))
    boxes[1, column] = value
    assert run(device, boxes, 0.1) == [0, 1]


@pytest.mark.parametrize(("length", "width"), [(0, 0), (0, 2), (4, 0), (-4, 2), (4, -2), (-4, -2)])
def test_a_box_without_area_overlaps_nothing(device, length, width):
    degenerate, sound = [1, 2, 0, length, width, 1, 0.3], [1, 2, 0, 4, 2, 1, 0.3]
    for boxes in ([sound, degenerate], [degenerate, sound], [degenerate, degenerate]):
        assert run(device, boxes, 0.0) == [0, 1]


@pytest.mark.parametrize("turn", [0, np.pi, -np.pi, 2 * np.pi])
@pytest.mark.parametrize("iou", [0.0, 0.5, 0.99])
def test_of_identical_boxes_the_first_stays(device, iou, turn):
    boxes = np.tile(np.float32([10, -20, 0, 4.2, 1.8, 1.5, 0.7]), (40, 1))
    boxes[1:, 6] += np.float32(turn)
    assert run(device, boxes, iou) == [0]


def test_boxes_that_only_touch_both_stay(device):
    assert run(device, [[0, 0, 0, 2, 2, 1, 0], [2, 0, 0, 2, 2, 1, 0]], 0.0) == [0, 1]


def test_other_classes_do_not_suppress(device):
    boxes = np.tile(np.float32([1, 2, 0, 4, 2, 1, 0]), (5, 1))
    assert run(device, boxes, 0.3, [0, 1, 0, 2, 1]) == [0, 1, 3]


def test_each_class_has_its_own_limit(device):
    """Two pairs of boxes, each overlapping by a third."""
    pair = np.float32([[0, 0, 0, 2, 2, 1, 0], [1, 0, 0, 2, 2, 1, 0]])
    boxes = np.concatenate([pair, pair])
    assert run(device, boxes, [0.3, 0.4, 0.0], [0, 0, 1, 1]) == [0, 2, 3]
    assert run(device, boxes, [0.4, 0.3, 0.0], [0, 0, 1, 1]) == [0, 1, 2]


def test_a_suppressed_box_suppresses_nothing(device):
    """A chain: the second overlaps both its neighbours, the first and third do not meet."""
    boxes = [[0, 0, 0, 2, 2, 1, 0], [1, 0, 0, 2, 2, 1, 0], [2.1, 0, 0, 2, 2, 1, 0]]
    assert run(device, boxes, 0.2) == [0, 2]


def test_far_from_the_origin_the_overlap_is_as_good(device, reference):
    """Positions are taken from each other before anything is multiplied."""
    boxes = scene(60)
    boxes[:, :2] = np.round(boxes[:, :2] * 16) / 16  # exact after the shift
    assert run(device, boxes + np.float32([4096, -4096, 0, 0, 0, 0, 0]), 0.2) == run(device, boxes, 0.2)
