"""Heads with one box a cell: FastestDet (github.com/dog-qiuqiu/FastestDet)."""

from __future__ import annotations

import numpy as np

from fusion_rt.detectors.found import Found
from fusion_rt.transforms import Array


def decode(cells: Array, *, width: int, height: int, score_power: float) -> Found:
    """Of every cell its box, in px of an input of width x height.

    cells (5 + classes, rows, columns): objectness 0..1; how far the middle is from the cell's corner, in
    cells, before tanh: right, down; width and height as shares of the input, before the sigmoid; a
    probability of each class. score = objectness^power * class^(1 - power), power 0.6 in FastestDet."""
    _, rows, columns = cells.shape
    cells = cells.astype(np.float64)
    objectness, classes = np.clip(cells[0], 0, 1), np.clip(cells[5:], 0, 1)
    row, column = np.mgrid[:rows, :columns]
    x = (column + np.tanh(cells[1])) / columns * width
    y = (row + np.tanh(cells[2])) / rows * height
    half_width, half_height = (0.5 + 0.5 * np.tanh(0.5 * cells[3:5])) * [[[width / 2]], [[height / 2]]]
    boxes = np.stack([x - half_width, y - half_height, x + half_width, y + half_height], axis=-1)
    scores = objectness**score_power * classes.max(axis=0) ** (1 - score_power)
    return Found(boxes.reshape(-1, 4), scores.ravel(), classes.argmax(axis=0).ravel())
