"""The plan of a home: rooms, the ways between them, sensors and devices. What a rig is to a vehicle.

The home frame is x east along the plan, y north, z up from the floor, m. A sensor's frame is x forward,
y left, z up; its pose is `T_home_sensor`. An optical frame (camera) is x right, y down, z forward.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
import numpy as np
import yaml
from msgspec import Meta, Struct

from fusion_rt import config
from fusion_rt.errors import RigError
from fusion_rt.header import Vec2
from fusion_rt.home_packets import READINGS
from fusion_rt.rig import Matrix, Pose
from fusion_rt.transforms import Array

SLUG = re.compile(r"[a-z0-9_]{1,64}")
OUTSIDE = "outside"
# What senses, other than by single readings.
SPATIAL = ("camera", "radar", "microphone", "imu")
Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=86400)]
SensorKind = Literal[
    "motion",
    "contact",
    "presence",
    "button",
    "smoke",
    "temperature",
    "humidity",
    "humidity_ratio",
    "co2",
    "illuminance",
    "power",
    "energy",
    "sound_level",
    "distance",
    "camera",
    "radar",
    "microphone",
    "imu",
]


class Room(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A room.

    name      for people
    polygon   corners x, y, m, in either sense; no two edges cross
    height_m  of the ceiling
    hold_s    how long nobody must be believed in it before `occupied` ends
    absent_s  how long, where nobody was seen leaving; no more than 20 s where a radar or camera looks
    raw       images and sounds of this room may leave their process (privacy)
    """

    name: str
    polygon: tuple[Vec2, ...]
    height_m: Annotated[float, Meta(gt=1, lt=20)] = 2.5
    hold_s: Seconds = 10.0
    absent_s: Seconds = 30.0
    raw: bool = False

    @property
    def corners(self) -> Array:
        """(N, 2) float64, m."""
        return np.array(self.polygon, dtype=np.float64)


class Door(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A way between two rooms, or between a room and "outside".

    rooms    the two; at: the ends of the opening, x, y, m
    contact  the sensor that tells whether it is open; "": always open
    """

    rooms: tuple[str, str]
    at: tuple[Vec2, Vec2]
    contact: str = ""


class Sensor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sensor, by its sensor_id.

    kind      what it measures: the kinds of readings, or camera, radar, microphone, imu
    room      where it is; for an imu: the person that wears it, or ""
    pose      T_home_sensor; needed for camera, radar and motion
    fov_deg   width of what a radar or a motion sensor sees, range_m: how far
    width, height, K  of a camera's image, px
    period_s  how often it tells at least; older readings are stale after three times that. None: only on
    change
    """

    kind: SensorKind
    room: str
    pose: Pose = Pose()
    fov_deg: Annotated[float, Meta(gt=0, le=360)] = 120.0
    range_m: Annotated[float, Meta(gt=0, le=100)] = 8.0
    width: int = 0
    height: int = 0
    K: Matrix = ()
    period_s: Seconds | None = None

    @property
    def T_home_sensor(self) -> Array:
        """(4, 4) float64."""
        return self.pose.matrix

    @property
    def intrinsics(self) -> Array:
        """A camera's K as (3, 3) float64."""
        return np.array(self.K, dtype=np.float64)


class Device(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that obeys.

    kind    what it is
    name    what people call it: "ceiling light"
    topic   of the broker, where commands for it go; "": it cannot be controlled by MQTT
    """

    kind: Literal["light", "switch", "fan", "cover", "media", "lock", "alarm", "heater", "coffee_maker"]
    room: str
    name: str
    topic: str = ""

    @property
    def safety(self) -> bool:
        """Whether a mistake can hurt: only where the configuration says so explicitly."""
        return self.kind in ("lock", "alarm", "heater")


class Plan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of one home. `site`: a slug, part of every MQTT topic."""

    site: str = "home"
    rooms: dict[str, Room]
    doors: dict[str, Door] = {}
    sensors: dict[str, Sensor] = {}
    devices: dict[str, Device] = {}

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """The plan of a YAML file. Raises RigError or ConfigError."""
        plan = config.load(path, cls)
        plan.check(str(path))
        return plan

    @classmethod
    def from_yaml(cls, text: str, source: str = "plan") -> Plan:
        """The plan of a YAML text; `source` names it in errors. Raises RigError or ConfigError."""
        plan = config.parse(text, cls, source)
        plan.check(source)
        return plan

    def to_yaml(self) -> str:
        """What `from_yaml` makes the same plan of."""
        return yaml.safe_dump(msgspec.to_builtins(self), sort_keys=False, allow_unicode=True)

    def check(self, source: str) -> None:
        """Raises RigError at the first thing that cannot be right."""
        if not self.rooms:
            raise RigError(f"{source}: rooms: a home has at least one")
        for part in ("rooms", "doors", "sensors", "devices"):
            for slug in getattr(self, part):
                if not SLUG.fullmatch(slug):
                    raise RigError(f"{source}: {part}.{slug}: use small letters, digits and '_' for a name")
        if not SLUG.fullmatch(self.site):
            raise RigError(f"{source}: site: {self.site!r}: use small letters, digits and '_'")
        if OUTSIDE in self.rooms:
            raise RigError(f"{source}: rooms.{OUTSIDE}: the name of what is no room")
        for slug, room in self.rooms.items():
            _check_polygon(room.corners, f"{source}: rooms.{slug}.polygon")
        for slug, door in self.doors.items():
            for name in door.rooms:
                self._known(name, f"{source}: doors.{slug}.rooms", also=OUTSIDE)
            if door.contact and door.contact not in self.sensors:
                raise RigError(f"{source}: doors.{slug}.contact: no sensor {door.contact!r}")
        for slug, sensor in self.sensors.items():
            where = f"{source}: sensors.{slug}"
            if sensor.kind != "imu":
                self._known(sensor.room, f"{where}.room", also=OUTSIDE)
            if sensor.kind == "camera":
                _check_camera(sensor, where)
        for slug, device in self.devices.items():
            self._known(device.room, f"{source}: devices.{slug}.room")

    def room_at(self, x: float, y: float) -> str:
        """The room that holds a point of the home frame; "" where none does. A point on a common wall is in
        the first."""
        for slug, room in self.rooms.items():
            if inside(room.corners, np.array([[x, y]]))[0]:
                return slug
        return ""

    def modalities(self) -> dict[str, str]:
        """sensor_id -> its kind."""
        return {slug: sensor.kind for slug, sensor in self.sensors.items()}

    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max of all rooms, m."""
        corners = np.concatenate([room.corners for room in self.rooms.values()])
        (x0, y0), (x1, y1) = corners.min(axis=0), corners.max(axis=0)
        return float(x0), float(y0), float(x1), float(y1)

    def _known(self, room: str, where: str, also: str = "") -> None:
        if room not in self.rooms and (not also or room != also):
            raise RigError(f"{where}: no room {room!r}; there are {', '.join(self.rooms)}")


def inside(corners: Array, points: Array) -> Array:
    """Which points (M, 2) lie in the polygon (N, 2): (M,) bool, by the crossings of a ray to the east. A
    point on an edge may be either."""
    x, y = points[:, :1], points[:, 1:]
    x0, y0 = corners[:, 0], corners[:, 1]
    x1, y1 = np.roll(x0, -1), np.roll(y0, -1)
    spans = (y0 > y) != (y1 > y)
    rise = np.where(y1 == y0, 1.0, y1 - y0)
    crosses = spans & (x < x0 + (y - y0) / rise * (x1 - x0))
    odd: Array = crosses.sum(axis=1) % 2 == 1
    return odd


def unit_of(kind: str) -> str:
    """The unit of a kind of reading; "" for those without one."""
    return READINGS.get(kind, "")


def _check_polygon(corners: Array, where: str) -> None:
    if len(corners) < 3 or not np.isfinite(corners).all():
        raise RigError(f"{where}: expected three corners or more, finite numbers of metres")
    x, y = corners.T
    area = 0.5 * abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))))
    if area < 0.25:
        raise RigError(f"{where}: its area is {area:.2f} m^2; are the corners in order, and in metres?")
    edges = list(zip(corners, np.roll(corners, -1, axis=0)))
    for i, first in enumerate(edges):
        for second in edges[i + 2 : len(edges) - (i == 0)]:
            if _cross(*first, *second):
                raise RigError(f"{where}: two of its edges cross; name the corners in order around the room")


def _cross(a: Array, b: Array, c: Array, d: Array) -> bool:
    def side(p: Array, q: Array, r: Array) -> float:
        return float((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def _check_camera(sensor: Sensor, where: str) -> None:
    if sensor.width <= 0 or sensor.height <= 0 or [len(row) for row in sensor.K] != [3, 3, 3]:
        raise RigError(f"{where}: a camera needs width, height and K (3 rows of 3 numbers)")
    if not all(math.isfinite(v) for row in sensor.K for v in row) or min(sensor.K[0][0], sensor.K[1][1]) <= 0:
        raise RigError(f"{where}.K: focal lengths must be positive numbers of px")
