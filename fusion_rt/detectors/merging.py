"""Boxes of another detector among the network's own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_rt.metrics.boxes import bev_iou
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array


def merged(own: Detections, others: Detections, *, iou: Sequence[float], share: Array) -> Detections:
    """The network's boxes and the others', in this order; iou: of each class, above which two are one object.

    Of such two the better one gives the box, its uncertainty and score; the network's velocity stays, the
    other has none. share (modalities,): the contributions of a box that is another's."""
    limits = np.array(iou)[others.labels]
    same = own.labels[None] == others.labels[:, None]
    overlap = np.where(same, bev_iou(others.boxes, own.boxes), 0.0)
    of_own = overlap.max(axis=1, initial=0.0) > limits
    boxes, scores, std, contributions = (
        array.copy() for array in (own.boxes, own.scores, own.std, own.contributions)
    )
    mine = _own_scores(own)
    theirs = _own_scores(others)
    for k in np.flatnonzero(of_own):
        which = int(overlap[k].argmax())
        if theirs[k] > mine[which]:
            mine[which] = theirs[k]
            boxes[which], std[which], contributions[which] = others.boxes[k], others.std[k], share
            scores[which, own.labels[which]] = theirs[k]
    new = others.where(~of_own)
    return Detections(
        boxes=np.concatenate([boxes, new.boxes]),
        velocity=np.concatenate([own.velocity, new.velocity]),
        scores=np.concatenate([scores, new.scores]),
        labels=np.concatenate([own.labels, new.labels]),
        std=np.concatenate([std, new.std]),
        contributions=np.concatenate([contributions, np.tile(share, (len(new.boxes), 1))]),
        velocity_known=np.concatenate([own.velocity_known, new.velocity_known]),
    )


def _own_scores(boxes: Detections) -> Array:
    scores: Array = boxes.scores[np.arange(len(boxes.labels)), boxes.labels].copy()
    return scores
