"""What was found and what was there, over the image and from above."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.evaluation.subsets import own_scores
from fusion_rt.metrics.boxes import bev_iou
from fusion_rt.metrics.detection import MIN_OVERLAPS
from fusion_rt.models.package import ModelSpec
from fusion_rt.rig import Camera
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array, from_translation_rpy, transform_points

COLOURS = {"car": (80, 220, 60), "pedestrian": (60, 140, 255), "cyclist": (255, 160, 60)}  # BGR
MISSED, FALSE, IGNORED, TRUE = (60, 60, 255), (255, 60, 255), (130, 130, 130), (235, 235, 235)
BACKGROUND = 24
NEAR_M = 0.3
_EDGES = [(0, 1), (1, 3), (3, 2), (2, 0), (4, 5), (5, 7), (7, 6), (6, 4), (0, 4), (1, 5), (2, 6), (3, 7)]
_UNIT = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])


class Thing(Struct, frozen=True):
    """A box (7,) x y z l w h yaw of the ego frame and its class. score: of a found one; counts: of a true
    one, whether it is missed where it is not found."""

    box: Array
    label: str
    score: float | None = None
    counts: bool = True


def save(picture: Array, path: Path) -> None:
    """Raises LogError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    except OSError as error:
        raise LogError(f"{path}: cannot be written: {error.strerror}") from error


def worth_showing(seen: Detections, spec: ModelSpec) -> list[Thing]:
    """What reaches its class's threshold."""
    return [
        Thing(box.astype(np.float64), spec.classes[kind], float(score))
        for kind, box, score in zip(seen.labels, seen.boxes, own_scores(seen))
        if score >= spec.score_thresholds[spec.classes[kind]]
    ]


def compare(
    pixels: Array | None, camera: Camera, points: Array, truth: Sequence[Thing], found: Sequence[Thing]
) -> Array:
    """BGR picture of one moment: pixels (h, w, 3) BGR of the camera, points (N, 3) of the ego frame. Found
    boxes have their class's colour, those of nothing are magenta, missed objects red, objects that may be
    found or not grey, found objects white from above."""
    hits, false = _sorted_out(truth, found)
    above = Above()
    above.points(points)
    ahead = None if pixels is None else pixels.copy()

    def draw(thing: Thing, colour: tuple[int, int, int], text: str = "", *, in_image: bool = True) -> None:
        above.box(thing.box, colour, text)
        if ahead is not None and in_image:
            draw_box(ahead, thing.box, camera, colour, text)

    for thing, hit in zip(truth, hits):
        colour = TRUE if hit else MISSED if thing.counts else IGNORED
        draw(thing, colour, "" if hit or not thing.counts else thing.label, in_image=not hit)
    for thing, wrong in zip(found, false):
        score = "" if thing.score is None else f"{thing.score:.2f}"
        draw(thing, FALSE if wrong else COLOURS.get(thing.label, TRUE), score)
    return above.canvas if ahead is None else beside(ahead, above.canvas)


def _sorted_out(truth: Sequence[Thing], found: Sequence[Thing]) -> tuple[list[bool], list[bool]]:
    """Which true things are found, and which found ones are nothing, by the loose overlap of their class."""
    if not truth or not found:
        return [False] * len(truth), [True] * len(found)
    overlap = bev_iou(np.stack([t.box for t in truth]), np.stack([f.box for f in found]))
    alike = np.array([[t.label == f.label for f in found] for t in truth])
    least = np.array([MIN_OVERLAPS.get(f.label, (0.5, 0.25))[1] for f in found])
    ignorable = np.array([not t.counts for t in truth])[:, None]
    touching = overlap > least
    hits = (touching & alike).any(1)
    false = ~((touching & alike) | (touching & ignorable)).any(0)
    return hits.tolist(), false.tolist()


def corners(box: Array) -> Array:
    """(8, 3) of a box (7,)."""
    return transform_points(from_translation_rpy(box[:3], (0, 0, box[6])), _UNIT * box[3:6])


def draw_box(canvas: Array, box: Array, camera: Camera, colour: tuple[int, int, int], text: str = "") -> None:
    """Its edges into an image, unless it is not wholly in front of the camera."""
    seen = transform_points(camera.T_camera_ego, corners(box))
    if seen[:, 2].min() < NEAR_M:
        return
    uv = seen @ camera.intrinsics.T
    uv = np.round(np.clip(uv[:, :2] / uv[:, 2:], -1e4, 1e4)).astype(int)
    for a, b in _EDGES:
        cv2.line(canvas, tuple(map(int, uv[a])), tuple(map(int, uv[b])), colour, 1, cv2.LINE_AA)
    left, top = uv[np.argmin(uv[:, 1])]
    _write(canvas, text, (int(left) - 20, int(top) - 4), colour)


def beside(ahead: Array, above: Array) -> Array:
    """The image left of the view from above."""
    scale = min(above.shape[0] / ahead.shape[0], 1.0)
    ahead = cv2.resize(ahead, None, fx=scale, fy=scale)
    pad = above.shape[0] - ahead.shape[0]
    ahead = cv2.copyMakeBorder(ahead, 0, pad, 0, 8, cv2.BORDER_CONSTANT, value=(BACKGROUND,) * 3)
    return np.hstack([ahead, above])


class Above:
    """The ground seen from above; ahead is up."""

    px_per_m, ahead_m, aside_m = 6.0, 62.0, 24.0

    def __init__(self) -> None:
        shape = int(self.ahead_m * self.px_per_m), int(2 * self.aside_m * self.px_per_m), 3
        self.canvas = np.full(shape, BACKGROUND, np.uint8)

    def points(self, xyz: Array) -> None:
        """Points (N, 3) of the ego frame, the higher the brighter."""
        height, width = self.canvas.shape[:2]
        uv = self._pixel(xyz).astype(int)
        inside = (uv[:, 0] >= 0) & (uv[:, 0] < width) & (uv[:, 1] >= 0) & (uv[:, 1] < height)
        shade = np.clip(70 + 60 * xyz[inside, 2], 60, 230).astype(np.uint8)
        self.canvas[uv[inside, 1], uv[inside, 0]] = shade[:, None]

    def box(self, box: Array, colour: tuple[int, int, int], text: str = "") -> None:
        """Its outline, and a line from its middle to its front."""
        self._lines(corners(box)[[1, 3, 7, 5], :2], colour, closed=True)
        front = box[:2] + np.array([np.cos(box[6]), np.sin(box[6])]) * box[3] / 2
        self.way(np.stack([box[:2], front]), colour)
        u, v = self._pixel(np.asarray(box[:2])).astype(int).tolist()
        _write(self.canvas, text, (u + 8, v), colour)

    def way(self, xy: Array, colour: tuple[int, int, int]) -> None:
        """A line through (n, 2) places."""
        self._lines(xy, colour, closed=False)

    def _lines(self, xy: Array, colour: tuple[int, int, int], *, closed: bool) -> None:
        cv2.polylines(self.canvas, [self._pixel(xy).astype(int)], closed, colour, 1, cv2.LINE_AA)

    def _pixel(self, xy: Array) -> Array:
        left, ahead = self.aside_m - xy[..., 1], self.ahead_m - xy[..., 0]
        return np.stack([left * self.px_per_m, ahead * self.px_per_m - 8], axis=-1)


def _write(canvas: Array, text: str, at: tuple[int, int], colour: tuple[int, int, int]) -> None:
    if text:
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.36, colour, 1, cv2.LINE_AA)
