"""Simulated frames against real ones: how many road users there are, which way they stand, how large and how
dense with points they are, what cars look like from behind, and what is around the road.

    fusion-rt sim compare out/frames KITTI_OBJECT_FOLDER

Both sides count the lidar points inside each labelled box whose centre the camera sees, of objects that a
labeller would have labelled: at least 5 points, or 1 beyond 45 m.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.images import decode_image
from fusion_rt.logs.kitti_object import KittiFrame, ego_box, frames
from fusion_rt.messages import Image, PointCloud
from fusion_rt.metrics.boxes import in_box_frame
from fusion_rt.sim import car_outlines, sight, surroundings
from fusion_rt.sim.car_outlines import Outline
from fusion_rt.sim.frame_files import POINT_M
from fusion_rt.sim.sight import Sight
from fusion_rt.sim.surroundings import Around
from fusion_rt.transforms import Array, transform_points

CLASSES = ("car", "pedestrian", "cyclist")
CAR, PEDESTRIAN = CLASSES.index("car"), CLASSES.index("pedestrian")
EDGES_M = (0, 5, 10, 20, 30, 45, 70)
TURNS_DEG = (0, 30, 60, 90)  # of an object's axis out of the vehicle's
NEAR_M = (0.6, 0.8, 1.0, 1.5, 2.0)  # from a pedestrian to the next one


class Sample(Struct, frozen=True):
    """One frame: points (N, 3) m in the ego frame, intensity (N,) 0..1, boxes (M, 7), cls (M,), and the
    camera: P (3, 4) ego metres to px, grey (height, width) uint8."""

    points: Array
    intensity: Array
    boxes: Array
    cls: Array
    P: Array
    grey: Array

    def seen(self, points: Array) -> Array:
        """(N,) bool: inside the image and in front of the camera."""
        u = np.column_stack([points, np.ones(len(points))]) @ self.P.T
        depth = np.maximum(u[:, 2], 1e-6)
        x, y = u[:, 0] / depth, u[:, 1] / depth
        height, width = self.grey.shape
        inside: Array = (u[:, 2] > 0.1) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
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
            grey = cv2.imdecode(data["image1"], cv2.IMREAD_GRAYSCALE)
            if grey is None:
                raise LogError(
                    f"{path}: its image does not decode; delete it and run `fusion-rt sim frames` again"
                )
            yield Sample(points, intensity, data["boxes1"][:, :7], data["cls1"], P, grey)


def kitti(folder: Path) -> Iterator[Sample]:
    """Every labelled frame of a folder in KITTI's object layout. Raises LogError where there is none."""
    labelled = 0
    for frame in frames(folder):
        if frame.labels:
            labelled += 1
            yield _sample(frame)
    if not labelled:
        raise LogError(f"{folder}: no labelled frame; give the folder that holds KITTI's `training`")


def _sample(frame: KittiFrame) -> Sample:
    boxes, cls = [], []
    for label in frame.labels or ():
        if label.type.lower() in CLASSES:
            boxes.append(ego_box(label, frame.T_reference_ego))
            cls.append(CLASSES.index(label.type.lower()))
    (cloud,) = (packet for packet in frame.packets if isinstance(packet, PointCloud))
    (image,) = (packet for packet in frame.packets if isinstance(packet, Image))
    camera = frame.rig.cameras["camera"]
    return Sample(
        transform_points(frame.rig.lidars["lidar"].T_ego_lidar, cloud.xyz),
        cloud.intensity,
        np.array(boxes).reshape(-1, 7),
        np.array(cls, int),
        camera.intrinsics @ camera.T_camera_ego[:3],
        cv2.cvtColor(decode_image(image), cv2.COLOR_BGR2GRAY),
    )


def points_in_box(points: Array, box: Array, margin_m: float = 0.0) -> Array:
    """(N,) bool: inside a box x y z l w h yaw, grown by a margin on every side."""
    inside: Array = np.all(np.abs(in_box_frame(points, box)) <= np.asarray(box[3:6]) / 2 + margin_m, axis=1)
    return inside


class Table(Struct, frozen=True):
    """counts[class, range] lists each object's points, turns[class] its axis out of the vehicle's, degrees;
    next_m how far each pedestrian's next one is, inf where there is none, of all that are labelled; outlines
    of the cars that are seen end-on; around of each frame; points_seen lists each frame's points in view."""

    counts: dict[tuple[int, int], list[int]]
    sizes: dict[int, list[Array]]
    turns: dict[int, list[float]]
    next_m: list[float]
    outlines: list[Outline]
    around: list[Around]
    sight: list[Sight]
    points_seen: list[int]
    intensity: list[float]
    ground_z: list[float]


def tabulate(samples: Iterator[Sample]) -> Table:
    """Counts over frames; see the module's text for who is counted."""
    table = Table({}, {}, {}, [], [], [], [], [], [], [])
    for sample in samples:
        view = sample.seen(sample.points)
        table.points_seen.append(int(view.sum()))
        table.intensity.append(float(sample.intensity[view].mean()) if view.any() else 0.0)
        table.around.append(surroundings.around(sample.points, sample.grey))
        table.sight.append(sight.sight(sample.points, sample.intensity))
        near = (np.abs(sample.points[:, 1]) < 2) & (np.abs(sample.points[:, 0] - 8) < 2)
        if near.any():
            table.ground_z.append(float(np.percentile(sample.points[near, 2], 20)))
        table.next_m.extend(_nearest(sample.boxes[sample.cls == PEDESTRIAN, :2]))
        for box, kind, seen in zip(sample.boxes, sample.cls, sample.seen(sample.boxes[:, :3])):
            distance = float(np.hypot(box[0], box[1]))
            band = int(np.searchsorted(EDGES_M, distance, side="right")) - 1
            if kind < 0 or not seen or band >= len(EDGES_M) - 1:
                continue
            if kind == CAR and (seen_end_on := car_outlines.outline(sample.points, box)):
                table.outlines.append(seen_end_on)
            n = int(points_in_box(sample.points, box).sum())
            if n >= (5 if distance < 45 else 1):
                table.counts.setdefault((int(kind), band), []).append(n)
                table.sizes.setdefault(int(kind), []).append(box[3:6])
                turn = float(np.degrees(abs(np.mod(box[6] + np.pi / 2, np.pi) - np.pi / 2)))
                table.turns.setdefault(int(kind), []).append(turn)
    return table


def _nearest(places: Array) -> list[float]:
    """How far from each of (n, 2) the next one is, m."""
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    return apart.min(1, initial=np.inf).tolist()


def report(real: Table, sim: Table) -> str:
    """The comparison as markdown, real / simulated: median points (objects), objects a frame and which way
    they stand, how close pedestrians are to each other, what cars look like end-on, what is around the road,
    how far one sees, mean sizes."""
    bands = [f"{a}-{b} m" for a, b in pairwise(EDGES_M)]
    lines = ["| points an object, real / sim | " + " | ".join(bands) + " |", "|---" * (len(bands) + 1) + "|"]
    for kind, name in enumerate(CLASSES):
        cells = []
        for band in range(len(bands)):
            pair = [t.counts.get((kind, band), []) for t in (real, sim)]
            cells.append(" / ".join(f"{np.median(c):.0f} ({len(c)})" if c else "-" for c in pair))
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    axes = [f"{a}-{b}°" for a, b in pairwise(TURNS_DEG)]
    lines += ["", "| a frame; axes out of the vehicle's | objects | " + " | ".join(axes) + " |"]
    lines.append("|---" * (len(axes) + 2) + "|")
    for kind, name in enumerate(CLASSES):
        turns = [t.turns.get(kind, []) for t in (real, sim)]
        each = " / ".join(f"{len(a) / max(len(t.points_seen), 1):.2f}" for a, t in zip(turns, (real, sim)))
        shares = [np.histogram(a, TURNS_DEG)[0] / max(len(a), 1) for a in turns]
        cells = [f"{100 * a:.0f} % / {100 * b:.0f} %" for a, b in zip(*shares)]
        lines.append(f"| {name} | {each} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| pedestrians with another within, real / sim | " + " | ".join(f"{m} m" for m in NEAR_M) + " |",
    ]
    lines.append("|---" * (len(NEAR_M) + 1) + "|")
    close = [
        [float(np.mean(np.array(t.next_m) < m)) if t.next_m else np.nan for m in NEAR_M] for t in (real, sim)
    ]
    lines.append(
        "| share | " + " | ".join(f"{100 * a:.0f} % / {100 * b:.0f} %" for a, b in zip(*close)) + " |"
    )
    lines += ["", car_outlines.report(real.outlines, sim.outlines)]
    lines += [surroundings.report(real.around, sim.around), "", sight.report(real.sight, sim.sight), ""]
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
