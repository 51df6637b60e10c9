"""A detector at work on a lidar's sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fusion_rt.detectors import anchors, bev_heatmap, bev_map, pillars
from fusion_rt.detectors.found import MOST, Solid, as_ours
from fusion_rt.detectors.network import Network, Shapes
from fusion_rt.detectors.point_recipe import AnchorsRecipe, BevHeatmapRecipe, BevMap, PointRecipe
from fusion_rt.device import Device
from fusion_rt.percepts import Sweep
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array

_OTHER_CLASSES = 0.02  # the score of each: such a detector names one class of a box


class PointDetector:
    """One detector for all lidars.

    classes   ours, in order
    identity  name and digest, for certificates
    Raises EngineError where the file is not what the recipe says, ConfigError for a class that is not
    ours."""

    def __init__(
        self, model: Path, recipe: PointRecipe, identity: str, *, classes: tuple[str, ...], device: Device
    ) -> None:
        self.recipe, self.identity = recipe, identity
        self._ours, self._classes = recipe.mapped(classes), len(classes)
        self._deskew, self._nms = device.kernel("deskew"), device.kernel("nms")
        inputs, outputs = _inputs(recipe), _expected(recipe)
        self._network = Network(model, inputs=inputs, outputs=outputs, threads=device.threads)
        # The first run is slow: better now than under the first sweep. Without a point some give NaN.
        space = recipe.space
        middle = (space.x_min + space.x_max, space.y_min + space.y_max, space.z_min + space.z_max)
        self._found(np.array([middle], np.float32) / 2, np.zeros(1, np.float32))

    def look(self, sweep: Sweep) -> Detections:
        """Boxes in the ego frame at the answer, without velocities, all of them from the lidar.

        Raises EngineError where the network fails or gives numbers that are none."""
        cloud = sweep.cloud
        xyz = np.empty(cloud.xyz.shape, np.float32)
        given = (np.ascontiguousarray(cloud.xyz), np.ascontiguousarray(cloud.t))
        self._deskew(*given, sweep.knots_t, sweep.knots_T, xyz)
        xyz[:, 2] -= self.recipe.height_m
        found = self._found(xyz, cloud.intensity)
        rows, labels = as_ours(found.labels, self._ours)
        n, boxes = len(rows), found.boxes[rows].astype(np.float32)
        boxes[:, 2] += self.recipe.height_m
        scores = np.full((n, self._classes), _OTHER_CLASSES, np.float32)
        scores[np.arange(n), labels] = found.scores[rows]
        return Detections(
            boxes=boxes,
            velocity=np.zeros((n, 2), np.float32),
            scores=scores,
            labels=labels,
            std=np.tile(np.array(self.recipe.std, np.float32), (n, 1)),
            contributions=np.ones((n, 1), np.float32),
            velocity_known=np.zeros(n, bool),
        )

    def _found(self, xyz: Array, intensity: Array) -> Solid:
        """What is there, best first, in the detector's frame, as xyz (N, 3) float32 are."""
        recipe, nothing = self.recipe, Solid(np.empty((0, 7)), np.empty(0), np.empty(0, np.intp))
        if not _fill(xyz, intensity, recipe, self._network.inputs):
            return nothing
        found = _decoded(recipe, self._network.run())
        mapped = np.array([bool(classes) for classes in self._ours])
        good = np.isfinite(found.boxes).all(axis=1) & (found.boxes[:, 3:6] > 0).all(axis=1)
        keep = good & mapped[found.labels] & (found.scores >= recipe.score_threshold)
        order = np.argsort(-found.scores[keep], kind="stable")[:MOST]
        found = Solid(*(column[keep][order] for column in found))
        kept = np.empty(len(order), np.int32)
        n = self._nms(
            found.boxes.astype(np.float32),
            found.scores.astype(np.float32),
            found.labels.astype(np.int32),
            [recipe.nms_iou] * len(recipe.classes),
            kept,
        )
        return Solid(*(column[kept[:n]] for column in found))


def _inputs(recipe: PointRecipe) -> dict[str, tuple[int, ...]]:
    wanted = recipe.input
    if isinstance(wanted, BevMap):
        return {wanted.name: (1, len(wanted.channels), wanted.rows, wanted.columns)}
    return {
        wanted.voxels: (wanted.most, wanted.points, 4),
        wanted.counts: (wanted.most,),
        wanted.coordinates: (wanted.most, 4),
    }


def _fill(xyz: Array, intensity: Array, recipe: PointRecipe, inputs: Mapping[str, Array]) -> bool:
    """The points into the inputs; False: there are none in the detector's space."""
    wanted = recipe.input
    if isinstance(wanted, BevMap):
        bev_map.draw(xyz, intensity, wanted, recipe.space, inputs[wanted.name][0])
        return True
    parts = (inputs[wanted.voxels], inputs[wanted.counts], inputs[wanted.coordinates])
    n = pillars.group(xyz, intensity, wanted, recipe.space, voxels=parts[0], counts=parts[1], at=parts[2])
    for part in parts:  # the same pillar again changes nothing, where one without points may give NaN
        part[n:] = part[0]
    return n > 0


def _expected(recipe: PointRecipe) -> Shapes:
    """Names and shapes of the outputs that a recipe speaks of."""
    classes = len(recipe.classes)
    if isinstance(recipe, BevHeatmapRecipe):
        heads = recipe.outputs
        channels = {heads.heat: classes, heads.offset: 2, heads.z: 1, heads.size: 3, heads.direction: 2}
        return {name: (1, n, recipe.rows, recipe.columns) for name, n in channels.items()}
    assert isinstance(recipe, AnchorsRecipe)
    names, n, cells = recipe.outputs, recipe.in_cell, (recipe.rows, recipe.columns)
    channels = {names.scores: n * classes, names.boxes: n * 7, names.directions: n * 2}
    nchw = recipe.layout == "nchw"
    return {name: (1, k, *cells) if nchw else (1, *cells, k) for name, k in channels.items()}


def _decoded(recipe: PointRecipe, outputs: Mapping[str, Array]) -> Solid:
    if isinstance(recipe, BevHeatmapRecipe):
        return bev_heatmap.decode(outputs, recipe)
    assert isinstance(recipe, AnchorsRecipe)
    return anchors.decode(outputs, recipe)
