"""Whether two engines see the same: the boxes of one held against those of another on recorded frames.

Tensors tell little: an error of 1 % may be a box that is 1 cm off, or one that is gone. So the whole of
perception looks with both, and boxes are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np
from msgspec import Struct

from fusion_rt import logs
from fusion_rt.messages import Image, PointCloud
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View
from fusion_rt.rig import Rig
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array

DRIVE = Path(__file__).parent / "data" / "drive.mcap"
FRAMES = 6
SURE = 0.15  # a box is missed only if its score was that far above the smallest worth showing
SAME_M = 1.0  # further apart they are two objects
# An axis that the reference doubts as much (all the same of any would be 0.9) turns with the last bit.
DOUBTED_YAW_RAD = 0.5
_STANDING = np.eye(2, 3, dtype=np.float32)


class Tolerance(Struct, frozen=True, kw_only=True):
    """How far the same box may be off between two engines, at most; yaw of boxes whose axis is known."""

    position_m: float
    size: float  # share of a length
    yaw_rad: float
    score: float


# Between CPU runtimes half precision is off by 3 mm; eight bits, rounded at other places, by 23 mm.
TOLERANCE = {
    "f32": Tolerance(position_m=0.01, size=0.005, yaw_rad=0.01, score=0.01),
    "f16": Tolerance(position_m=0.03, size=0.02, yaw_rad=0.03, score=0.02),
    "int8": Tolerance(position_m=0.15, size=0.15, yaw_rad=0.20, score=0.20),
}


class Agreement(Struct, frozen=True, kw_only=True):
    """What the comparison found: the largest differences of `boxes` pairs, and sure boxes that only one has.

    reason: why they are not the same; "" where they are."""

    frames: int
    boxes: int
    missed: int
    added: int
    position_m: float
    size: float
    yaw_rad: float
    score: float
    reason: str = ""


class Frame(Struct, frozen=True):
    """A sweep and an image of one moment."""

    cloud: PointCloud
    image: Image


def bundled_frames(count: int = FRAMES) -> tuple[Rig, list[Frame]]:
    """The first sweeps of the drive that ships, each with the image before it."""
    frames: list[Frame] = []
    image: Image | None = None
    with logs.open(DRIVE) as log:
        for packet in islice(log, 100 * count):
            if isinstance(packet, Image):
                image = packet
            elif isinstance(packet, PointCloud) and image is not None:
                frames.append(Frame(packet, image))
            if len(frames) == count:
                break
        return log.rig, frames


def look(perception: Perception, rig: Rig, frames: Sequence[Frame]) -> list[Detections]:
    """What perception finds in each, remembering the one before. Raises EngineError."""
    found, zero = [], np.zeros(1, np.float32)
    for k, frame in enumerate(frames):
        camera = rig.cameras[frame.image.header.sensor_id]
        T_ego_lidar = rig.lidars[frame.cloud.header.sensor_id].T_ego_lidar
        view = View(perception.see(frame.image, camera), camera.T_camera_ego)
        sweep = Sweep(frame.cloud, zero, T_ego_lidar[None, :3].astype(np.float32))
        motion = Motion(known=True, T_prev_now=_STANDING if k else None, since_prev_s=0.1 if k else 0.0)
        found.append(perception.detect([sweep], [view], motion).detections)
    return found


def compare(
    reference: Sequence[Detections],
    candidate: Sequence[Detections],
    thresholds: Sequence[float],
    tolerance: Tolerance,
) -> Agreement:
    """Boxes of a class that are nearest each other and worth showing, and sure ones that have no other.

    thresholds: the smallest score worth showing, by class."""
    pairs: list[Array] = []
    missed = added = 0
    shown = np.asarray(thresholds)
    for ours, theirs in zip(reference, candidate, strict=True):
        matched = _matches(ours, theirs)
        worth = [(i, j) for i, j in matched if _score(ours, i) >= shown[ours.labels[i]]]
        pairs += [_differences(ours, i, theirs, j) for i, j in worth]
        missed += _sure_alone(ours, {i for i, _ in matched}, shown)
        added += _sure_alone(theirs, {j for _, j in matched}, shown)
    worst = np.max(pairs, axis=0) if pairs else np.zeros(4)
    position_m, size, yaw_rad, score = worst.tolist()
    wrong = []
    if not pairs and not missed:
        wrong.append("the reference finds nothing to compare")
    if missed or added:
        wrong.append(f"{missed} sure boxes are missing and {added} are new")
    for name, value in (("position_m", position_m), ("size", size), ("yaw_rad", yaw_rad), ("score", score)):
        if not value <= getattr(tolerance, name):  # NaN is not
            wrong.append(f"{name} is off by {value:.3f}, {getattr(tolerance, name):g} is allowed")
    return Agreement(
        frames=len(reference),
        boxes=len(pairs),
        missed=missed,
        added=added,
        position_m=position_m,
        size=size,
        yaw_rad=yaw_rad,
        score=score,
        reason="; ".join(wrong),
    )


def self_test(reference: Perception, candidate: Perception, *, held: str) -> Agreement:
    """Both look at the bundled drive; held: the candidate's precision, which says how far it may be off.
    Raises EngineError where one cannot look."""
    rig, frames = bundled_frames()
    thresholds = [reference.spec.score_thresholds[label] for label in reference.spec.classes]
    ours, theirs = look(reference, rig, frames), look(candidate, rig, frames)
    return compare(ours, theirs, thresholds, TOLERANCE[held])


def _matches(ours: Detections, theirs: Detections) -> list[tuple[int, int]]:
    """Of one class, nearest first, each once."""
    apart = np.linalg.norm(ours.boxes[:, None, :2] - theirs.boxes[None, :, :2], axis=2)
    near = np.where(ours.labels[:, None] == theirs.labels[None], apart, np.inf)
    pairs: list[tuple[int, int]] = []
    for flat in near.ravel().argsort(kind="stable").tolist():
        i, j = divmod(flat, near.shape[1])
        if not near[i, j] < SAME_M:
            break
        if all(i != a and j != b for a, b in pairs):
            pairs.append((i, j))
    return pairs


def _differences(ours: Detections, i: int, theirs: Detections, j: int) -> Array:
    """(4,) position, size, yaw, score."""
    a, b = ours.boxes[i].astype(np.float64), theirs.boxes[j].astype(np.float64)
    known = ours.std[i, 4] < DOUBTED_YAW_RAD
    turned = abs((b[6] - a[6] + np.pi) % (2 * np.pi) - np.pi) if known else 0.0
    return np.array(
        [
            np.linalg.norm(a[:3] - b[:3]),
            np.abs(b[3:6] / a[3:6] - 1).max(),
            turned,
            abs(_score(ours, i) - _score(theirs, j)),
        ]
    )


def _score(found: Detections, i: int) -> float:
    return float(found.scores[i, found.labels[i]])


def _sure_alone(found: Detections, matched: set[int], shown: Array) -> int:
    return sum(
        bool(i not in matched and _score(found, i) > shown[found.labels[i]] + SURE)
        for i in range(len(found.boxes))
    )
