"""Where a box is seen in an image."""

from __future__ import annotations

import itertools

import numpy as np

from fusion_rt.transforms import Array, from_translation_rpy, transform_points

Pixels = tuple[int, int, int, int]  # left, top, right, bottom

_CORNERS = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
_NEAREST_M = 0.3


def corners_px(box: Array, K: Array, T_camera_ego: Array) -> Array | None:
    """(8, 2) px of the corners of a box (7+,) of the ego frame; None near the camera's plane or behind it."""
    corners = transform_points(from_translation_rpy(box[:3], (0, 0, box[6])), _CORNERS * box[3:6])
    uvd = transform_points(T_camera_ego, corners) @ K.T
    if uvd[:, 2].min() < _NEAREST_M:
        return None
    uv: Array = uvd[:, :2] / uvd[:, 2:]
    return uv


def outline(box: Array, K: Array, T_camera_ego: Array) -> Pixels | None:
    """The upright rectangle around a box, px, perhaps outside of the image; None as of `corners_px`."""
    uv = corners_px(box, K, T_camera_ego)
    if uv is None:
        return None
    (left, top), (right, bottom) = np.floor(uv.min(0)).astype(int), np.ceil(uv.max(0)).astype(int)
    return int(left), int(top), int(right), int(bottom)
