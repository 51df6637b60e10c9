"""A rig from what a ROS recording says: static transforms and CameraInfo messages.

Our ego frame lies on the ground below the reference lidar, with the axes of ROS's base frame (REP 103: x
forward, y left, z up). A camera's frame is its optical one (z forward), as CameraInfo's definition asks."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.rig import Camera, Matrix, Pose
from fusion_rt.transforms import Array, from_rotation_translation, inverse, matrix_from_quaternion

GROUND = "base_footprint"  # REP 120: on the floor
BASES = (GROUND, "base_link", "ego", "base", "vehicle")  # looked for in this order
# OpenCV's and ROS's pixels have their centres at whole numbers, ours at halves.
PIXEL_CENTRE = 0.5


class Frames:
    """Fixed transforms between named frames; those of a tree, given in any order."""

    def __init__(self) -> None:
        self._next: dict[str, dict[str, Array]] = {}

    def __contains__(self, frame: str) -> bool:
        return plain(frame) in self._next

    def __iter__(self) -> Any:
        return iter(self._next)

    def add(self, message: Any) -> None:
        """A geometry_msgs/TransformStamped; the first of a pair counts. Not finite: left out."""
        parent, child = plain(message.header.frame_id), plain(message.child_frame_id)
        T = _matrix(message.transform.translation, message.transform.rotation)
        if T is None or child in self._next.get(parent, {}):
            return
        self._next.setdefault(parent, {})[child] = T
        self._next.setdefault(child, {})[parent] = inverse(T)

    def find(self, target: str, source: str) -> Array | None:
        """T_target_source (4, 4) along the tree; None where nothing joins them."""
        target, source = plain(target), plain(source)
        waiting, seen = deque([(target, np.eye(4))]), {target}
        while waiting:
            frame, T_target_frame = waiting.popleft()
            if frame == source:
                return T_target_frame
            for other, T_frame_other in self._next.get(frame, {}).items():
                if other not in seen:
                    seen.add(other)
                    waiting.append((other, T_target_frame @ T_frame_other))
        return None


class Intrinsics(Struct, frozen=True):
    """What a CameraInfo says: K in our pixels, the distortion, and T_optical_image (4, 4): a rectified image
    is that of a camera turned a little."""

    K: Matrix
    distortion: tuple[float, float, float, float, float]
    T_optical_image: Array


def intrinsics(info: Any, *, width: int, height: int, rectified: bool, where: str) -> Intrinsics:
    """Of an image of this size; `rectified`: by P and R, as image_rect topics are. Raises LogError."""
    bin_x, bin_y = max(int(info.binning_x), 1), max(int(info.binning_y), 1)
    roi = info.roi
    left, top = int(roi.x_offset), int(roi.y_offset)
    full = (int(roi.width) or int(info.width), int(roi.height) or int(info.height))
    if full[0] and (full[0] // bin_x, full[1] // bin_y) != (width, height):
        raise LogError(
            f"{where}: calibrated at {full[0] // bin_x} x {full[1] // bin_y} px, the images have {width} x"
            f" {height}: scaled or cut after the calibration? Give the right one with --rig RIG.yaml"
        )
    K = _numbers(info, "P" if rectified else "K").reshape(3, -1)[:, :3].copy()
    if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise LogError(
            f"{where}: not calibrated: focal lengths {K[0, 0]:g}, {K[1, 1]:g} px;"
            " give the sensors with --rig RIG.yaml"
        )
    K[0, 2] -= left
    K[1, 2] -= top
    K = np.diag([1 / bin_x, 1 / bin_y, 1.0]) @ K
    K[:2, 2] += PIXEL_CENTRE
    R = _numbers(info, "R").reshape(3, 3)
    turned = rectified and abs(np.linalg.det(R) - 1.0) < 1e-3  # all zeros where the camera is alone
    return Intrinsics(
        K=tuple(tuple(float(v) for v in row) for row in K),
        distortion=(0.0,) * 5 if rectified else _distortion(info, where),  # type: ignore[arg-type]
        T_optical_image=from_rotation_translation(R.T if turned else np.eye(3), np.zeros(3)),
    )


def camera(found: Intrinsics, T_ego_optical: Array, width: int, height: int) -> Camera:
    """The rig's camera."""
    return Camera(
        width=width,
        height=height,
        K=found.K,
        distortion=found.distortion,
        pose=Pose.from_matrix(T_ego_optical @ found.T_optical_image),
    )


def ego_from_base(T_base_lidar: Array | None, height_m: float | None) -> Array:
    """T_ego_base: below the lidar, which is `height_m` above the ground (None: the base's origin is)."""
    if T_base_lidar is None:
        return np.eye(4)
    x, y, z = T_base_lidar[:3, 3]
    up = 0.0 if height_m is None else height_m - z
    return from_rotation_translation(np.eye(3), np.array([-x, -y, up]))


def plain(frame: str) -> str:
    """Without the slash that ROS 1's old tf put before it."""
    return frame.lstrip("/")


def _numbers(info: Any, name: str) -> Array:
    """D, K, R or P: ROS 2 names them in small letters."""
    return np.array(getattr(info, name if hasattr(info, name) else name.lower()), np.float64)


def _distortion(info: Any, where: str) -> tuple[float, ...]:
    """k1 k2 p1 p2 k3. Raises LogError for models that the rig cannot say."""
    D = _numbers(info, "D")
    model = info.distortion_model
    rational = model == "rational_polynomial" and not np.any(D[5:])
    if not D.size or not np.any(D) or model in ("plumb_bob", "") or rational:
        padded = np.zeros(5)
        padded[: min(D.size, 5)] = D[:5]
        if np.isfinite(padded).all():
            return tuple(float(v) for v in padded)
    raise LogError(
        f"{where}: distortion model {model!r} with {D.size} numbers; the rig holds plumb_bob's k1 k2 p1 p2"
        " k3: choose the rectified topic (image_rect) or give --rig RIG.yaml"
    )


def _matrix(translation: Any, rotation: Any) -> Array | None:
    q = np.array([rotation.x, rotation.y, rotation.z, rotation.w], np.float64)
    t = np.array([translation.x, translation.y, translation.z], np.float64)
    norm = np.linalg.norm(q)
    if not np.isfinite(t).all() or not np.isfinite(norm) or norm < 1e-6:
        return None
    return from_rotation_translation(matrix_from_quaternion(q), t)
