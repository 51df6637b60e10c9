"""How dense simulated objects are against real ones.

    python -m fusion_rt.sim.statistics --frames DIR --kitti KITTI_OBJECT_FOLDER

Both sides count the lidar points inside each labelled box whose centre the camera sees, of objects that a
labeller would have labelled: at least 5 points, or 1 beyond 45 m.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.metrics.boxes import in_box_frame
from fusion_rt.sim.frames import LIDAR_HEIGHT_M, POINT_M
from fusion_rt.transforms import Array, from_translation_rpy, inverse, transform_points

CLASSES = ("car", "pedestrian", "cyclist")
EDGES_M = (0, 5, 10, 20, 30, 45, 70)
_KITTI_CLASSES = {"Car": 0, "Pedestrian": 1, "Cyclist": 2}


class Sample(Struct, frozen=True):
    """One frame: points (N, 3) m in the ego frame, intensity (N,) 0..1, boxes (M, 7), cls (M,), and the
    camera: P (3, 4) ego metres to px, size (width, height) px."""

    points: Array
    intensity: Array
    boxes: Array
    cls: Array
    P: Array
    size: tuple[int, int]

    def seen(self, points: Array) -> Array:
        """(N,) bool: inside the image and in front of the camera."""
        u = np.column_stack([points, np.ones(len(points))]) @ self.P.T
        depth = np.maximum(u[:, 2], 1e-6)
        x, y = u[:, 0] / depth, u[:, 1] / depth
        inside: Array = (u[:, 2] > 0.1) & (x >= 0) & (x < self.size[0]) & (y >= 0) & (y < self.size[1])
        return inside


def simulated(folder: Path) -> Iterator[Sample]:
    """The newer frame of every scene in a folder of training frames. Raises LogError where there is none."""
    paths = sorted(folder.glob("*.npz"))
    if not paths:
        raise LogError(f"{folder}: no .npz scenes; make some with `fusion-rt sim frames --out {folder}`")
    for path in paths:
        with np.load(path) as data:
            P = data["K"] @ data["T_camera_ego"][:3]
            points, intensity = data["points1"] * np.float32(POINT_M), data["intensity1"] / np.float32(255)
            yield Sample(points, intensity, data["boxes1"][:, :7], data["cls1"], P, (640, 192))


def kitti(folder: Path) -> Iterator[Sample]:
    """Every labelled frame of a KITTI object folder, with the lidar 1.73 m above the ground."""
    paths = sorted((folder / "training" / "label_2").glob("*.txt"))
    if not paths:
        raise LogError(f"{folder}: no training/label_2/*.txt; give the folder that holds KITTI's `training`")
    for path in paths:
        yield _kitti_frame(folder / "training", path.stem)


def _kitti_frame(folder: Path, name: str) -> Sample:
    rows = (folder / "calib" / f"{name}.txt").read_text().split("\n")
    calib = {
        key: np.array(value.split(), float) for key, _, value in (row.partition(":") for row in rows) if value
    }
    R, V = np.eye(4), np.eye(4)
    R[:3, :3], V[:3] = calib["R0_rect"].reshape(3, 3), calib["Tr_velo_to_cam"].reshape(3, 4)
    T_ego_lidar = from_translation_rpy((0, 0, LIDAR_HEIGHT_M), (0, 0, 0))
    T_camera_ego = R @ V @ inverse(T_ego_lidar)
    T_ego_camera = np.linalg.inv(T_camera_ego)
    scan = np.fromfile(folder / "velodyne" / f"{name}.bin", np.float32).reshape(-1, 4)
    boxes, cls = [], []
    for row in (folder / "label_2" / f"{name}.txt").read_text().splitlines():
        fields = row.split()
        if fields[0] not in _KITTI_CLASSES:
            continue
        h, w, length, x, y, z, turn = (float(v) for v in fields[8:15])
        center = (T_ego_camera @ (x, y - h / 2, z, 1))[:3]
        ahead = T_ego_camera[:3, :3] @ (np.cos(turn), 0, -np.sin(turn))
        boxes.append((*center, length, w, h, np.arctan2(ahead[1], ahead[0])))
        cls.append(_KITTI_CLASSES[fields[0]])
    points = transform_points(T_ego_lidar, scan[:, :3])
    P = calib["P2"].reshape(3, 4) @ T_camera_ego
    return Sample(points, scan[:, 3], np.array(boxes).reshape(-1, 7), np.array(cls, int), P, (1242, 375))


def points_in_box(points: Array, box: Array, margin_m: float = 0.0) -> Array:
    """(N,) bool: inside a box x y z l w h yaw, grown by a margin on every side."""
    inside: Array = np.all(np.abs(in_box_frame(points, box)) <= np.asarray(box[3:6]) / 2 + margin_m, axis=1)
    return inside


class Table(Struct, frozen=True):
    """counts[class, range] lists each object's points; points_seen lists each frame's points in view."""

    counts: dict[tuple[int, int], list[int]]
    sizes: dict[int, list[Array]]
    points_seen: list[int]
    intensity: list[float]
    ground_z: list[float]


def tabulate(samples: Iterator[Sample]) -> Table:
    """Counts over frames; see the module's text for who is counted."""
    table = Table({}, {}, [], [], [])
    for sample in samples:
        view = sample.seen(sample.points)
        table.points_seen.append(int(view.sum()))
        table.intensity.append(float(sample.intensity[view].mean()) if view.any() else 0.0)
        near = (np.abs(sample.points[:, 1]) < 2) & (np.abs(sample.points[:, 0] - 8) < 2)
        if near.any():
            table.ground_z.append(float(np.percentile(sample.points[near, 2], 20)))
        for box, kind, seen in zip(sample.boxes, sample.cls, sample.seen(sample.boxes[:, :3])):
            distance = float(np.hypot(box[0], box[1]))
            band = int(np.searchsorted(EDGES_M, distance, side="right")) - 1
            if kind < 0 or not seen or band >= len(EDGES_M) - 1:
                continue
            n = int(points_in_box(sample.points, box).sum())
            if n >= (5 if distance < 45 else 1):
                table.counts.setdefault((int(kind), band), []).append(n)
                table.sizes.setdefault(int(kind), []).append(box[3:6])
    return table


def report(real: Table, sim: Table) -> str:
    """The comparison as markdown: median points (objects) real / simulated."""
    bands = [f"{a}-{b} m" for a, b in pairwise(EDGES_M)]
    lines = ["| points an object, real / sim | " + " | ".join(bands) + " |", "|---" * (len(bands) + 1) + "|"]
    for kind, name in enumerate(CLASSES):
        cells = []
        for band in range(len(bands)):
            pair = [t.counts.get((kind, band), []) for t in (real, sim)]
            cells.append(" / ".join(f"{np.median(c):.0f} ({len(c)})" if c else "-" for c in pair))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines.append("")
    for kind, name in enumerate(CLASSES):
        means = [
            np.mean(t.sizes[kind], axis=0) if kind in t.sizes else np.full(3, np.nan) for t in (real, sim)
        ]
        sizes = " / ".join("x".join(f"{v:.2f}" for v in m) for m in means)
        lines.append(f"mean size of a {name}, m, real / sim: {sizes}")
    for name, field in (
        ("points in view", "points_seen"),
        ("intensity", "intensity"),
        ("ground z at 8 m", "ground_z"),
    ):
        spread = " / ".join(
            f"{np.mean(getattr(t, field)):.5g} ± {np.std(getattr(t, field)):.3g}" for t in (real, sim)
        )
        lines.append(f"{name}, mean over frames ± spread, real / sim: {spread}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Point density of simulated frames against KITTI's.")
    parser.add_argument("--frames", type=Path, required=True)
    parser.add_argument("--kitti", type=Path, required=True)
    args = parser.parse_args()
    print(report(tabulate(kitti(args.kitti)), tabulate(simulated(args.frames))))


if __name__ == "__main__":
    main()
