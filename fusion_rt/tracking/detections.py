"""What a tracker is given."""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from fusion_rt.errors import MessageError
from fusion_rt.tracking import core
from fusion_rt.transforms import Array

_LEAST, _MOST = 0.02, 0.98


class Detections(Struct, frozen=True, kw_only=True):
    """The boxes of one moment, in the ego frame.

    boxes          (n, 7) x y z l w h yaw
    velocity       (n, 2) over ground along ego axes, m/s
    velocity_known (n,) bool, whether a box's velocity means anything: it needs two moments
    scores         (n, classes) probability of each class
    labels         (n,) int, the class each box was decoded as
    std            (n, 5) one standard deviation of x, y, z (m), size (share), yaw (rad)
    contributions  (n, modalities) shares of the evidence
    """

    boxes: Array
    velocity: Array
    scores: Array
    labels: Array
    std: Array
    contributions: Array
    velocity_known: Array

    def __post_init__(self) -> None:
        n = len(self.boxes)
        wanted = {"boxes": (n, 7), "velocity": (n, 2), "labels": (n,), "std": (n, 5), "velocity_known": (n,)}
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise MessageError(f"detections.{name} is {getattr(self, name).shape}, expected {shape}")
        for name in ("scores", "contributions"):
            if getattr(self, name).shape[:1] != (n,):
                raise MessageError(f"detections.{name} has {len(getattr(self, name))} rows, expected {n}")

    def where(self, keep: Array) -> Detections:
        """Those that a mask or an index names."""
        return Detections(
            boxes=self.boxes[keep],
            velocity=self.velocity[keep],
            scores=self.scores[keep],
            labels=self.labels[keep],
            std=self.std[keep],
            contributions=self.contributions[keep],
            velocity_known=self.velocity_known[keep],
        )

    def pack(self, out: Array) -> None:
        """Into out (n, 16 + classes + modalities) float64: `struct Box` of tracks.h and what follows it."""
        known, labels = self.velocity_known[:, None], self.labels[:, None]
        columns = (self.boxes, self.velocity, self.std, known, labels, self.scores, self.contributions)
        np.concatenate(columns, axis=1, out=out)

    @property
    def finite(self) -> Array:
        """(n,) bool: all numbers finite, sizes positive."""
        more = self.scores.shape[1] + self.contributions.shape[1]
        boxes = np.empty((len(self.boxes), core.BOX_NUMBERS + more))
        self.pack(boxes)
        return core.finite(boxes)


def no_certainty(scores: Array) -> Array:
    """The scores away from 0 and 1: no single box decides a class."""
    return np.minimum(np.maximum(scores, _LEAST), _MOST)
