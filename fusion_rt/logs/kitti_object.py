"""KITTI object frames: camera, lidar and labels of single moments; and result files in the same format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.logs.kitti_calibration import object_reference, object_rig, only
from fusion_rt.logs.kitti_files import EPOCH_NS, image_packet, image_size, sweep_packet
from fusion_rt.messages import Packet
from fusion_rt.outlines import NEAR_M, outlines
from fusion_rt.rig import Camera, Rig
from fusion_rt.transforms import Array, inverse, transform_points, wrap_angle

FRAME_GAP_NS = 10_000_000_000  # frames of one folder have nothing to do with each other
_COLUMNS = 15


class Label(Struct, frozen=True):
    """One line of label_2, or of a result file (then with a score).

    bbox      left, top, right, bottom, px
    size      height, width, length, m
    location  x, y, z of the middle of the box's bottom face, in the rectified frame of camera 0, m
    """

    type: str
    truncated: float
    occluded: int
    alpha: float
    bbox: tuple[float, float, float, float]
    size: tuple[float, float, float]
    location: tuple[float, float, float]
    rotation_y: float
    score: float | None = None


class KittiFrame(Struct, frozen=True):
    """One frame: its rig, and its packets, camera first; `labels` is None where there is no label file.
    T_reference_ego (4, 4): to the frame that labels are given in."""

    name: str
    rig: Rig
    T_reference_ego: Array
    packets: tuple[Packet, ...]
    labels: tuple[Label, ...] | None


def training_folder(folder: str | Path) -> Path:
    """The folder that holds velodyne/, image_2/, calib/: the one given, or `training` or `testing` in it.

    Raises LogError."""
    for place in (Path(folder), Path(folder) / "training", Path(folder) / "testing"):
        if (place / "calib").is_dir() and ((place / "velodyne").is_dir() or (place / "image_2").is_dir()):
            return place
    raise LogError(
        f"{folder}: no KITTI object layout (calib/ beside velodyne/ or image_2/), nor in training/"
    )


def frame_names(folder: str | Path) -> list[str]:
    """Names of the frames that have a calibration and a sweep or an image, in order."""
    place = training_folder(folder)
    found = {p.stem for p in (place / "velodyne").glob("*.bin")}
    found |= {p.stem for pattern in ("*.png", "*.jpg") for p in (place / "image_2").glob(pattern)}
    return sorted(found & {p.stem for p in (place / "calib").glob("*.txt")})


def read_frame(folder: str | Path, name: str, *, index: int = 0) -> KittiFrame:
    """One frame; `index` sets it apart in time from others. Raises LogError."""
    place = training_folder(folder)
    images = [p for s in (".png", ".jpg", ".jpeg") if (p := place / "image_2" / f"{name}{s}").is_file()]
    sweep, labels = place / "velodyne" / f"{name}.bin", place / "label_2" / f"{name}.txt"
    stamp = EPOCH_NS + index * FRAME_GAP_NS
    width, height = image_size(images[0]) if images else (1242, 375)
    calibration = place / "calib" / f"{name}.txt"
    rig = object_rig(calibration, width, height)
    packets: list[Packet] = []
    if images:
        packets.append(image_packet(images[0], index, stamp))
    if sweep.is_file():
        packets.append(sweep_packet(sweep, index, stamp))
    if not packets:
        raise LogError(f"{place}: frame {name} has neither image_2 nor velodyne")
    rig = only(rig, camera=bool(images), lidar=sweep.is_file(), oxts=False)
    return KittiFrame(
        name=name,
        rig=rig,
        T_reference_ego=object_reference(calibration),
        packets=tuple(packets),
        labels=tuple(read_labels(labels)) if labels.is_file() else None,
    )


def frames(folder: str | Path, *, errors: list[str] | None = None) -> Iterator[KittiFrame]:
    """All frames in order. With a list for `errors`, a damaged frame is noted there and left out; without
    one, it raises LogError."""
    for index, name in enumerate(frame_names(folder)):
        try:
            yield read_frame(folder, name, index=index)
        except LogError as error:
            if errors is None:
                raise
            errors.append(str(error))


def read_labels(path: str | Path) -> Iterator[Label]:
    """The lines of a label or result file. Raises LogError naming the line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: cannot be read: {error}") from error
    for k, line in enumerate(lines):
        words = line.split()
        if not words:
            continue
        try:
            if len(words) not in (_COLUMNS, _COLUMNS + 1):
                raise ValueError(f"{len(words)} columns, expected {_COLUMNS} or with a score {_COLUMNS + 1}")
            n = [float(w) for w in words[1:]]
            if not np.isfinite(n).all():
                raise ValueError("numbers that are not finite")
        except ValueError as error:
            raise LogError(f"{path}:{k + 1}: {error}") from error
        yield Label(
            type=words[0],
            truncated=n[0],
            occluded=int(n[1]),
            alpha=n[2],
            bbox=(n[3], n[4], n[5], n[6]),
            size=(n[7], n[8], n[9]),
            location=(n[10], n[11], n[12]),
            rotation_y=n[13],
            score=n[14] if len(n) > 14 else None,
        )


def ego_box(label: Label, T_reference_ego: Array) -> Array:
    """(7,) x y z l w h yaw in the ego frame; KITTI's box stands upright in the reference camera's frame."""
    height, width, length = label.size
    T_ego_reference = inverse(T_reference_ego)
    centre = np.array([[label.location[0], label.location[1] - height / 2, label.location[2]]])
    x, y, z = transform_points(T_ego_reference, centre)[0]
    # rotation_y turns the length axis about the camera's y (down) axis, from camera x towards -z.
    heading = T_ego_reference[:3, :3] @ np.array([np.cos(label.rotation_y), 0.0, -np.sin(label.rotation_y)])
    return np.array([x, y, z, length, width, height, np.arctan2(heading[1], heading[0])])


def result_label(kind: str, box: Array, score: float, camera: Camera, T_reference_ego: Array) -> Label | None:
    """A box (7,) of the ego frame as a result line; None where the image does not show it."""
    x, y, z, length, width, height, yaw = (float(v) for v in box)
    centre = transform_points(T_reference_ego, np.array([[x, y, z]]))[0]
    heading = T_reference_ego[:3, :3] @ np.array([np.cos(yaw), np.sin(yaw), 0.0])
    rotation_y = float(np.arctan2(-heading[2], heading[0]))
    bbox = image_box(box, camera)
    if bbox is None:
        return None
    return Label(
        type=kind,
        truncated=-1,
        occluded=-1,
        alpha=float(wrap_angle(rotation_y - np.arctan2(centre[0], centre[2]))),
        bbox=bbox,
        size=(height, width, length),
        location=(float(centre[0]), float(centre[1]) + height / 2, float(centre[2])),
        rotation_y=rotation_y,
        score=score,
    )


def image_box(box: Array, camera: Camera) -> tuple[float, float, float, float] | None:
    """Left, top, right, bottom (px) of the projected box, cut to the image; None where none of it is seen."""
    boxes = np.asarray(box, np.float64)[None]
    left, top, right, bottom = outlines(boxes, np.zeros(1, bool), camera, camera.T_camera_ego)[0].tolist()
    return None if np.isnan(left) else (left, top, right, bottom)


def has_its_middle_in(box: Array, camera: Camera) -> bool:
    """Whether the middle of a box (7,) of the ego frame is between the left and the right edge of the image.

    KITTI's labels are of what images show, and no difficulty counts what they cut off by more than half
    (hard: 0.5): of the rest some is labelled and some is not."""
    u, _, depth = camera.intrinsics @ transform_points(camera.T_camera_ego, np.asarray(box[None, :3]))[0]
    return bool(depth > NEAR_M and 0 <= u < depth * camera.width)


def counted_box(box: Array, camera: Camera) -> tuple[float, float, float, float] | None:
    """`image_box` of what KITTI may count; None also where `has_its_middle_in` says no."""
    return image_box(box, camera) if has_its_middle_in(box, camera) else None


def label_line(label: Label) -> str:
    """KITTI's columns, two decimals as in the originals, four for the score."""
    numbers = (*label.bbox, *label.size, *label.location, label.rotation_y)
    line = f"{label.type} {label.truncated:g} {label.occluded} {label.alpha:.2f} " + " ".join(
        f"{v:.2f}" for v in numbers
    )
    return line if label.score is None else f"{line} {label.score:.4f}"


def write_labels(path: str | Path, labels: Sequence[Label]) -> None:
    """A label or result file."""
    try:
        Path(path).write_text("".join(f"{label_line(label)}\n" for label in labels), encoding="utf-8")
    except OSError as error:
        raise LogError(f"{path}: cannot be written: {error}") from error
