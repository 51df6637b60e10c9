"""The rig: which sensors there are, how they see, and where they sit on the vehicle.

The `ego` frame is x forward, y left, z up with its origin on the ground below the reference lidar, so z is
height above the ground. One YAML file describes a rig; every extrinsic is written as the pose of the
sensor in the ego frame, `T_ego_sensor`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import yaml
from msgspec import Meta, Struct

from fusion_rt import config
from fusion_rt.errors import RigError
from fusion_rt.messages import Vec3
from fusion_rt.transforms import Array, from_translation_rpy, inverse, rpy_from_matrix

Matrix = tuple[tuple[float, ...], ...]


class Pose(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sensor's frame in the ego frame.

    translation  x, y, z, m
    rpy_deg      roll, pitch, yaw in degrees, R = Rz(yaw) Ry(pitch) Rx(roll)
    """

    translation: Vec3 = (0.0, 0.0, 0.0)
    rpy_deg: Vec3 = (0.0, 0.0, 0.0)

    @classmethod
    def from_matrix(cls, T_ego_sensor: Array) -> Pose:
        """The nearest pose; exact for a rigid (4, 4) matrix to float64 rounding."""
        x, y, z = (float(v) for v in T_ego_sensor[:3, 3])
        roll, pitch, yaw = (math.degrees(a) for a in rpy_from_matrix(T_ego_sensor[:3, :3]))
        return cls(translation=(x, y, z), rpy_deg=(roll, pitch, yaw))

    @property
    def matrix(self) -> Array:
        """T_ego_sensor, (4, 4) float64."""
        return from_translation_rpy(self.translation, tuple(math.radians(a) for a in self.rpy_deg))


class Camera(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A pinhole camera; its frame is x right, y down, z forward.

    K           3 x 3, px; the centre of pixel (column i, row j) is (i + 0.5, j + 0.5)
    distortion  k1, k2, p1, p2, k3 of the Brown-Conrady model
    pose        of the optical frame in the ego frame
    """

    width: int
    height: int
    K: Matrix
    pose: Pose
    distortion: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, px."""
        return self.width, self.height

    @property
    def intrinsics(self) -> Array:
        """K as (3, 3) float64."""
        return np.array(self.K, dtype=np.float64)

    @property
    def T_camera_ego(self) -> Array:
        """(4, 4) float64."""
        return inverse(self.pose.matrix)


class Lidar(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A source of points: spinning lidar, depth camera, radar."""

    pose: Pose

    @property
    def T_ego_lidar(self) -> Array:
        """(4, 4) float64."""
        return self.pose.matrix


class Gnss(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A GNSS receiver; lever_arm is the antenna in the ego frame, m."""

    lever_arm: Vec3 = (0.0, 0.0, 0.0)


class Imu(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An inertial measurement unit."""

    pose: Pose = Pose()

    @property
    def T_ego_imu(self) -> Array:
        """(4, 4) float64."""
        return self.pose.matrix


class Wheels(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The vehicle's wheels, where they tell their speed. scale: what it is to be multiplied by, as far as is
    known; the ego filter learns the rest while there are fixes."""

    scale: Annotated[float, Meta(gt=0)] = 1.0


class Vehicle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The ego vehicle's footprint in the ego frame, m: for time to collision, and no object stands in it.
    A sensor on a pole has none: all zero."""

    front_m: Annotated[float, Meta(ge=0)] = 2.7
    rear_m: Annotated[float, Meta(ge=0)] = 1.8
    width_m: Annotated[float, Meta(ge=0)] = 1.9

    def covers(self, boxes: Array) -> Array:
        """(n,) bool: whether the middles of boxes (n, 2 or more: x, y ...) lie in the footprint."""
        x, y = boxes[:, 0], boxes[:, 1]
        inside: Array = (x < self.front_m) & (x > -self.rear_m) & (abs(y) < self.width_m / 2)
        return inside


class Rig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All sensors of one vehicle (or home), by sensor_id."""

    cameras: dict[str, Camera] = {}
    lidars: dict[str, Lidar] = {}
    gnss: dict[str, Gnss] = {}
    imus: dict[str, Imu] = {}
    wheels: dict[str, Wheels] = {}
    vehicle: Vehicle = Vehicle()

    @classmethod
    def from_yaml(cls, text: str, source: str = "rig") -> Rig:
        """The rig of a YAML text; `source` names it in errors. Raises RigError or ConfigError."""
        rig = config.parse(text, cls, source)
        rig.check(source)
        return rig

    @classmethod
    def load(cls, path: str | Path) -> Rig:
        """The rig of a YAML file. Raises RigError or ConfigError."""
        rig = config.load(path, cls)
        rig.check(str(path))
        return rig

    def to_yaml(self) -> str:
        """YAML that `from_yaml` reads back to an equal rig."""
        return yaml.safe_dump(_plain(msgspec.to_builtins(self)), sort_keys=False, default_flow_style=None)

    def check(self, source: str) -> None:
        """Raises RigError at the first thing that cannot be right."""
        modalities = self.modalities()
        expected = sum(len(d) for d in (self.cameras, self.lidars, self.gnss, self.imus, self.wheels))
        if len(modalities) != expected:
            raise RigError(f"{source}: two sensors have one name; each sensor_id must be unique")
        for name, camera in self.cameras.items():
            where = f"{source}: cameras.{name}"
            if [len(row) for row in camera.K] != [3, 3, 3]:
                raise RigError(f"{where}.K: expected 3 rows of 3 numbers")
            K = camera.intrinsics
            if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
                raise RigError(f"{where}.K: focal lengths are {K[0, 0]:g}, {K[1, 1]:g} px, expected positive")
            for i, (axis, size) in enumerate((("cx", camera.width), ("cy", camera.height))):
                if not 0 < K[i, 2] < size:
                    raise RigError(
                        f"{where}.K: {axis} is {K[i, 2]:.0f} px in an image of {size} px;"
                        " was K made at another resolution?"
                    )

    def modalities(self) -> dict[str, str]:
        """sensor_id -> "camera", "lidar", "gnss", "imu" or "wheels"."""
        kinds: dict[str, dict[str, Any]] = {
            "camera": self.cameras,
            "lidar": self.lidars,
            "gnss": self.gnss,
            "imu": self.imus,
            "wheels": self.wheels,
        }
        return {sensor_id: kind for kind, sensors in kinds.items() for sensor_id in sensors}


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML has no tuples."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
