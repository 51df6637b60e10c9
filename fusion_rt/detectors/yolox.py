"""Anchor-free heads of several strides: YOLOX (Ge et al. 2021, github.com/Megvii-BaseDetection/YOLOX)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_rt.detectors.found import Found
from fusion_rt.transforms import Array


def decode(cells: Array, *, width: int, height: int, strides: Sequence[int], decoded: bool) -> Found:
    """Of every cell its box, in px of an input of width x height.

    cells (cells, 5 + classes), head after head, row after row: middle x, y and size w, h; objectness and
    classes 0..1. decoded: the middle and size are px; else in cells of the head's stride, the middle from the
    cell's corner, the size as a logarithm. score = objectness * class."""
    cells = cells.astype(np.float64)
    middle, size = cells[:, :2], cells[:, 2:4]
    if not decoded:
        at, steps = _cells(width, height, strides)
        with np.errstate(over="ignore"):  # what is too large is left out with what is not finite
            middle, size = (middle + at) * steps, np.exp(size) * steps
    classes = np.clip(cells[:, 5:], 0, 1)
    scores = np.clip(cells[:, 4], 0, 1) * classes.max(axis=1)
    corners = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    return Found(corners, scores, classes.argmax(axis=1))


def _cells(width: int, height: int, strides: Sequence[int]) -> tuple[Array, Array]:
    """Column and row (n, 2) of every cell in its head, and the head's stride (n, 1)."""
    corners, steps = [], []
    for stride in strides:
        row, column = np.mgrid[: height // stride, : width // stride]
        corners.append(np.stack([column, row], axis=-1).reshape(-1, 2))
        steps.append(np.full((row.size, 1), stride))
    return np.concatenate(corners), np.concatenate(steps)
