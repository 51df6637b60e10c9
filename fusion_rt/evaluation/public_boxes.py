"""Detections that others published for KITTI's tracking benchmark, and the ego vehicle's way through it.

DIR/{Car,Pedestrian,Cyclist}/SSSS.txt, numbers with commas. In three dimensions, as AB3DMOT's: frame, class,
left, top, right, bottom (px), score, height, width, length (m), x, y, z of the middle of the bottom face (m),
rotation_y (rad), alpha, in the labels' frame. In an image: frame, left, top, right, bottom, score.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.filter import EgoFilter
from fusion_rt.errors import LogError
from fusion_rt.logs.kitti_object import Label, ego_box
from fusion_rt.logs.kitti_oxts import EPOCH_NS, FRAME_NS, read_oxts, read_text
from fusion_rt.messages import GnssFix, ImuSample
from fusion_rt.pipeline import pose_matrix
from fusion_rt.rig import Rig
from fusion_rt.transforms import Array, inverse

_COLUMNS_3D, _COLUMNS_2D = 15, 6


class Boxes(Struct, frozen=True):
    """The detections of one frame.

    labels    (n,) int, index of the class
    scores    (n,) as published
    outlines  (n, 4) left, top, right, bottom, px
    boxes     (n, 7) x y z l w h yaw in the ego frame; (n, 0) where they are of an image alone
    """

    labels: Array
    scores: Array
    outlines: Array
    boxes: Array


def read_boxes(
    folder: Path, name: str, classes: Sequence[str], T_reference_ego: Array | None
) -> dict[int, Boxes]:
    """Frame -> its detections in sequence `name`; a class without a file has none there. T_reference_ego
    (4, 4) to the labels' frame; None: the boxes are of an image. Raises LogError where no class has a file or
    a line is wrong."""
    files = [folder / label.capitalize() / f"{name}.txt" for label in classes]
    if not any(path.is_file() for path in files):
        raise LogError(f"{folder}: no detections of sequence {name} ({files[0].relative_to(folder)}, ...)")
    columns = _COLUMNS_2D if T_reference_ego is None else _COLUMNS_3D
    found: dict[int, list[tuple[int, float, Array, Array]]] = {}
    for k, path in enumerate(files):
        for number, line in enumerate(read_text(path).splitlines() if path.is_file() else ()):
            values = _numbers(line, columns, f"{path}:{number + 1}")
            if T_reference_ego is None:
                entry = (k, values[5], values[1:5], np.empty(0))
            else:
                entry = (k, values[6], values[2:6], _ego_box(values, T_reference_ego))
            found.setdefault(int(values[0]), []).append(entry)
    return {frame: Boxes(*(np.array(column) for column in zip(*entries))) for frame, entries in found.items()}


def read_way(poses: Path | None, oxts: Path | None, rig: Rig, frames: int) -> tuple[Array, str]:
    """T_map_ego (frames, 4, 4), and where it is from: a file of camera poses (KITTI odometry's format: a row
    of 3 x 4, in the first camera's frame), else the oxts through our filter, else as if the vehicle stood.

    Raises LogError for a file that is not what it should be."""
    if poses is not None and poses.is_file():
        rows = [
            _numbers(line, 12, f"{poses}:{k + 1}").reshape(3, 4)
            for k, line in enumerate(read_text(poses).splitlines())
        ]
        if len(rows) < frames:
            raise LogError(f"{poses}: {len(rows)} poses for {frames} frames")
        T_camera_ego = next(iter(rig.cameras.values())).T_camera_ego
        T = np.tile(np.eye(4), (frames, 1, 1))
        T[:, :3] = rows[:frames]
        return inverse(T_camera_ego) @ T @ T_camera_ego, "poses"
    if oxts is not None and oxts.is_file():
        ego, way, last = EgoFilter(rig, EgoConfig()), np.tile(np.eye(4), (frames, 1, 1)), -1
        for packet in read_oxts(oxts):
            if isinstance(packet, (ImuSample, GnssFix)):
                ego.push(packet)
                last = min((packet.header.stamp_ns - EPOCH_NS) // FRAME_NS, frames - 1)
                way[last] = pose_matrix(ego.state_at(EPOCH_NS + last * FRAME_NS))
        return way, "oxts"
    return np.tile(np.eye(4), (frames, 1, 1)), "none"


def _ego_box(values: Array, T_reference_ego: Array) -> Array:
    height, width, length, x, y, z, rotation_y = values[7:14].tolist()
    label = Label(
        type="",
        truncated=0.0,
        occluded=0,
        alpha=0.0,
        bbox=(0.0, 0.0, 0.0, 0.0),
        size=(height, width, length),
        location=(x, y, z),
        rotation_y=rotation_y,
    )
    return ego_box(label, T_reference_ego)


def _numbers(line: str, count: int, source: str) -> Array:
    words = line.replace(",", " ").split()
    try:
        values = np.array(words, dtype=np.float64)
    except ValueError as error:
        raise LogError(f"{source}: {error}") from error
    if len(values) != count or not (np.abs(values) < 1e6).all():
        raise LogError(f"{source}: expected {count} finite numbers, got {len(values)}: {line[:80]!r}")
    return values
