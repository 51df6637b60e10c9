"""Reads what `fusion_rt.sim.frames` writes: one .npz a scene, two consecutive frames or more each.

It needs nothing of what made them."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.transforms import Array

POINT_M = 0.004  # points are stored as int16 multiples of this
FRAME_S = 0.1  # between the frames of a scene
LIDAR_HEIGHT_M = 1.73  # the nominal mount: the ego frame's origin is this far below the lidar


@dataclass(frozen=True)
class Frame:
    """One moment, in its own ego frame.

    points (N, 3) float32 m; intensity (N,) float32 0..1; image (H, W, 3) uint8 RGB;
    K (3, 3) and T_camera_ego (4, 4) float64; boxes (M, 9) float32 x y z l w h yaw vx vy;
    cls (M,) int64, -1 ignored; npoints (M,) int64; visible (M,) float32 share seen in the image.
    """

    points: Array
    intensity: Array
    image: Array
    K: Array
    T_camera_ego: Array
    boxes: Array
    cls: Array
    npoints: Array
    visible: Array


@dataclass(frozen=True)
class Scene:
    """Two frames 0.1 s apart and the ego motion between them.

    T_now_previous (4, 4): the previous ego frame in the present one. motion: speed m/s, yaw rate
    rad/s, acceleration m/s^2. earlier: in a longer sequence, the frames before the previous one, oldest
    first, each with T_next_this (4, 4), its ego frame in that of the next.
    """

    now: Frame
    previous: Frame
    T_now_previous: Array
    motion: tuple[float, float, float]
    earlier: tuple[tuple[Frame, Array], ...] = ()

    @property
    def past(self) -> tuple[tuple[Frame, Array], ...]:
        """All frames before the present one as `earlier` has them, oldest first."""
        return *self.earlier, (self.previous, self.T_now_previous)


def read_scene(path: Path) -> Scene:
    """Raises LogError for a file that is cut off, foreign or lacks a key."""
    try:
        with path.open("rb") as file, np.load(file) as data:
            length = max(2, sum(name.startswith("boxes") for name in data.files))
            frames = [_frame(data, k) for k in range(length)]
            motion = (float(data["ego_speed"]), float(data["ego_yaw_rate"]), float(data["ego_accel"]))
            T = [data[f"T_ego{k}_ego{k - 1}"].astype(np.float64) for k in range(1, length)]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise LogError(
            f"{path}: not a training frame ({error}); write it again with `fusion-rt sim frames`"
        ) from error
    return Scene(frames[-1], frames[-2], T[-1], motion, tuple(zip(frames[:-2], T[:-1])))


def _frame(data: Any, k: int) -> Frame:
    image = cv2.imdecode(data[f"image{k}"], cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"image{k} does not decode")
    return Frame(
        points=data[f"points{k}"].astype(np.float32) * np.float32(POINT_M),
        intensity=data[f"intensity{k}"].astype(np.float32) / np.float32(255),
        image=np.ascontiguousarray(image[:, :, ::-1]),
        K=data["K"].astype(np.float64),
        T_camera_ego=data["T_camera_ego"].astype(np.float64),
        boxes=data[f"boxes{k}"].astype(np.float32).reshape(-1, 9),
        cls=data[f"cls{k}"].astype(np.int64).reshape(-1),
        npoints=data[f"npoints{k}"].astype(np.int64).reshape(-1),
        visible=data[f"visible{k}"].astype(np.float32).reshape(-1),
    )
