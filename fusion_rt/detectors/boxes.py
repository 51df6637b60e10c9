"""Boxes that the export has already chosen."""

from __future__ import annotations

import numpy as np

from fusion_rt.detectors.found import Found
from fusion_rt.errors import EngineError
from fusion_rt.transforms import Array


def decode(
    boxes: Array,
    scores: Array,
    labels: Array,
    *,
    width: int,
    height: int,
    form: str,
    normalised: bool,
    first_label: int,
) -> Found:
    """The same boxes in px of an input of width x height, labels counted from 0.

    boxes (n, 4) in the order that `form` says, 0..1 where normalised; scores (n,), labels (n,); each may have
    a leading 1. A label before first_label is the background's, or marks an empty row: it is left out.
    Raises EngineError where their lengths differ."""
    n = scores.size
    if (boxes.size, labels.size) != (4 * n, n):
        raise EngineError(
            f"the detector's boxes are {boxes.shape}, scores {scores.shape}, labels {labels.shape}; expected"
            " (n, 4), (n,) and (n,)"
        )
    boxes, scores, labels = boxes.reshape(-1, 4), scores.ravel(), labels.ravel()
    a, b, c, d = boxes.astype(np.float64).T
    if form == "yxyx":
        a, b, c, d = b, a, d, c
    if form == "cxcywh":
        a, b = a - c / 2, b - d / 2
    if form in ("xywh", "cxcywh"):
        c, d = a + c, b + d
    corners = np.stack([a, b, c, d], axis=1)
    if normalised:
        corners *= (width, height, width, height)
    numbers = labels.astype(np.intp) - first_label
    found = Found(corners, np.clip(scores.astype(np.float64), 0, 1), numbers)
    return found.where(numbers >= 0)
