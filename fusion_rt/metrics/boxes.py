"""How much turned boxes overlap, seen from above and in space: exact polygons, in float64."""

from __future__ import annotations

import numpy as np

from fusion_rt.transforms import Array

_UNIT = np.array([(0.5, 0.5), (-0.5, 0.5), (-0.5, -0.5), (0.5, -0.5)])
_TOLERANCE_M = 1e-9  # a corner on the other box's edge is inside it


def overlaps(a: Array, b: Array) -> tuple[Array, Array]:
    """Intersection over union of upright boxes a (n, 7) and b (m, 7), x y z l w h yaw with (x, y, z) their
    middle: in the plane and in space, each (n, m) float64."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    ground, space = np.zeros((len(a), len(b))), np.zeros((len(a), len(b)))
    reach_a, reach_b = np.hypot(a[:, 3], a[:, 4]) / 2, np.hypot(b[:, 3], b[:, 4]) / 2
    distance = np.hypot(a[:, None, 0] - b[None, :, 0], a[:, None, 1] - b[None, :, 1])
    i, j = np.nonzero(distance < reach_a[:, None] + reach_b[None])
    if len(i) == 0:
        return ground, space
    first, second = a[i], b[j]
    areas = first[:, 3] * first[:, 4], second[:, 3] * second[:, 4]
    # What the tolerance adds at the edges must not make it more than all there is.
    shared = np.minimum(_shared_area(first, second), np.minimum(*areas))
    ground[i, j] = shared / np.maximum(areas[0] + areas[1] - shared, 1e-12)
    half = first[:, 5] / 2, second[:, 5] / 2
    top = np.minimum(first[:, 2] + half[0], second[:, 2] + half[1])
    bottom = np.maximum(first[:, 2] - half[0], second[:, 2] - half[1])
    volume = shared * np.maximum(top - bottom, 0)
    union = areas[0] * first[:, 5] + areas[1] * second[:, 5] - volume
    space[i, j] = volume / np.maximum(union, 1e-12)
    return ground, space


def bev_iou(a: Array, b: Array) -> Array:
    """Intersection over union in the plane of boxes (n, 7) and (m, 7): (n, m) float64."""
    return overlaps(a, b)[0]


def _shared_area(a: Array, b: Array) -> Array:
    """(p,) m^2 that the boxes of each pair a[k], b[k] share, (p, 7) both.

    The corners of a convex intersection are the corners of each box inside the other and the crossings of
    their edges; put in order around their middle they are the polygon."""
    # From one centre: far from the origin, nothing is lost.
    centre_b = b[:, :2] - a[:, :2]
    corners_a, corners_b = _corners(a), _corners(b) + centre_b[:, None]
    crossings, crossed = _crossings(corners_a, corners_b)
    points = np.concatenate([corners_a, corners_b, crossings], axis=1)
    a_in_b = _inside(corners_a - centre_b[:, None], b)
    valid = np.concatenate([a_in_b, _inside(corners_b, a), crossed], axis=1)
    count = valid.sum(1)
    middle = np.where(valid[..., None], points, 0).sum(1) / np.maximum(count, 1)[:, None]
    around = points - middle[:, None]
    angle = np.where(valid, np.arctan2(around[..., 1], around[..., 0]), np.inf)
    order = np.argsort(angle, axis=1)
    around = np.take_along_axis(around, order[..., None], axis=1)
    # What is no corner comes last; as copies of the first corner it closes the polygon and adds nothing.
    last = np.arange(points.shape[1]) >= count[:, None]
    around = np.where(last[..., None], around[:, :1], around)
    x, y = around[..., 0], around[..., 1]
    area = 0.5 * (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(1)
    return np.where(count >= 3, np.maximum(area, 0), 0.0)


def _corners(boxes: Array) -> Array:
    """(p, 4, 2) counter-clockwise, about the box's own centre."""
    return _turn(_UNIT * boxes[:, None, 3:5], boxes[:, 6])


def in_box_frame(points: Array, box: Array) -> Array:
    """(n, 3) along, across and up from the centre of a box x y z l w h yaw, of points (n, 3)."""
    d = points - box[:3]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    return np.column_stack([d[:, 0] * cos + d[:, 1] * sin, d[:, 1] * cos - d[:, 0] * sin, d[:, 2]])


def _turn(points: Array, angle: Array) -> Array:
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    x, y = points[..., 0], points[..., 1]
    return np.stack([cos * x - sin * y, sin * x + cos * y], axis=-1)


def _inside(points: Array, boxes: Array) -> Array:
    """(p, 4) bool for points (p, 4, 2) about each box's centre."""
    local = np.abs(_turn(points, -boxes[:, 6]))
    inside: Array = np.all(local <= boxes[:, None, 3:5] / 2 + _TOLERANCE_M, axis=-1)
    return inside


def _crossings(a: Array, b: Array) -> tuple[Array, Array]:
    """Where the edges of a and b (p, 4, 2) cross: (p, 16, 2) points and (p, 16) bool whether they do."""
    start_a, start_b = a[:, :, None], b[:, None]
    along_a = (np.roll(a, -1, axis=1) - a)[:, :, None]
    along_b = (np.roll(b, -1, axis=1) - b)[:, None]
    between = start_b - start_a
    turn = _cross(along_a, along_b)
    # Of parallel edges, the ends of the shared stretch are corners inside the other box.
    parallel: Array = np.abs(turn) < 1e-12
    safe = np.where(parallel, 1.0, turn)
    s, t = _cross(between, along_b) / safe, _cross(between, along_a) / safe
    crossed = ~parallel & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    points = start_a + s[..., None] * along_a
    return points.reshape(len(a), 16, 2), crossed.reshape(len(a), 16)


def _cross(a: Array, b: Array) -> Array:
    product: Array = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product
