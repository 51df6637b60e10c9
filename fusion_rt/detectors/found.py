"""Boxes as decoders give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from fusion_rt.transforms import Array

MOST = 1000  # boxes that are compared with each other, the best


class Found(NamedTuple):
    """boxes (n, 4) left, top, right, bottom, px; scores (n,) 0..1; labels (n,) int, the detector's own."""

    boxes: Array
    scores: Array
    labels: Array

    def where(self, keep: Array) -> Found:
        """Those that a mask or an index names."""
        return Found(self.boxes[keep], self.scores[keep], self.labels[keep])


class Solid(NamedTuple):
    """In space: boxes (n, 7) x y z l w h yaw in the detector's frame, (x, y, z) the middle; scores (n,) 0..1;
    labels (n,) int, the detector's own."""

    boxes: Array
    scores: Array
    labels: Array


def as_ours(labels: Array, mapped: Sequence[Sequence[int]]) -> tuple[Array, Array]:
    """(k,) rows and (k,) classes of ours that labels (n,) of a detector stand for; mapped: for each label,
    which."""
    each = [mapped[label] for label in labels.tolist()]
    rows = np.repeat(np.arange(len(each)), [len(classes) for classes in each])
    return rows, np.array([k for classes in each for k in classes], np.intp)


def joined(parts: list[Found]) -> Found:
    """One after the other."""
    return Found(*(np.concatenate(column) for column in zip(*parts)))


def suppressed(found: Found, iou: float) -> Found:
    """Of the best MOST: of boxes of one class that overlap by more, the best; best first."""
    if not len(found.scores):
        return found
    sizes = found.boxes[:, 2:] - found.boxes[:, :2]
    cornered = np.concatenate([found.boxes[:, :2], sizes], axis=1)
    columns = (cornered.tolist(), found.scores.tolist(), found.labels.tolist())
    keep = cv2.dnn.NMSBoxesBatched(*columns, score_threshold=0.0, nms_threshold=iou, top_k=MOST)
    kept = np.array(keep, np.intp).reshape(-1)
    return found.where(kept[np.lexsort((kept, -found.scores[kept]))])
