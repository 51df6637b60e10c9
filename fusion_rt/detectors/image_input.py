"""From a camera's pixels to a detector's input, and from its boxes back to the camera's pixels."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from fusion_rt.detectors.image_recipe import ImageInput
from fusion_rt.rig import Camera
from fusion_rt.transforms import Array

OVERLAP = 0.2  # of a tile's width that its neighbour sees, too


class Placement(NamedTuple):
    """Where an image lies in the input: input px = image px * scale + shift, (2,) each, x and y."""

    scale: Array
    shift: Array

    def to_image(self, boxes: Array) -> Array:
        """Left, top, right, bottom (n, 4) px of the input -> px of the image."""
        return (boxes - np.tile(self.shift, 2)) / np.tile(self.scale, 2)


def tiles(width: int, count: int) -> list[tuple[int, int]]:
    """First and last column (exclusive) of `count` equally wide parts that together cover all columns and
    overlap by OVERLAP of their width."""
    each = width / (count - (count - 1) * OVERLAP)
    starts = [round(k * (width - each) / max(count - 1, 1)) for k in range(count)]
    return [(start, min(start + round(each), width)) for start in starts]


def fill(pixels: Array, wanted: ImageInput, out: Array, *, bgr: bool) -> Placement:
    """pixels (h, w, 3) uint8 into out, of the shape that the input has; bgr: the order of their channels."""
    height, width = pixels.shape[:2]
    scale = np.array([wanted.width / width, wanted.height / height])
    if wanted.fit != "stretch":
        scale[:] = scale.min()
    inner = np.maximum(np.round(scale * (width, height)), 1).astype(int)
    scale = inner / (width, height)
    spare = (wanted.width, wanted.height) - inner
    left, top = (spare // 2).tolist() if wanted.fit == "letterbox" else (0, 0)
    # Averages where it shrinks: nothing small falls between the samples.
    how = cv2.INTER_AREA if scale.min() < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(pixels, inner.tolist(), interpolation=how)
    if bgr != (wanted.colours == "bgr"):
        resized = resized[:, :, ::-1]
    mean, std = np.array(wanted.mean, np.float32), np.array(wanted.std, np.float32)
    image = out[0].transpose(1, 2, 0) if wanted.layout == "nchw" else out[0]  # a view, (h, w, 3)
    image[...] = (wanted.pad - mean) / std
    image[top : top + inner[1], left : left + inner[0]] = (resized - mean) / std
    return Placement(scale, np.array([left, top], np.float64))


def without_distortion(boxes: Array, camera: Camera) -> Array:
    """Boxes (n, 4) px of the camera's image -> around what they hold in an image of a pinhole camera with the
    same K, which is where outlines are compared."""
    if not any(camera.distortion) or not len(boxes):
        return boxes
    x, y = boxes[:, [0, 2]].mean(axis=1), boxes[:, [1, 3]].mean(axis=1)
    # The middle of each edge: what touches it seldom does so at a corner.
    edges = np.stack([boxes[:, 0], y, x, boxes[:, 1], boxes[:, 2], y, x, boxes[:, 3]], axis=1)
    K, bent = camera.intrinsics, np.array(camera.distortion)
    straight = cv2.undistortPoints(edges.reshape(-1, 1, 2), K, bent, P=K).reshape(-1, 8)
    return straight[:, [0, 3, 4, 7]]
