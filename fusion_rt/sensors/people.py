"""People in an image, and where their bodies' points are: MediaPipe's BlazePose networks, whose files the npm
package `@mediapipe/pose` brings (Apache-2.0), run by OpenVINO.

Sources: Bazarevsky et al., "BlazePose: On-device Real-time Body Pose tracking", 2020; MediaPipe's graphs
pose_detection_cpu.pbtxt, pose_detection_to_roi.pbtxt and pose_landmark_by_roi_cpu.pbtxt (anchors, thresholds,
the region around a person). First a detector finds each person's hips and how large and how turned the whole
body is; then, in a square cut out around it, 33 points are found, of which COCO knows 17.
"""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt import engine
from fusion_rt.errors import ConfigError

DETECTOR = (
    "pose_detection.tflite",
    "pose_solution_packed_assets.data",
)  # the package's name for the same file
LANDMARKS = "pose_landmark_{}.tflite"
VARIANTS = ("lite", "full", "heavy")
PACKAGE = "node_modules/@mediapipe/pose"
HOW = "npm install --prefix ~/.local/share/fusion_rt @mediapipe/pose"

DETECTOR_PX, LANDMARK_PX = 224, 256
STRIDES = ((8, 2), (16, 2), (32, 6))  # of the detector's maps, and anchors a cell
LANDMARKS_OUT, POINTS = 39, 33
# COCO's 17 points in BlazePose's 33: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles
COCO = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)
OVERLAP = 0.3  # of two boxes of one person
REGION = 1.25  # the region's side, by the body's
SEEN = 0.3  # points of this score make the box
MARGIN = 0.1  # the box goes so far beyond them: they lie within the body

Array = NDArray[np.float32]


class People(Struct, frozen=True):
    """boxes (N, 4), scores (N,), keypoints (N, 17, 3) as in a Sight."""

    boxes: Array
    scores: Array
    keypoints: Array


class PeopleFinder:
    """find(pixels) -> People. One thread at a time."""

    def __init__(self, detector: engine.Engine, landmarks: engine.Engine, *, score: float, most: int) -> None:
        self._detector, self._landmarks, self._score, self._most = detector, landmarks, score, most
        self._anchors = anchors()

    @classmethod
    def load(
        cls,
        folder: str | Path | None = None,
        *,
        variant: str = "lite",
        threads: int = 1,
        score: float = 0.5,
        most: int = 4,
    ) -> PeopleFinder:
        """folder: with the package's files; None: looked for where npm puts it.

        score: of a person that is told, most: people in one image. Raises ConfigError, EngineError."""
        detector, landmarks = find_files(folder, variant)
        with TemporaryDirectory(prefix="fusion_rt-") as names:
            named = Path(names) / DETECTOR[0]  # OpenVINO knows a format by the file's name
            named.symlink_to(detector.resolve())
            engines = [engine.load(path, precision="f16", threads=threads) for path in (named, landmarks)]
        return cls(*engines, score=score, most=most)

    def find(self, pixels: NDArray[np.uint8]) -> People:
        """pixels: (h, w, 3) uint8, BGR."""
        found = [self._body(pixels, region) for region in self._regions(pixels)]
        kept = _apart([body for body in found if body is not None])
        if not kept:
            return People(
                np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 17, 3), np.float32)
            )
        boxes, scores, keypoints = zip(*kept)
        return People(np.stack(boxes), np.array(scores, np.float32), np.stack(keypoints))

    def _regions(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float64]]:
        """Of each person the transform (2, 3) from the landmark network's square to the image."""
        height, width = pixels.shape[:2]
        side = max(height, width)
        scale = DETECTOR_PX / side
        left, top = (side - width) / 2, (side - height) / 2
        to_square = np.array([[scale, 0, left * scale], [0, scale, top * scale]])
        square = cv2.warpAffine(pixels, to_square, (DETECTOR_PX, DETECTOR_PX), flags=cv2.INTER_LINEAR)
        _fill(self._detector.inputs, square, -1.0)
        self._detector.run()
        raw, logits = _by_width(self._detector.outputs, 12), _by_width(self._detector.outputs, 1)
        scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -80, 80)))
        likely = np.flatnonzero(scores >= self._score)
        values = raw[likely].reshape(-1, 6, 2) / DETECTOR_PX
        centers = values[:, :1] + self._anchors[likely, None]
        sizes = values[:, 1]
        points = values[:, 2:] + self._anchors[likely, None]
        corners = np.concatenate([centers[:, 0] - sizes / 2, centers[:, 0] + sizes / 2], axis=1)
        chosen = _not_overlapping(corners, scores[likely])[: self._most]
        regions = []
        for i in chosen:
            hips, top_point = (points[i, :2] * side) - (left, top)
            regions.append(_region(hips, top_point))
        return regions

    def _body(
        self, pixels: NDArray[np.uint8], to_image: NDArray[np.float64]
    ) -> tuple[Array, float, Array] | None:
        square = cv2.warpAffine(
            pixels, to_image, (LANDMARK_PX, LANDMARK_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        _fill(self._landmarks.inputs, square, 0.0)
        self._landmarks.run()
        outputs = self._landmarks.outputs
        score = float(_by_width(outputs, 1).reshape(-1)[0])
        if score < self._score:
            return None
        points = _by_width(outputs, LANDMARKS_OUT * 5).reshape(LANDMARKS_OUT, 5)[list(COCO)]
        xy = points[:, :2] @ to_image[:, :2].T + to_image[:, 2]
        visible = 1 / (1 + np.exp(-np.clip(np.minimum(points[:, 3], points[:, 4]), -80, 80)))
        height, width = pixels.shape[:2]
        inside = (xy >= 0).all(axis=1) & (xy < (width, height)).all(axis=1)
        keypoints = np.column_stack([xy, np.where(inside, visible, 0.0)]).astype(np.float32)
        seen = keypoints[keypoints[:, 2] >= SEEN, :2]
        if len(seen) < 2:
            return None
        low, high = seen.min(axis=0), seen.max(axis=0)
        margin = MARGIN * (high - low).max()
        box = np.concatenate([np.maximum(low - margin, 0), np.minimum(high + margin, (width, height))])
        return box.astype(np.float32), score, keypoints


def find_files(folder: str | Path | None, variant: str) -> tuple[Path, Path]:
    """The detector's and the landmark network's file. Raises ConfigError where they are not."""
    if variant not in VARIANTS:
        raise ConfigError(f"variant {variant!r} is not one of {', '.join(VARIANTS)}")
    data = Path.home() / ".local" / "share" / "fusion_rt"
    places = [Path(PACKAGE), data / PACKAGE] if folder is None else [Path(folder).expanduser()]
    for place in places:
        detector = next((place / name for name in DETECTOR if (place / name).is_file()), None)
        landmarks = place / LANDMARKS.format(variant)
        if detector is not None and landmarks.is_file():
            return detector, landmarks
    looked = ", ".join(map(str, places))
    raise ConfigError(
        f"no {LANDMARKS.format(variant)} with {DETECTOR[0]} in {looked}; the npm package has both: {HOW}"
    )


def anchors() -> NDArray[np.float64]:
    """The centres (2254, 2) of the detector's anchors, 0..1."""
    rows = []
    for stride, each in STRIDES:
        n = math.ceil(DETECTOR_PX / stride)
        y, x = np.mgrid[0:n, 0:n]
        cells = (np.stack([x, y], axis=-1).reshape(-1, 2) + 0.5) / n
        rows.append(np.repeat(cells, each, axis=0))
    return np.concatenate(rows)


def _region(hips: NDArray[np.float64], top: NDArray[np.float64]) -> NDArray[np.float64]:
    """The square around the hips, turned so that the body stands: the transform from its pixels to the
    image."""
    dx, dy = top - hips
    half = math.hypot(dx, dy) * REGION
    angle = math.atan2(dx, -dy)  # from the image's up to the body's
    scale = 2 * half / LANDMARK_PX
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * scale
    middle = np.full(2, LANDMARK_PX / 2)
    return np.column_stack([turn, hips - turn @ middle])


def _fill(inputs: Any, square: NDArray[Any], low: float) -> None:
    """Into the network's only input, as RGB between `low` and 1."""
    (target,) = inputs.values()
    np.multiply(square[:, :, ::-1], (1 - low) / 255, out=target[0], dtype=np.float32)
    target += low


def _by_width(outputs: Any, width: int) -> Array:
    """The output whose last axis is so wide, (n, width); the files do not name them."""
    for array in outputs.values():
        if array.shape[-1] == width and array.ndim < 4:
            flat: Array = array.reshape(-1, width)
            return flat
    raise ConfigError(
        f"the network has no output of {width} columns: is it MediaPipe's pose of 2021 or later?"
    )


def _not_overlapping(corners: NDArray[np.float64], scores: NDArray[np.float64]) -> list[int]:
    """Indices by falling score, without those that overlap a better one."""
    kept: list[int] = []
    for i in np.argsort(-scores):
        if all(_iou(corners[i], corners[j]) < OVERLAP for j in kept):
            kept.append(int(i))
    return kept


def _apart(found: list[tuple[Array, float, Array]]) -> list[tuple[Array, float, Array]]:
    """Two regions may have led to one person."""
    kept: list[tuple[Array, float, Array]] = []
    for body in sorted(found, key=lambda body: -body[1]):
        if all(_iou(body[0], other[0]) < 0.7 for other in kept):
            kept.append(body)
    return kept


def _iou(a: NDArray[Any], b: NDArray[Any]) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    union = float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - shared
    return shared / union if union > 0 else 0.0
