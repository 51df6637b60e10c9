"""The rows of an evaluation: which sensors the network is given."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from fusion_rt.evaluation.gains import OTHER
from fusion_rt.messages import PointCloud
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array


class Subset(Struct, frozen=True):
    """Sensors that are switched on."""

    name: str
    lidar: bool
    camera: bool


SUBSETS = (
    Subset("lidar+camera", lidar=True, camera=True),
    Subset("lidar", lidar=True, camera=False),
    Subset("camera", lidar=False, camera=True),
)
# Sets of sensors of which the first should find more than the second.
GAINS = (("lidar+camera", "lidar"), ("lidar+camera", OTHER))


def detect(
    perception: Perception, subset: Subset, *, sweeps: Sequence[Sweep], views: Sequence[View], motion: Motion
) -> Detections:
    """What is found with these sensors alone, in the ego frame; numbers that are none are left out."""
    perceived = perception.detect(
        sweeps if subset.lidar else (), views if subset.camera else (), motion
    ).detections
    return perceived.where(perceived.finite)


def own_scores(detections: Detections) -> Array:
    """(n,) score of each detection as the class it was decoded as."""
    n = np.arange(len(detections.labels))
    scores: Array = detections.scores[n, detections.labels].astype(np.float64)
    return scores


def still(cloud: PointCloud, T_ego_lidar: Array) -> Sweep:
    """A sweep of a vehicle that stands, or whose motion was already undone or is not known."""
    return Sweep(cloud, np.zeros(1, np.float32), T_ego_lidar[None, :3].astype(np.float32))
