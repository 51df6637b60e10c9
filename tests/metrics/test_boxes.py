"""Overlap of turned boxes, against OpenCV's polygons and cases done by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fusion_rt.metrics.boxes import bev_iou, overlaps


def box(x=0.0, y=0.0, z=0.0, length=4.0, width=2.0, height=1.5, yaw=0.0):
    return np.array([[x, y, z, length, width, height, yaw]])


@pytest.mark.parametrize(
    ("a", "b", "ground", "space"),
    [
        (box(), box(), 1.0, 1.0),
        (box(), box(yaw=np.pi), 1.0, 1.0),
        (box(), box(x=2.0), 1 / 3, 1 / 3),  # half of each shared
        (box(), box(x=4.0), 0.0, 0.0),  # touching
        (box(), box(z=0.75), 1.0, 1 / 3),
        (box(), box(z=1.5), 1.0, 0.0),
        (box(length=4, width=4), box(length=2, width=2), 0.25, 0.25),  # one inside the other
        (box(length=2, width=2), box(length=2, width=2, yaw=np.pi / 4), 1 / np.sqrt(2), 1 / np.sqrt(2)),
        (box(), box(yaw=np.pi / 2), 4 / 12, 4 / 12),
        (box(), box(length=0.0), 0.0, 0.0),
    ],
)
def test_by_hand(a, b, ground, space):
    bev, volume = overlaps(a, b)
    assert bev[0, 0] == pytest.approx(ground, abs=1e-9)
    assert volume[0, 0] == pytest.approx(space, abs=1e-9)


def test_against_opencv():
    rng = np.random.default_rng(5)
    a, b = (
        np.column_stack(
            [
                rng.uniform(-3, 3, (60, 2)),
                rng.uniform(-1, 1, 60),
                rng.uniform(0.5, 5, (60, 3)),
                rng.uniform(-7, 7, 60),
            ]
        )
        for _ in range(2)
    )
    got = bev_iou(a, b)
    for i in range(60):
        for j in range(60):
            first, second = (((r[0], r[1]), (r[3], r[4]), np.degrees(r[6])) for r in (a[i], b[j]))
            kind, corners = cv2.rotatedRectangleIntersection(first, second)
            area = 0.0 if corners is None else cv2.contourArea(cv2.convexHull(corners))
            expected = area / (a[i, 3] * a[i, 4] + b[j, 3] * b[j, 4] - area)
            assert got[i, j] == pytest.approx(expected, abs=2e-3), (i, j, kind)  # OpenCV works in float32


finite = st.floats(-20, 20)
sizes = st.floats(0.1, 6)
one = st.tuples(finite, finite, finite, sizes, sizes, sizes, finite)


unit = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0)
almost = (0.0, 1e-9, 0.0, 1.0, 1.0, 1.0, 0.0)  # edges apart by no more than the tolerance


@example(a=unit, b=almost, dx=0.0, dy=0.0, turn=0.0)
@given(a=one, b=one, dx=finite, dy=finite, turn=finite)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_what_always_holds(a, b, dx, dy, turn):
    first, second = np.array([a]), np.array([b])
    ground, space = (v[0, 0] for v in overlaps(first, second))
    assert 0 <= ground <= 1 + 1e-12
    assert 0 <= space <= 1 + 1e-12
    swapped = [v[0, 0] for v in overlaps(second, first)]
    np.testing.assert_allclose(swapped, [ground, space], atol=1e-7)
    c, s = np.cos(turn), np.sin(turn)
    moved = []
    for boxes in (first, second):
        out = boxes.copy()
        out[:, 0], out[:, 1] = c * boxes[:, 0] - s * boxes[:, 1] + dx, s * boxes[:, 0] + c * boxes[:, 1] + dy
        out[:, 6] += turn
        moved.append(out)
    np.testing.assert_allclose([v[0, 0] for v in overlaps(*moved)], [ground, space], atol=1e-6)


def test_none():
    assert bev_iou(np.zeros((0, 7)), box()).shape == (0, 1)
    assert bev_iou(box(), np.zeros((0, 7))).shape == (1, 0)
