"""Detections as a perfect or noisy sensor would give them."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fusion_rt.tracking.config import TrackerConfig
from fusion_rt.tracking.detections import Detections
from fusion_rt.tracking.tracker import Tracker

CLASSES, MODALITIES = ("car", "pedestrian", "cyclist"), ("lidar", "camera", "memory")
SIZES = np.array([[4.2, 1.8, 1.5], [0.7, 0.6, 1.75], [1.7, 0.6, 1.7]])


def make_detections(
    rows,
    *,
    label=0,
    score=0.8,
    velocity=None,
    std=0.2,
    contributions=(0.6, 0.3, 0.1),
) -> Detections:
    """rows: (x, y, yaw) each."""
    rows = np.asarray(rows, float).reshape(-1, 3)
    n = len(rows)
    labels = np.broadcast_to(label, n).astype(np.intp)
    boxes = np.zeros((n, 7), np.float32)
    boxes[:, [0, 1, 6]] = rows
    boxes[:, 3:6] = SIZES[labels]
    boxes[:, 2] = boxes[:, 5] / 2
    scores = np.full((n, 3), 0.05, np.float32)
    scores[np.arange(n), labels] = score
    return Detections(
        boxes=boxes,
        velocity=np.zeros((n, 2), np.float32) if velocity is None else np.asarray(velocity, np.float32),
        scores=scores,
        labels=labels,
        std=np.full((n, 5), std, np.float32),
        contributions=np.tile(np.array(contributions, np.float32), (n, 1)),
        velocity_known=np.full(n, velocity is not None),
    )


@pytest.fixture
def detections() -> Callable[..., Detections]:
    return make_detections


@pytest.fixture
def tracker() -> Tracker:
    return new_tracker()


def new_tracker(**changes) -> Tracker:
    return Tracker(TrackerConfig(**changes), CLASSES, MODALITIES, dict.fromkeys(CLASSES, 0.3))


@pytest.fixture
def make_tracker() -> Callable[..., Tracker]:
    return new_tracker


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """What tracker.h and motion.h mean, in numpy."""
    return _load("reference_tracker")


@pytest.fixture(scope="session")
def reference_objects() -> ModuleType:
    """What objects.h means."""
    return _load("reference_objects")


@pytest.fixture(scope="session")
def streams() -> ModuleType:
    """tests/tracking/streams.py, which the sanitizer's process runs as well."""
    return _load("streams")
