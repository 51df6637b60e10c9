"""What all sensors say at one tick, in the home frame: small enough to keep for training, and the one place
from which both training and the live engine make the network's inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.home.canvas import SIDE, Canvas
from fusion_rt.home.histories import RADAR_S, Camera, History, Radar
from fusion_rt.home.room_features import SLICES, RoomFeatures
from fusion_rt.plan import Plan

Array = NDArray[np.float32]

RADAR_COLUMNS = ("sensor", "x", "y", "z", "velocity", "snr", "age")
# Where a person would stand if the lower edge of the box were the feet, the upper edge the head of somebody
# who stands (1.7 m) or sits (1.25 m), or the middle somebody who lies (0.3 m).
SIGHT_COLUMNS = (
    *("sensor", "foot_x", "foot_y", "stand_x", "stand_y", "sit_x", "sit_y", "lie_x", "lie_y"),
    *("score", "height", "aspect", "tilt", "ankles", "age"),
)
STAND_M, SIT_M, LIE_M = 1.7, 1.25, 0.3
SHOULDERS, HIPS, ANKLES = [5, 6], [11, 12], [15, 16]  # of COCO's body points


class Observation(Struct):
    """radar    (N, 7) float32: RADAR_COLUMNS; `sensor` is a place in `spatial`
    sights   (M, 15) float32: SIGHT_COLUMNS
    rooms    (16, F) float32: room_features.COLUMNS
    spatial  the radars and cameras that work, by their place in `Observer.spatial`"""

    radar: Array
    sights: Array
    rooms: Array
    spatial: tuple[int, ...]


class Observer:
    """spatial: the plan's radars and cameras, in order."""

    def __init__(self, plan: Plan, canvas: Canvas) -> None:
        self._canvas = canvas
        self._features = RoomFeatures(plan, canvas)
        self.spatial = tuple(slug for slug, s in plan.sensors.items() if s.kind in ("radar", "camera"))
        self.kinds = tuple(plan.sensors[slug].kind for slug in self.spatial)

    def at(self, now_ns: int, histories: dict[str, History]) -> Observation:
        radar, sights, works = [], [], []
        for i, slug in enumerate(self.spatial):
            history = histories[slug]
            if history.status(now_ns) != "used":
                continue
            works.append(i)
            if isinstance(history, Radar):
                radar += [_points(i, told, (now_ns - at) / 1e9) for at, told in history.frames]
            elif isinstance(history, Camera):
                sights.append(_people(i, history, now_ns))
        points = _stacked(radar, len(RADAR_COLUMNS))
        points = points[points[:, 6] <= RADAR_S]
        people = _stacked(sights, len(SIGHT_COLUMNS))
        rooms = self._features.at(now_ns, histories)
        self.summarise(points, people, rooms)
        return Observation(points, people, rooms, tuple(works))

    def summarise(self, points: Array, people: Array, rooms: Array) -> None:
        """Writes what radars and cameras say into the rows of the rooms where they say it."""
        canvas = self._canvas
        group = rooms[:, SLICES["radar"]]
        for row, mine in _by_room(canvas, points[:, 1:3]):
            z, speed, snr = points[mine, 3], np.abs(points[mine, 4]), points[mine, 5]
            group[row, 1:] = (
                *(math.log1p(len(z)) / 3.0, math.log1p(float((speed > 0.15).sum())) / 3.0),
                *(min(float(speed.max()), 3.0), float(snr.mean()), float(z.mean())),
            )
        group = rooms[:, SLICES["camera"]]
        for row, mine in _by_room(canvas, people[:, 5:7]):
            group[row, 1:] = len(mine) / 3.0, people[mine, 9].max()


def without(seen: Observation, modality: str, kinds: Sequence[str]) -> Observation:
    """The same tick with one modality lost. kinds: of the sensors in `spatial`."""
    rooms = seen.rooms.copy()
    rooms[:, SLICES[modality]] = 0.0
    empty = np.zeros((0, len(RADAR_COLUMNS)), dtype=np.float32)
    nobody = np.zeros((0, len(SIGHT_COLUMNS)), dtype=np.float32)
    return Observation(
        empty if modality == "radar" else seen.radar,
        nobody if modality == "camera" else seen.sights,
        rooms,
        tuple(i for i in seen.spatial if kinds[i] != modality),
    )


def on_plane(T_home_sensor: NDArray[np.float64], K: NDArray[np.float64], uv: Array, z_m: Array) -> Array:
    """Where the rays through pixels (N, 2) meet the heights (N,), m: x, y (N, 2). A ray that does not come
    there within 15 m ends there."""
    rays = np.linalg.solve(K, np.concatenate([uv, np.ones((len(uv), 1))], axis=1).T).T
    rays = rays @ T_home_sensor[:3, :3].T
    fall = z_m - T_home_sensor[2, 3]
    with np.errstate(divide="ignore", invalid="ignore"):
        along = fall / rays[:, 2]
    reach = 15.0 / np.maximum(np.hypot(rays[:, 0], rays[:, 1]), 1e-6)
    along = np.where(np.isfinite(along) & (along > 0), np.minimum(along, reach), reach)
    xy: Array = (T_home_sensor[:2, 3] + along[:, None] * rays[:, :2]).astype(np.float32)
    return xy


def _points(index: int, told: Array, age_s: float) -> Array:
    rows = np.empty((len(told), len(RADAR_COLUMNS)), dtype=np.float32)
    rows[:, 0], rows[:, 1:6], rows[:, 6] = index, told, age_s
    return rows


def _people(index: int, history: Camera, now_ns: int) -> Array:
    sight, sensor = history.sight, history.sensor
    assert sight is not None
    n = len(sight.boxes)
    rows = np.zeros((n, len(SIGHT_COLUMNS)), dtype=np.float32)
    if n == 0:
        return rows
    left, top, right, bottom = sight.boxes.T
    middle = 0.5 * (left + right)
    T, K = sensor.T_home_sensor, sensor.intrinsics
    heights = (0.0, STAND_M, SIT_M, LIE_M)
    v = np.concatenate([bottom, top, top, 0.5 * (top + bottom)])
    uv = np.stack([np.tile(middle, 4), v], axis=1)
    xy = on_plane(T, K, uv, np.repeat(heights, n)).reshape(4, n, 2)
    rows[:, 0] = index
    rows[:, 1:9] = xy.transpose(1, 0, 2).reshape(n, 8)
    rows[:, 9] = sight.scores
    # How tall what stands at the foot point would be: the camera's height less what its distance takes.
    far = np.hypot(*(xy[0] - T[:2, 3]).T)
    head = np.hypot(*(xy[1] - T[:2, 3]).T)
    rows[:, 10] = np.clip(T[2, 3] - (T[2, 3] - STAND_M) * far / np.maximum(head, 0.1), -1.0, 3.0)
    rows[:, 11] = np.clip((right - left) / np.maximum(bottom - top, 1.0), 0.0, 4.0)
    joints = sight.keypoints
    spine = joints[:, SHOULDERS].mean(axis=1) - joints[:, HIPS].mean(axis=1)
    known = joints[:, SHOULDERS + HIPS, 2].min(axis=1)
    length = np.maximum(np.hypot(spine[:, 0], spine[:, 1]), 1.0)
    rows[:, 12] = np.where(known > 0, np.abs(spine[:, 0]) / length, 0.0)
    rows[:, 13] = joints[:, ANKLES, 2].mean(axis=1)
    rows[:, 14] = (now_ns - sight.header.stamp_ns) / 1e9
    return rows


def _stacked(parts: list[Array], columns: int) -> Array:
    return np.concatenate(parts) if parts else np.zeros((0, columns), dtype=np.float32)


def _by_room(canvas: Canvas, xy: Array) -> list[tuple[int, NDArray[np.int64]]]:
    """Row of a room -> which points lie in it."""
    if not len(xy):
        return []
    cells = np.floor(canvas.cells(xy)).astype(np.int64)
    fits = ((cells >= 0) & (cells < SIDE)).all(axis=1)
    cells = cells.clip(0, SIDE - 1)
    rooms = np.where(fits, canvas.index[cells[:, 1], cells[:, 0]], -1)
    return [(int(row), np.flatnonzero(rooms == row)) for row in np.unique(rooms) if row >= 0]
