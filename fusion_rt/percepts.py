"""What perception is given and what it gives back."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from fusion_rt.messages import PointCloud
from fusion_rt.tracking.detections import Detections
from fusion_rt.transforms import Array


class ImageFeatures(Struct, frozen=True, eq=False):
    """An encoded image, waiting for the trigger.

    features  (h, w, C) float32, a buffer of the device
    K         (3, 3) float64: camera ray -> feature pixel
    P         (3, 4) float32: ego frame at the image -> feature pixel
    """

    features: Any
    K: Array
    P: Array


class View(Struct, frozen=True):
    """Image features and where their camera was: T_camera(at the image)_ego(at the answer), (4, 4)."""

    image: ImageFeatures
    T_camera_ego: Array


class Sweep(Struct, frozen=True):
    """A point cloud and the motion to undo.

    knots_t  (K,) float32, seconds after the cloud's stamp, increasing
    knots_T  (K, 3, 4) float32, T_ego(at the answer)_lidar(at the knot)
    """

    cloud: PointCloud
    knots_t: Array
    knots_T: Array


class Motion(Struct, frozen=True, kw_only=True):
    """The ego vehicle's motion, for the network's context and memory.

    known          whether it was measured; all else is zero if not
    T_prev_now     (2, 3): present ego x, y -> ego x, y at the previous answer; None: no memory
    since_prev_s   between the two answers
    """

    known: bool = False
    speed: float = 0.0
    yaw_rate: float = 0.0
    acceleration: float = 0.0
    T_prev_now: Array | None = None
    since_prev_s: float = 0.0


class FirstLook(Struct, frozen=True):
    """What the second look is given, for whoever wants to teach it: rows (n, 16) as decoded, the fused
    features (ny, nx, F), those of images (cameras, h, w, C) and their P (cameras, 3, 4), ego m -> feature px,
    zero where there is none, and the points (N, 3) with their intensity (N,), all float32 in the ego frame.
    """

    rows: Array
    features: Array
    views: Array
    P: Array
    xyz: Array
    intensity: Array


class Explanation(Struct, frozen=True):
    """Why the first answers are there.

    rows     (n, 16) as decoded
    shares   (n, 3) of lidar, camera, memory: the estimate that every detection bears, summing to 1
    drops    (n, 3) by how much the logit of each falls where that modality is absent
    heatmap  (classes, ny, nx) probabilities
    """

    rows: Array
    shares: Array
    drops: Array
    heatmap: Array


class Perceived(Struct, frozen=True):
    """What the network found, how many points it was given, and what was left out, by cause."""

    detections: Detections
    points_in: int
    points_dropped: dict[str, int]
    boxes_dropped: dict[str, int]
