"""Streams of boxes, ordinary and hostile, for the tests that compare the tracker's C++ with numpy and that
look for bad access.

As a program, `streams.py LIBRARY` makes tracks and messages of them with that build of core.cpp."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.messages import EgoState
from fusion_rt.rig import Camera, Pose, Vehicle
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.image_boxes import ImageBoxes
from fusion_rt.transforms import from_translation_rpy

CLASSES, MODALITIES = ("car", "pedestrian", "cyclist"), ("lidar", "camera", "memory")
SIZES = np.array([[4.2, 1.8, 1.5], [0.7, 0.6, 1.75], [1.7, 0.6, 1.7]])
CAMERA = Camera(
    width=1242,
    height=375,
    K=((721.5, 0.0, 609.6), (0.0, 721.5, 172.9), (0.0, 0.0, 1.0)),
    pose=Pose(translation=(0.27, 0.06, 1.65), rpy_deg=(-90.0, 0.0, -90.0)),
)
MAP = LocalMap(49.0, 8.4, 115.0)


def stream(seed: int, *, most: int = 14, hostile: bool = True) -> Iterator[dict[str, Any]]:
    """The arguments of `Tracker.update`, a dozen times; of up to `most` objects, which move and may be seen
    twice, not at all or wrongly."""
    rng = np.random.default_rng(seed)
    n, dtype = rng.integers(0, most + 1), rng.choice([np.float32, np.float64])
    label = rng.integers(0, 3, n)
    at = rng.uniform(-25, 25, (n, 2)) * rng.choice([0.2, 1.0])  # a crowd, or a street
    yaw, speed = rng.uniform(-np.pi, np.pi, n), rng.choice([0.0, 1.0, 8.0], n)
    stamp = int(rng.choice([0, 1_700_000_000 * 10**9]))
    for step in range(12):
        stamp += int(rng.choice([10**8, 5 * 10**7, 0, 15 * 10**8], p=[0.85, 0.09, 0.03, 0.03]))
        way = np.column_stack([np.cos(yaw), np.sin(yaw)]) * speed[:, None] * step / 10
        seen = np.flatnonzero(rng.random(n) < 0.85)
        seen = np.concatenate([seen, rng.choice(seen, min(2, len(seen)))]) if rng.random() < 0.3 else seen
        k, labels = len(seen), label[seen]
        if rng.random() < 0.2:
            labels = rng.integers(0, 3, k)
        boxes = np.column_stack([(at + way)[seen], np.ones(k), SIZES[labels], yaw[seen]]).reshape(k, 7)
        boxes[:, [0, 1, 6]] += rng.normal(0, (0.2, 0.2, 0.1), (k, 3))
        boxes[:, 6] += np.pi * (rng.random(k) < 0.15)
        if k > 1 and rng.random() < 0.3:
            boxes[-1] = boxes[0]  # one place, perhaps two classes
            boxes[-1, :2] += rng.normal(0, 1e-5, 2)  # a tie, rounding would decide
        scores = rng.uniform(0.02, 0.2, (k, 3))
        scores[np.arange(k), labels] = rng.choice([0.1, 0.31, 0.6, 0.95], k)
        fields = {
            "boxes": boxes,
            "velocity": rng.normal(0, 5, (k, 2)),
            "scores": scores,
            "std": rng.choice([0.0, 0.2, 2.0], (k, 5)),
            "contributions": rng.uniform(0, 1, (k, 3)),
        }
        if hostile:
            for field in rng.choice(list(fields), 2):
                where = rng.random(fields[field].shape) < 0.03
                fields[field][where] = rng.choice([np.nan, np.inf, -np.inf, 0.0, 300.0, -3.0], where.sum())
        found = Detections(
            labels=labels,
            velocity_known=rng.random(k) < 0.5,
            **{name: values.astype(dtype) for name, values in fields.items()},
        )
        yield {
            "detections": None if rng.random() < 0.05 else found,
            "stamp_ns": stamp,
            "T_map_ego": from_translation_rpy((step * 0.7, 0.0, 0.1), (0.01, -0.02, 0.03 * step)),
            "images": [_image(rng) for _ in range(rng.integers(0, 3))] if rng.random() < 0.3 else [],
            "lidar": bool(rng.random() < 0.8),
        }


def _image(rng: np.random.Generator) -> ImageBoxes:
    m = int(rng.integers(0, 5))
    corner = rng.uniform((0, 100), (1100, 250), (m, 2))
    return ImageBoxes(
        camera=CAMERA,
        T_camera_ego=CAMERA.T_camera_ego,
        boxes=np.column_stack([corner, corner + rng.uniform(10, 150, (m, 2))]),
        scores=rng.uniform(0.1, 1.0, m),
        labels=rng.integers(0, 2, m),
        knows=(0, 1),
    )


def seen_from(T_map_ego: Any, *, stamp_ns: int, placed: bool = True) -> dict[str, Any]:
    """All that `tracked_objects` is told beside the tracks, by a vehicle at 10 m/s."""
    ego = EgoState(
        stamp_ns=stamp_ns,
        position=tuple(T_map_ego[:3, 3]),
        orientation=(0.0, 0.0, 0.0, 1.0),
        velocity=tuple(10.0 * T_map_ego[:3, 0]),
        angular_rate=(0.0, 0.0, 0.0),
        covariance=(0.0,) * 36,
        velocity_covariance=(0.0,) * 9,
        extrapolated_s=0.0,
        source="imu+gnss",
    )
    return {
        "stamp_ns": stamp_ns,
        "T_map_ego": T_map_ego,
        "ego": ego,
        "local_map": MAP if placed else None,
        "vehicle": Vehicle(),
        "classes": CLASSES,
        "modalities": MODALITIES,
    }


def main(path: str) -> None:
    from fusion_rt.tracking import core
    from fusion_rt.tracking.config import TrackerConfig
    from fusion_rt.tracking.objects import tracked_objects
    from fusion_rt.tracking.tracker import Tracker

    build = core.load(path)
    core.library = lambda: build
    shown = 0
    for seed, most in ((0, 0), (1, 1), *((seed, 14) for seed in range(2, 20)), (20, 120)):
        tracker = Tracker(TrackerConfig(), CLASSES, MODALITIES, dict.fromkeys(CLASSES, 0.3))
        for frame in stream(seed, most=most):
            tracks = tracker.update(**frame)
            placed = seed % 2 == 0
            about = seen_from(frame["T_map_ego"], stamp_ns=frame["stamp_ns"], placed=placed)
            shown += len(tracked_objects(tracks, **about))
    print(shown)


if __name__ == "__main__":
    main(sys.argv[1])
