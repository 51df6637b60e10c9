"""The annotations of nuScenes as the truth of a drive: boxes at the key frames of LIDAR_TOP, two a second."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs.nuscenes_tables import Annotation, Calibration, Data, Tables, matrix
from fusion_rt.logs.truth import TruthFrame, TruthObject
from fusion_rt.transforms import Array, inverse

LIDAR = "LIDAR_TOP"
REACH_M = 100.0
MAX_STEP_US = 1_500_000  # between two boxes that give a velocity, as the devkit's `box_velocity` has it
CYCLIST = ("vehicle.bicycle", "cycle.with_rider")
# The classes of the detection challenge, as the devkit's `category_to_detection_name` has them.
LABELS = {
    "movable_object.barrier": "barrier",
    "vehicle.bicycle": "bicycle",
    "vehicle.bus.bendy": "bus",
    "vehicle.bus.rigid": "bus",
    "vehicle.car": "car",
    "vehicle.construction": "construction_vehicle",
    "vehicle.motorcycle": "motorcycle",
    "human.pedestrian.adult": "pedestrian",
    "human.pedestrian.child": "pedestrian",
    "human.pedestrian.construction_worker": "pedestrian",
    "human.pedestrian.police_officer": "pedestrian",
    "movable_object.trafficcone": "traffic_cone",
    "vehicle.trailer": "trailer",
    "vehicle.truck": "truck",
}


def below_lidar(calibration: Calibration) -> Array:
    """(3,): where our ego frame's origin lies in theirs; LIDAR_TOP's calibration says it."""
    x, y, _ = calibration.translation
    return np.array([x, y, 0.0])


def truth_frames(tables: Tables, scene: str) -> tuple[list[TruthFrame], list[str]]:
    """A frame a key frame, and a line for each cause that boxes were left out for. Bicycles with a rider are
    cyclists; all else has the names of the detection challenge. Raises LogError."""
    token = tables.scenes[scene].token
    boxes = tables.annotations.get(token, [])
    if not boxes:
        return [], []
    keys = {d.sample_token: d for d in tables.data[token] if d.is_key_frame and tables.channel(d) == LIDAR}
    by_instance: dict[str, list[Annotation]] = {}
    for box in sorted(boxes, key=lambda b: _time_us(tables, b)):
        by_instance.setdefault(box.instance_token, []).append(box)
    objects: dict[str, list[TruthObject]] = {sample: [] for sample in keys}
    poses = {sample: _pose(tables, data) for sample, data in keys.items()}
    others = alone = 0
    for number, (instance, track) in enumerate(by_instance.items()):
        for i, box in enumerate(track):
            label = _label(tables, instance, box)
            velocity = _velocity(tables, track, i)
            if label is None:
                others += 1
            elif velocity is None:
                alone += 1
            elif (found := _seen(tables, box, poses, number, label, velocity)) is not None:
                objects[box.sample_token].append(found)
    frames = _frames(keys, poses, objects)
    notes = [f"{scene}: {others} boxes of no class of the detection challenge are left out"] * bool(others)
    notes += [f"{scene}: {alone} boxes without a neighbour in time are left out: no velocity"] * bool(alone)
    return frames, notes


def _seen(
    tables: Tables, box: Annotation, poses: dict[str, Array], number: int, label: str, velocity: Array
) -> TruthObject | None:
    """The box in our ego frame; None where it is beyond our reach."""
    if box.sample_token not in poses:
        raise LogError(
            f"{tables.folder}: a box at sample {box.sample_token!r}, which has no {LIDAR} key frame"
        )
    T_ego_map = inverse(poses[box.sample_token])
    T_ego_box = T_ego_map @ matrix(box)
    x, y, z = map(float, T_ego_box[:3, 3])
    if np.hypot(x, y) > REACH_M:
        return None
    along = T_ego_map[:3, :3] @ velocity
    width, length, height = box.size
    return TruthObject(
        track_id=number,
        label=label,
        center=(x, y, z),
        size=(length, width, height),
        yaw=float(np.arctan2(T_ego_box[1, 0], T_ego_box[0, 0])),
        velocity=(float(along[0]), float(along[1])),
        points=box.num_lidar_pts,
    )


def _frames(
    keys: dict[str, Data], poses: dict[str, Array], objects: dict[str, list[TruthObject]]
) -> list[TruthFrame]:
    order = sorted(keys, key=lambda sample: keys[sample].timestamp)
    places = np.array([poses[sample][:3, 3] for sample in order])
    times = np.array([keys[sample].timestamp for sample in order])
    speeds = np.gradient(places, (times - times[0]) / 1e6, axis=0) if len(order) > 1 else np.zeros((1, 3))
    return [
        TruthFrame(
            stamp_ns=keys[sample].timestamp * 1000,
            sensor_id="lidar",
            T_map_ego=tuple(map(float, poses[sample].reshape(-1))),
            velocity=(float(speed[0]), float(speed[1]), float(speed[2])),
            objects=tuple(objects[sample]),
        )
        for sample, speed in zip(order, speeds)
    ]


def _pose(tables: Tables, data: Data) -> Array:
    """T_map_ego (4, 4) of our ego frame."""
    pose = matrix(tables.row(tables.poses, data.ego_pose_token, "ego_pose"))
    calibration = tables.row(tables.calibrations, data.calibrated_sensor_token, "calibrated_sensor")
    pose[:3, 3] += pose[:3, :3] @ below_lidar(calibration)
    return pose


def _label(tables: Tables, instance: str, box: Annotation) -> str | None:
    category = tables.row(tables.categories, instance, "instance")
    attributes = [tables.row(tables.attributes, token, "attribute") for token in box.attribute_tokens]
    if category == CYCLIST[0] and CYCLIST[1] in attributes:
        return "cyclist"
    return LABELS.get(category)


def _velocity(tables: Tables, track: Sequence[Annotation], i: int) -> Array | None:
    """(3,) m/s in the map, from the boxes before and after; None where they are missing or long ago."""
    before, after = max(i - 1, 0), min(i + 1, len(track) - 1)
    step_us = _time_us(tables, track[after]) - _time_us(tables, track[before])
    if not 0 < step_us <= MAX_STEP_US * (after - before):
        return None
    way = np.array(track[after].translation) - np.array(track[before].translation)
    velocity: Array = way / (step_us / 1e6)
    return velocity


def _time_us(tables: Tables, box: Annotation) -> int:
    return tables.row(tables.samples, box.sample_token, "sample").timestamp
