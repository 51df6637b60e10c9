"""Small synthetic scenes in the simulator's format: boxes of points on flat ground, boxes in the image."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from fusion_rt.sim.frame_files import Frame, Scene, read_scene

# Two threads of torch wait for each other on a machine that is busy with other tests.
torch.set_num_threads(1)

SIZES = {0: (4.0, 1.7, 1.5), 1: (0.7, 0.6, 1.75), 2: (1.7, 0.6, 1.7)}


def make_scene(path: Path, *, seed: int, objects: int = 5, length: int = 2) -> Path:
    rng = np.random.default_rng(seed)
    K = np.array([[371.8, 0, 314.1], [0, 371.8, 89.1], [0, 0, 1]])
    T_camera_ego = np.eye(4)
    T_camera_ego[:3, :3] = [[0, -1, 0], [0, 0, -1], [1, 0, 0]]
    T_camera_ego[:3, 3] = T_camera_ego[:3, :3] @ -np.array([0.27, 0, 1.65])
    T_now_previous = np.eye(4)
    T_now_previous[0, 3] = -0.5
    cls = rng.integers(0, 3, objects)
    now = np.zeros((objects, 9), np.float32)
    now[:, 0] = np.linspace(8, 50, objects)
    now[:, 1] = rng.uniform(-0.5, 0.5, objects) * now[:, 0]
    now[:, 3:6] = [SIZES[int(c)] for c in cls]
    now[:, 2] = now[:, 5] / 2
    now[:, 6] = rng.uniform(-np.pi, np.pi, objects)
    data = {"K": K, "T_camera_ego": T_camera_ego}
    data |= {f"T_ego{k}_ego{k - 1}": T_now_previous for k in range(1, length)}
    data |= {"ego_speed": np.float64(5), "ego_yaw_rate": np.float64(0.1), "ego_accel": np.float64(-1)}
    for k in range(length):
        boxes = now.copy()
        boxes[:, 0] += 0.5 * (length - 1 - k)
        clouds = [rng.uniform([0, -35, 0], [70, 35, 0.02], (3000, 3))]
        image = np.full((192, 640, 3), 110, np.uint8)
        for box in boxes:
            local = rng.uniform(-0.5, 0.5, (80, 3)) * box[3:6]
            cos, sin = np.cos(box[6]), np.sin(box[6])
            clouds.append(local @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + box[:3])
            u, v, d = K @ (T_camera_ego[:3] @ np.array([*box[:3], 1]))
            cv2.circle(image, (int(u / d), int(v / d)), int(250 / d), (40, 80, 220), -1)
        points = np.concatenate(clouds)
        data[f"points{k}"] = np.round(points / 0.004).astype(np.int16)
        data[f"intensity{k}"] = rng.integers(0, 256, len(points)).astype(np.uint8)
        data[f"image{k}"] = cv2.imencode(".jpg", image)[1].reshape(-1)
        data[f"boxes{k}"] = boxes
        data[f"cls{k}"] = cls.astype(np.int8)
        data[f"npoints{k}"] = np.full(objects, 80, np.int32)
        data[f"visible{k}"] = np.ones(objects, np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **data)
    return path


@pytest.fixture
def write_scene() -> Callable[..., Path]:
    return make_scene


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    for i in range(4):
        make_scene(folder / f"0_{i}.npz", seed=i)
    return folder


@pytest.fixture
def scene(scenes: Path) -> Scene:
    return read_scene(scenes / "0_0.npz")


@pytest.fixture
def frame(scene: Scene) -> Frame:
    return scene.now
