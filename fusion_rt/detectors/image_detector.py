"""A detector at work on a camera's images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct

from fusion_rt.detectors import boxes, grid, yolox
from fusion_rt.detectors.found import Found, as_ours, joined, suppressed
from fusion_rt.detectors.image_input import fill, tiles, without_distortion
from fusion_rt.detectors.image_recipe import BoxesRecipe, GridRecipe, ImageRecipe, YoloxRecipe
from fusion_rt.detectors.network import Network, Shapes
from fusion_rt.rig import Camera
from fusion_rt.tracking.image_boxes import ImageBoxes
from fusion_rt.transforms import Array


class Seen(Struct, frozen=True, eq=False):
    """What an image showed, waiting for the answer: boxes (m, 4) px, scores (m,), labels (m,) ours."""

    boxes: Array
    scores: Array
    labels: Array


class ImageDetector:
    """One detector for all cameras.

    classes   ours, in order; threads: of the network
    identity  name and digest, for certificates
    Raises EngineError where the file is not what the recipe says, ConfigError for a class that is not
    ours."""

    def __init__(
        self, model: Path, recipe: ImageRecipe, identity: str, *, classes: tuple[str, ...], threads: int
    ) -> None:
        self.recipe, self.identity = recipe, identity
        self._ours = recipe.mapped(classes)
        self._knows = tuple(sorted({k for named in self._ours for k in named}))
        inputs = {recipe.image.name: recipe.image.shape}
        self._network = Network(model, inputs=inputs, outputs=_expected(recipe), threads=threads)
        self._network.run()  # the first run is slow: better now than under the first image

    def look(self, pixels: Array, camera: Camera, *, bgr: bool) -> Seen:
        """What the pixels (h, w, 3) uint8 of that camera show. Raises EngineError where the network fails or
        gives numbers that are none."""
        recipe = self.recipe
        height, width = pixels.shape[:2]
        parts = []
        for first, end in tiles(width, recipe.image.tiles):
            place = fill(pixels[:, first:end], recipe.image, self._network.inputs[recipe.image.name], bgr=bgr)
            found = _decoded(recipe, self._network.run())
            found = found.where(self._of_use(found))
            corners = place.to_image(found.boxes) + (first, 0, first, 0)
            parts.append(found._replace(boxes=np.clip(corners, 0, (width - 1, height - 1) * 2)))
        found = joined(parts)
        inside = np.min(found.boxes[:, 2:] - found.boxes[:, :2], axis=1) >= 1
        found = suppressed(found.where(inside), recipe.nms_iou)
        found = found._replace(boxes=without_distortion(found.boxes, camera))
        # A lens is described for what it shows; beyond, its polynomial may lead anywhere.
        found = found.where(np.all(np.isfinite(found.boxes), axis=1))
        rows, labels = as_ours(found.labels, self._ours)
        return Seen(boxes=found.boxes[rows], scores=found.scores[rows], labels=labels)

    def placed(self, seen: Seen, camera: Camera, T_camera_ego: Array) -> ImageBoxes:
        """For the tracker; T_camera_ego (4, 4): where the camera was, seen from the ego frame at the
        answer."""
        return ImageBoxes(
            camera=camera,
            T_camera_ego=T_camera_ego,
            boxes=seen.boxes,
            scores=seen.scores,
            labels=seen.labels,
            knows=self._knows,
        )

    def _of_use(self, found: Found) -> Array:
        """(n,) bool: sure enough, of a class that is mapped, finite."""
        mapped = np.array([*(bool(classes) for classes in self._ours), False])
        labels = np.minimum(found.labels, len(self._ours))
        keep: Array = (found.scores >= self.recipe.score_threshold) & mapped[labels]
        return keep & np.isfinite(found.boxes).all(axis=1)


def _expected(recipe: ImageRecipe) -> Shapes:
    """Names and shapes of the outputs that a recipe speaks of."""
    classes = len(recipe.classes)
    if isinstance(recipe, GridRecipe):
        return {recipe.output: (1, 5 + classes, recipe.rows, recipe.columns)}
    if isinstance(recipe, YoloxRecipe):
        return {recipe.output: (1, recipe.cells, 5 + classes)}
    assert isinstance(recipe, BoxesRecipe)
    return dict.fromkeys((recipe.outputs.boxes, recipe.outputs.scores, recipe.outputs.labels))


def _decoded(recipe: ImageRecipe, outputs: Mapping[str, Array]) -> Found:
    """Boxes in px of the input."""
    width, height = recipe.image.width, recipe.image.height
    if isinstance(recipe, GridRecipe):
        cells = outputs[recipe.output][0]
        return grid.decode(cells, width=width, height=height, score_power=recipe.score_power)
    if isinstance(recipe, YoloxRecipe):
        cells, strides = outputs[recipe.output][0], recipe.strides
        return yolox.decode(cells, width=width, height=height, strides=strides, decoded=recipe.decoded)
    assert isinstance(recipe, BoxesRecipe)
    names = recipe.outputs
    return boxes.decode(
        *(outputs[name] for name in (names.boxes, names.scores, names.labels)),
        width=width,
        height=height,
        form=recipe.form,
        normalised=recipe.normalised,
        first_label=recipe.first_label,
    )
