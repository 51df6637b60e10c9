"""Training frames: pairs of a sweep and an image 0.1 s apart, with their boxes, or longer sequences; one .npz
a scene.

    fusion-rt sim frames --out DIR --scenes 6000 --seed 1 --workers 2

Keys, for k = 0 to the length less one, the newest: points{k} (N, 3) int16 of 4 mm in the ego frame;
intensity{k} (N,) uint8; image{k} (bytes,) uint8, a JPEG of 960 x 288; boxes{k} (M, 9) float32 x y z l w h yaw
vx vy; cls{k} (M,) int8: 0 car, 1 pedestrian, 2 cyclist, -1 ignored; npoints{k} (M,) int32; visible{k} (M,)
float32, share of the box's outline that the image shows, 0 for what fog or rain hides. And K (3, 3),
T_camera_ego (4, 4), T_ego{k}_ego{k-1} (4, 4) of all but the oldest, and ego_speed, ego_yaw_rate, ego_accel at
the newest.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fusion_rt.sim import camera, camera_weather, lidar, look
from fusion_rt.sim.frame_files import FRAME_S, LIDAR_HEIGHT_M, POINT_M
from fusion_rt.sim.outline import corners_px
from fusion_rt.sim.weather import CLEAR, Weather, sample
from fusion_rt.sim.world import Stage, World
from fusion_rt.transforms import Array, from_translation_rpy, inverse, transform_points, yaw_of

WIDTH, HEIGHT = 960, 288
CLASSES = {"car": 0, "pedestrian": 1, "cyclist": 2}
RANGE_M = 75.0  # boxes farther away are left out
_OPTICAL = from_translation_rpy((0, 0, 0), (-np.pi / 2, 0, -np.pi / 2))  # T_ego_camera's rotation


def make_scene(seed: int, index: int, *, length: int = 2, weather: Weather = CLEAR) -> dict[str, Any]:
    """One scene's arrays: the same bits for the same seed, index and weather, and its first frames also for
    another length. The world does not depend on the weather."""
    rng = np.random.default_rng([seed, index])
    world = World.generate(int(rng.integers(1 << 62)))
    rig = _Rig(rng)
    stage = Stage(world)
    out: dict[str, Any] = {"K": rig.K, "T_camera_ego": rig.T_camera_ego}
    reflectivity, sight, egos = None, look.sample(rng), []
    glass = camera_weather.drops_on_glass(weather, WIDTH, HEIGHT, rng) if weather.wet else None
    for k in range(length):
        t = k * FRAME_S
        scene = stage.at(t)
        if reflectivity is None:
            reflectivity = lidar.face_reflectivity(scene.mesh, rng, wet=weather.wet)
        T_world_ego = world.ego_pose(t) @ rig.T_true_nominal
        egos.append(T_world_ego)
        returns = lidar.sweep(
            lambda _, scene=scene: scene,  # type: ignore[misc]
            lambda _, T=T_world_ego: T @ rig.T_ego_lidar,  # type: ignore[misc]
            lidar.PATTERNS["HDL-64"],
            reflectivity,
            rng,
            azimuth_rad=(-np.pi / 2, np.pi / 2),
            weather=weather,
        )
        T_world_camera = T_world_ego @ inverse(rig.T_camera_ego)
        image, instance = camera.render(
            scene, rig.K, WIDTH, HEIGHT, T_world_camera, sight, rng, weather=weather, glass=glass
        )
        points = transform_points(rig.T_ego_lidar, returns.xyz)
        out[f"points{k}"] = np.round(points / POINT_M).clip(-32767, 32767).astype(np.int16)
        out[f"intensity{k}"] = np.round(returns.intensity * 255).astype(np.uint8)
        out[f"image{k}"] = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].reshape(-1)
        truth = _truth(world, t, T_world_ego, rig, returns, instance, weather.discerned_m)
        out |= {f"{name}{k}": value for name, value in truth.items()}
    motions = [inverse(now) @ before for before, now in itertools.pairwise(egos)]
    out |= {f"T_ego{k}_ego{k - 1}": motion for k, motion in enumerate(motions, 1)}
    motion = motions[-1]
    out |= {
        "ego_speed": float(np.linalg.norm(motion[:2, 3]) / FRAME_S),
        "ego_yaw_rate": float(-yaw_of(motion) / FRAME_S),
        "ego_accel": world.ego.accel,
    }
    return out


class _Rig:
    """KITTI's sensors with the play of real mounts."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.T_ego_lidar = from_translation_rpy((0, 0, LIDAR_HEIGHT_M), (0, 0, 0))
        # The nominal ego frame against the true one: suspension, load, an imprecise mount.
        tilt = np.radians(rng.normal(0, (0.35, 0.4, 0.0)))
        # KITTI's ground lies 5 cm above the nominal one.
        self.T_true_nominal = from_translation_rpy((0, 0, rng.normal(-0.04, 0.045)), tilt)
        focal = 721.5 * rng.uniform(0.94, 1.06) * WIDTH / 1242
        cx, cy = (609.6 + rng.normal(0, 8)) * WIDTH / 1242, (172.9 + rng.normal(0, 5)) * WIDTH / 1242
        self.K = np.array([[focal, 0, cx], [0, focal, cy], [0, 0, 1.0]])
        position = (0.27 + rng.normal(0, 0.05), 0.06 + rng.normal(0, 0.05), 1.65 + rng.uniform(-0.12, 0.12))
        turn = np.radians(rng.normal(0, (0.3, 0.6, 0.5)))
        self.T_camera_ego = inverse(from_translation_rpy(position, turn) @ _OPTICAL)


def weather_of(seed: int, index: int, share: float) -> Weather:
    """Clear, or in a share of the scenes fog or rain; drawn apart from the scene, which stays what it is."""
    rng = np.random.default_rng([seed, index, *b"weather"])
    return sample(rng) if rng.random() < share else CLEAR


def _truth(
    world: World,
    t: float,
    T_world_ego: Array,
    rig: _Rig,
    returns: lidar.Returns,
    instance: Array,
    discerned_m: float,
) -> dict[str, Array]:
    hit = np.bincount(returns.instance[returns.instance >= 0], minlength=len(world.actors))
    pixels = np.bincount(instance[instance >= 0], minlength=len(world.actors))
    boxes, cls, npoints, visible = [], [], [], []
    for i, actor in enumerate(world.actors):
        box = world.box(i, t, T_world_ego)
        if box[0] < 0 or np.hypot(box[0], box[1]) > RANGE_M:
            continue
        boxes.append(box)
        outline = _outline_px(boxes[-1], rig)
        veiled = np.hypot(box[0], box[1]) > discerned_m
        share = float(min(pixels[i] / (0.65 * outline), 1.0)) if outline > 0 and not veiled else 0.0
        kind = CLASSES.get(actor.shape.label, -1)
        cls.append(kind if hit[i] >= 1 or share >= 0.1 else -1)
        npoints.append(hit[i])
        visible.append(share)
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 9),
        "cls": np.array(cls, np.int8),
        "npoints": np.array(npoints, np.int32),
        "visible": np.array(visible, np.float32),
    }


def _outline_px(box: Array, rig: _Rig) -> float:
    """Area in px of the projected box's bounding rectangle inside the image; 0 behind the camera."""
    uv = corners_px(box, rig.K, rig.T_camera_ego)
    if uv is None:
        return 0.0
    low = np.clip(uv.min(0), 0, (WIDTH, HEIGHT))
    high = np.clip(uv.max(0), 0, (WIDTH, HEIGHT))
    return float(np.prod(high - low))


def _write(job: tuple[Path, int, int, int, float]) -> int:
    """Worker: makes one file unless it is there; a killed run leaves no half file."""
    folder, seed, index, length, share = job
    path = folder / f"{seed}_{index:06d}.npz"
    if not path.exists():
        scene = make_scene(seed, index, length=length, weather=weather_of(seed, index, share))
        partial = path.with_suffix(f".{os.getpid()}.part")
        with partial.open("wb") as file:
            np.savez(file, **scene)
        partial.rename(path)
    return index


def write_frames(
    folder: Path, *, scenes: int, seed: int, workers: int, length: int = 2, weather: float = 0.0
) -> Iterator[int]:
    """Fills the folder with scenes of so many frames, skipping what is there, of whatever length; yields the
    index of each finished scene.

    weather: the share of scenes with fog or rain; the others are the same bits whatever it is."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(folder, seed, index, length, weather) for index in range(scenes)]
    if workers <= 1:
        yield from map(_write, jobs)
        return
    with multiprocessing.get_context("spawn").Pool(workers, initializer=_single_thread) as pool:
        yield from pool.imap_unordered(_write, jobs, chunksize=4)


def _single_thread() -> None:
    cv2.setNumThreads(1)
