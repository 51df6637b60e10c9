"""What an image's features should know by themselves, to teach the camera encoder directly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fusion_rt.metrics.boxes import in_box_frame
from fusion_rt.models.presets import Preset
from fusion_rt.sim.frame_files import Frame
from fusion_rt.train.targets import MIN_VISIBLE, bump
from fusion_rt.transforms import Array

NEAR_M = 1.0  # nearer points belong to the vehicle itself
UNKNOWN = -1


@dataclass(frozen=True)
class ImageTargets:
    """What each feature pixel shows.

    heatmap    (classes, h, w) bumps at the centres of visible objects
    log_depth  (h, w) float32, of the nearest lidar point there; NaN where none fell
    kind       (h, w) int64, the class that point lies on: `classes` is background, UNKNOWN no point or one of
               an ignored object
    """

    heatmap: Array
    log_depth: Array
    kind: Array


def image_targets(frame: Frame, P: Array, preset: Preset) -> ImageTargets:
    """P (3, 4): ego -> feature pixels. The lidar's points say what is where, whether or not the network may
    see them in this sample."""
    h, w = preset.image_height // preset.camera_stride, preset.image_width // preset.camera_stride
    classes = len(preset.classes)
    pixel, depth, nearest = _nearest_points(frame.points, P, h, w)
    kind = np.full(len(pixel), classes, np.int64)
    for box, cls in zip(frame.boxes, frame.cls):
        kind[_inside(nearest, box)] = cls if cls >= 0 else UNKNOWN
    log_depth = np.full(h * w, np.nan, np.float32)
    kinds = np.full(h * w, UNKNOWN, np.int64)
    log_depth[pixel], kinds[pixel] = np.log(depth), kind
    return ImageTargets(_centres(frame, P, h, w, classes), log_depth.reshape(h, w), kinds.reshape(h, w))


def _centres(frame: Frame, P: Array, h: int, w: int, classes: int) -> Array:
    heatmap = np.zeros((classes, h, w), np.float32)
    for box, kind, seen in zip(frame.boxes, frame.cls, frame.visible):
        u, v, d = P[:, :3] @ box[:3] + P[:, 3]
        if kind < 0 or seen < MIN_VISIBLE or d < NEAR_M:
            continue
        u, v, height = u / d, v / d, abs(P[1, 2]) * box[5] / d
        if 0 <= u < w and 0 <= v < h:
            bump(heatmap[kind], int(u), int(v), float(np.clip(0.12 * height, 0.8, 3.0)))
    return heatmap


def _nearest_points(points: Array, P: Array, h: int, w: int) -> tuple[Array, Array, Array]:
    """Of each pixel that points fall in: its flat index, the depth of the nearest point and that point."""
    uvd = points @ P[:, :3].T.astype(np.float32) + P[:, 3].astype(np.float32)
    ahead = uvd[:, 2] > NEAR_M
    points, uvd = points[ahead], uvd[ahead]
    u, v = uvd[:, 0] / uvd[:, 2], uvd[:, 1] / uvd[:, 2]
    ok = (u >= 0) & (u < w) & (v >= 0) & (v < h)
    points, depth = points[ok], uvd[ok, 2]
    pixel = v[ok].astype(np.int64) * w + u[ok].astype(np.int64)
    farthest_first = np.argsort(-depth, kind="stable")
    nearest = np.full(h * w, -1)
    nearest[pixel[farthest_first]] = farthest_first  # the last one written stays
    seen = np.flatnonzero(nearest >= 0)
    return seen, depth[nearest[seen]], points[nearest[seen]]


def _inside(points: Array, box: Array) -> Array:
    """(N,) bool: points within a box x y z l w h yaw, a tenth wider and longer."""
    along, across, up = in_box_frame(points, box).T
    inside: Array = (
        (np.abs(along) < 0.55 * box[3])
        & (np.abs(across) < 0.55 * box[4])
        & (up < 0.55 * box[5])
        & (up > 0.1 - 0.5 * box[5])  # the road under it is no part of it
    )
    return inside
