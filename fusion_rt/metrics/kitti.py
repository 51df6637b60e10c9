"""What counts in a KITTI frame, by the rules of its development kit (evaluate_object.cpp, cleanData).

DontCare regions have no box in space, so the kit lets them excuse detections in the image alone; average
precision here is the same. At the working point, where a false alarm should be one, they excuse: see
`sheltered`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from fusion_rt.logs.kitti_object import Label
from fusion_rt.metrics.matching import FrameBoxes
from fusion_rt.transforms import Array

NEIGHBOURS = {"car": "van", "pedestrian": "person_sitting"}  # too alike to be held against a detector
SHELTER = 0.5  # share of a detection's 2D box in a DontCare region from which it is excused


class Difficulty(Struct, frozen=True):
    """Objects beyond these limits are ignored: height of the 2D box px, occlusion class, truncated share."""

    name: str
    min_height_px: float
    max_occlusion: int
    max_truncation: float


DIFFICULTIES = (
    Difficulty("easy", 40, 0, 0.15),
    Difficulty("moderate", 25, 1, 0.30),
    Difficulty("hard", 25, 2, 0.50),
)


def frame_boxes(
    truth: Sequence[Label], found: Sequence[Label], *, label: str, difficulty: Difficulty
) -> FrameBoxes:
    """The objects and detections of one class, lower case, that take part; detections have scores."""
    kinds = (label, NEIGHBOURS.get(label))
    wanted = [t for t in truth if t.type.lower() in kinds]
    small = [_height_px(f) < difficulty.min_height_px for f in found]
    # As in the kit, a detection of any class that is too small to count may be taken by an object.
    taking_part = [(f, s) for f, s in zip(found, small) if s or f.type.lower() == label]
    shown = [f for f, _ in taking_part]
    regions = [t.bbox for t in truth if t.type.lower() == "dontcare"]
    return FrameBoxes(
        truth=boxes(wanted),
        truth_ignored=np.array([t.type.lower() != label or too_hard(t, difficulty) for t in wanted], bool),
        found=boxes(shown),
        scores=np.array([f.score for f in shown], np.float64),
        found_ignored=np.array([s for _, s in taking_part], bool),
        sheltered=np.array([any(share_in(f.bbox, r) > SHELTER for r in regions) for f in shown], bool),
    )


def boxes(labels: Sequence[Label]) -> Array:
    """(n, 7) x y z l w h yaw in the camera's axes renamed: x forward, y left, z up."""
    rows = [
        (
            t.location[2],
            -t.location[0],
            t.size[0] / 2 - t.location[1],
            *t.size[::-1],
            -t.rotation_y - np.pi / 2,
        )
        for t in labels
    ]
    return np.array(rows, np.float64).reshape(-1, 7)


def _height_px(label: Label) -> float:
    return abs(label.bbox[3] - label.bbox[1])


def too_hard(label: Label, difficulty: Difficulty) -> bool:
    """Whether an object is beyond its limits."""
    return (
        label.occluded > difficulty.max_occlusion
        or label.truncated > difficulty.max_truncation
        or _height_px(label) <= difficulty.min_height_px
    )


def share_in(box: tuple[float, ...], region: tuple[float, ...]) -> float:
    """Share of a 2D box's area inside a region."""
    width = min(box[2], region[2]) - max(box[0], region[0])
    height = min(box[3], region[3]) - max(box[1], region[1])
    area = (box[2] - box[0]) * (box[3] - box[1])
    return max(width, 0.0) * max(height, 0.0) / area if area > 0 else 0.0
