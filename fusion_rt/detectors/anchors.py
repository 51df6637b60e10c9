"""Boxes as they differ from anchors: SECOND (Yan et al. 2018), PointPillars (Lang et al. 2019), as OpenPCDet
and MMDetection3D lay them out."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from fusion_rt.detectors.found import Solid
from fusion_rt.detectors.point_recipe import AnchorsRecipe
from fusion_rt.transforms import Array


def decode(outputs: Mapping[str, Array], recipe: AnchorsRecipe) -> Solid:
    """The anchors that reach the threshold, corrected, in the detector's frame.

    Scores are logits, a channel for each anchor and class. A box is (x, y) in diagonals of the anchor's base,
    z in its height, the logarithms of length, width and height over the anchor's, and the turn; its front is
    where the larger of the two directions says."""
    names, n = recipe.outputs, recipe.in_cell
    scores, deltas, directions = (
        _rows(outputs[name], recipe.layout, n) for name in (names.scores, names.boxes, names.directions)
    )
    # Chosen by logit: most anchors see nothing, and none of them needs more arithmetic.
    with np.errstate(divide="ignore"):
        least = np.log(recipe.score_threshold) - np.log1p(-recipe.score_threshold)
    (chosen,) = (scores.max(axis=1) >= least).nonzero()
    logit = scores[chosen].astype(np.float64)
    x, y, z, length, width, height, yaw = _anchors(chosen, recipe).T
    d = deltas[chosen].astype(np.float64).T
    diagonal = np.hypot(length, width)
    with np.errstate(over="ignore"):  # what is too large is left out with what is not finite
        sizes = np.exp(d[3:6]) * (length, width, height)
    turned = yaw + d[6] - recipe.direction_offset
    turned = turned % np.pi + recipe.direction_offset + np.pi * directions[chosen].argmax(axis=1)
    boxes = np.stack([d[0] * diagonal + x, d[1] * diagonal + y, d[2] * height + z, *sizes, turned], axis=1)
    return Solid(boxes, 0.5 + 0.5 * np.tanh(0.5 * logit.max(axis=1)), logit.argmax(axis=1))


def _rows(output: Array, layout: str, anchors: int) -> Array:
    """(rows * columns * anchors, values) of a map."""
    cells = output[0].transpose(1, 2, 0) if layout == "nchw" else output[0]
    return cells.reshape(cells.shape[0] * cells.shape[1] * anchors, -1)


def _anchors(chosen: Array, recipe: AnchorsRecipe) -> Array:
    """(k, 7) x y z l w h yaw of these, z the middle: each size with every rotation in each cell, the
    rotations next to each other."""
    cell, kind = np.divmod(chosen, recipe.in_cell)
    row, column = np.divmod(cell, recipe.columns)
    size, rotation = np.divmod(kind, len(recipe.rotations))
    space = recipe.space
    sizes = np.array([anchor.size for anchor in recipe.anchors])[size]
    bottoms = np.array([anchor.z_bottom for anchor in recipe.anchors])[size]
    x = space.x_min + (column + 0.5) / recipe.columns * (space.x_max - space.x_min)
    y = space.y_min + (row + 0.5) / recipe.rows * (space.y_max - space.y_min)
    yaw = np.array(recipe.rotations)[rotation]
    return np.column_stack([x, y, bottoms + sizes[:, 2] / 2, sizes, yaw])
