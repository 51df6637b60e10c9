"""Peaks of a map seen from above: CenterPoint (Yin et al. 2021), SFA3D (github.com/maudzung/SFA3D)."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from fusion_rt.detectors.found import Solid
from fusion_rt.detectors.point_recipe import BevHeatmapRecipe
from fusion_rt.transforms import Array


def decode(outputs: Mapping[str, Array], recipe: BevHeatmapRecipe) -> Solid:
    """The best `most` cells that none of their eight neighbours exceeds, as boxes in the detector's frame.

    outputs: the maps that `recipe.outputs` names, (1, channels, rows, columns)."""
    names, space = recipe.outputs, recipe.space
    heat = outputs[names.heat][0].astype(np.float32)
    if recipe.heat_logits:
        heat = _sigmoid(heat)
    square = np.ones((3, 3), np.uint8)
    peak = np.stack([channel >= cv2.dilate(channel, square) for channel in heat])
    label, row, column = (peak & (heat >= recipe.score_threshold)).nonzero()
    scores = heat[label, row, column]
    best = np.lexsort((np.arange(len(scores)), -scores))[: recipe.most]
    label, row, column, scores = label[best], row[best], column[best], scores[best]
    offset, z, size, direction = (
        outputs[name][0][:, row, column].astype(np.float64)
        for name in (names.offset, names.z, names.size, names.direction)
    )
    if recipe.offset_logits:
        offset = _sigmoid(offset)
    with np.errstate(over="ignore"):  # what is too large is left out with what is not finite
        size = np.exp(size) if recipe.size_logs else size
    length, width, height = (size[recipe.size_order.index(side)] for side in "lwh")
    along_columns = (column + offset[0]) / recipe.columns
    along_rows = (row + offset[1]) / recipe.rows
    x, y = (along_rows, along_columns) if recipe.rows_along == "x" else (along_columns, along_rows)
    middle = z[0] + recipe.z_shift_m + (height / 2 if recipe.z_bottom else 0)
    sine, cosine = direction if recipe.sine_first else direction[::-1]
    yaw = np.arctan2(-sine if recipe.mirrored else sine, cosine)
    boxes = np.stack(
        [
            space.x_min + x * (space.x_max - space.x_min),
            space.y_min + y * (space.y_max - space.y_min),
            *(middle, length, width, height, yaw),
        ],
        axis=1,
    )
    return Solid(boxes, np.clip(scores, 0, 1).astype(np.float64), label)


def _sigmoid(logit: Array) -> Array:
    p: Array = 0.5 + 0.5 * np.tanh(0.5 * logit)
    return p
