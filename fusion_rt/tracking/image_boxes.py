"""Boxes that a detector saw in an image: more evidence for what the tracker follows."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from fusion_rt.errors import MessageError
from fusion_rt.rig import Camera
from fusion_rt.tracking.assignment import assign
from fusion_rt.transforms import Array, transform_points

NEAR_M = 0.1  # nothing nearer to the camera is projected
_TURN = np.arange(8) * np.pi / 4
_ROUND = np.array([[np.cos(a) / 2, np.sin(a) / 2, z] for a in _TURN for z in (-0.5, 0.5)])
_SQUARE = np.sign(np.round(_ROUND, 9)) / 2
_SQUARE[np.abs(_SQUARE).min(1) == 0] = (0.5, 0.5, 0.5)  # a corner twice, for four of the eight


class ImageBoxes(Struct, frozen=True, kw_only=True):
    """What one image showed.

    camera  its camera; T_camera_ego (4, 4): where that was, seen from the ego frame at the answer
    boxes   (m, 4) left, top, right, bottom, px
    scores  (m,) 0..1
    labels  (m,) int, the class of each
    knows   the classes that the detector can name: of all others it says nothing
    """

    camera: Camera
    T_camera_ego: Array
    boxes: Array
    scores: Array
    labels: Array
    knows: tuple[int, ...]

    def __post_init__(self) -> None:
        m = len(self.scores)
        for name, shape in (("boxes", (m, 4)), ("labels", (m,)), ("T_camera_ego", (4, 4))):
            if getattr(self, name).shape != shape:
                raise MessageError(f"image boxes: {name} is {getattr(self, name).shape}, expected {shape}")
        if not (np.isfinite(self.boxes).all() and np.isfinite(self.scores).all()):
            raise MessageError("image boxes: a box or score is not finite; leave it out")


def outlines(boxes: Array, rounded: Array, camera: Camera, T_camera_ego: Array) -> Array:
    """Left, top, right, bottom (n, 4) px of boxes (n, 7) x y z l w h yaw in the ego frame, cut to the image;
    NaN where less than a pixel of one is seen. rounded (n,) bool: seen from above not the rectangle but the
    ellipse in it; a person's box is a third wider in an image than the person."""
    c, s = np.cos(boxes[:, 6]), np.sin(boxes[:, 6])
    local = np.where(rounded[:, None, None], _ROUND, _SQUARE) * boxes[:, None, 3:6]  # (n, 16, 3)
    corners = np.empty_like(local)
    corners[..., 0] = local[..., 0] * c[:, None] - local[..., 1] * s[:, None]
    corners[..., 1] = local[..., 0] * s[:, None] + local[..., 1] * c[:, None]
    corners[..., 2] = local[..., 2]
    corners += boxes[:, None, :3]
    seen = transform_points(T_camera_ego, corners.reshape(-1, 3)) @ camera.intrinsics.T
    depth = seen[:, 2].reshape(-1, 16, 1)
    behind = depth <= NEAR_M
    uv = seen[:, :2].reshape(-1, 16, 2) / np.where(behind, 1.0, depth)
    limit = (camera.width - 1, camera.height - 1)
    low = np.clip(np.where(behind, np.inf, uv).min(1), 0, limit)
    high = np.clip(np.where(behind, -np.inf, uv).max(1), 0, limit)
    out = np.concatenate([low, high], axis=1)
    out[behind.all((1, 2)) | (high - low < 1).any(1)] = np.nan
    return out


def image_iou(a: Array, b: Array) -> Array:
    """(n, m) overlap of boxes (n, 4) and (m, 4); 0 where one is NaN."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.maximum(high - low, 0).prod(2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    return np.nan_to_num(common / np.maximum(area_a[:, None] + area_b[None] - common, 1e-9))


def paired(seen: Array, labels: Array, image: ImageBoxes, least: float, free: Array | None = None) -> Array:
    """(n,) the image box that shows each of `seen` (n, 4) of classes `labels` (n,), -1: none. One to one, of
    one class, as many as overlap by `least`, and of those the best; free (m,) bool: boxes to choose from."""
    iou = image_iou(seen, image.boxes) * (labels[:, None] == image.labels[None])
    if free is not None:
        iou = iou * free
    rows, columns = (iou >= least).nonzero()
    costs: dict[int, dict[int, float]] = {}
    for i, j in zip(rows.tolist(), columns.tolist()):
        costs.setdefault(i, {})[j] = -float(iou[i, j])
    out = np.full(len(seen), -1)
    for i, j in assign(costs).items():
        out[i] = j
    return out
