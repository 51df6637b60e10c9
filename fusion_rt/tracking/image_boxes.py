"""Boxes that a detector saw in an image: more evidence for what the tracker follows."""

from __future__ import annotations

import numpy as np
from msgspec import Struct, structs

from fusion_rt.errors import MessageError
from fusion_rt.outlines import outlines
from fusion_rt.rig import Camera
from fusion_rt.tracking.assignment import assign
from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.tracking.detections import Detections, no_certainty
from fusion_rt.transforms import Array


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


def compared(
    boxes: Detections, image: ImageBoxes, rounded: Array, config: TrackerConfig
) -> tuple[Detections, Array]:
    """The boxes with their scores raised where the image shows the same, lowered where it should and does
    not; and which of the image's boxes (m,) bool show none of them. rounded (classes,) bool: `outlines`."""
    each, labels = np.arange(len(boxes.labels)), boxes.labels
    seen = outlines(boxes.boxes, rounded[labels], image.camera, image.T_camera_ego)
    pair = paired(seen, labels, image, config.image_overlap)
    score = no_certainty(boxes.scores[each, labels])
    logit = np.log(score / (1 - score))
    alone = (pair < 0) & np.isfinite(seen[:, 0]) & np.isin(labels, image.knows)
    logit -= config.image_doubt * alone
    logit[pair >= 0] += config.image_gain * image.scores[pair[pair >= 0]]
    scores = boxes.scores.astype(np.float64)
    scores[each, labels] = 1 / (1 + np.exp(-logit))
    free = np.ones(len(image.scores), bool)
    free[pair[pair >= 0]] = False
    return structs.replace(boxes, scores=scores), free


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
