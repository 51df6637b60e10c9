"""KITTI's data files: images and sweeps as packets."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.messages import Header, Image, PointCloud
from fusion_rt.transforms import Array

# Where there are no time stamps: 26 September 2011, when the drives were recorded, and 10 frames a second.
EPOCH_NS = 1_317_000_000_000_000_000
FRAME_NS = 100_000_000
SWEEP_S = 0.1
IMAGES, SWEEPS, RECORDS = (".png", ".jpg", ".jpeg"), (".bin",), (".txt",)


def frame_files(folder: Path, suffixes: tuple[str, ...]) -> dict[int, Path]:
    """Frame number -> file, for files named by a number; empty where there is no such folder."""
    if not folder.is_dir():
        return {}
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in suffixes)
    return {int(path.stem): path for path in found if path.stem.isdecimal()}


def size_of_first(images: Iterable[Path]) -> tuple[int, int] | None:
    """Width, height in px of the first image that decodes; None where none does."""
    for path in images:
        try:
            return image_size(path)
        except LogError:
            continue  # reported when its packet is asked for
    return None


def image_packet(path: Path, seq: int, stamp_ns: int) -> Image:
    """The file's own bytes (JPEG or PNG), not decoded. Raises LogError when it is no image."""
    data = np.frombuffer(_bytes(path), np.uint8)
    width, height = image_size(path, data)
    encoding = "png" if path.suffix.lower() == ".png" else "jpeg"
    header = Header(sensor_id="camera", frame_id="camera", seq=seq, stamp_ns=stamp_ns)
    return Image(header=header, height=height, width=width, encoding=encoding, data=data)


def image_size(path: Path, data: Array | None = None) -> tuple[int, int]:
    """Width, height in px. Raises LogError when the file does not decode."""
    data = np.frombuffer(_bytes(path), np.uint8) if data is None else data
    pixels = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if pixels is None:
        raise LogError(f"{path}: does not decode as an image ({data.size} bytes); it is damaged or cut short")
    return pixels.shape[1], pixels.shape[0]


def sweep_packet(path: Path, seq: int, stamp_ns: int) -> PointCloud:
    """A velodyne .bin. Raises LogError when it is empty or cut within a point.

    The files hold no times: they follow from the azimuth. The scanner turns counter-clockwise, seen from
    above, ten times a second, and looks forward at the stamp (KITTI raw data, devkit/readme.txt)."""
    data = _bytes(path)
    if not data or len(data) % 16:
        raise LogError(
            f"{path}: {len(data)} bytes are no whole number of points (16 bytes each: x, y, z, reflectance);"
            " it is cut short"
        )
    values = np.frombuffer(data, "<f4").reshape(-1, 4)
    xyz = np.ascontiguousarray(values[:, :3])
    azimuth = np.arctan2(np.nan_to_num(xyz[:, 1]), np.nan_to_num(xyz[:, 0]))
    return PointCloud(
        header=Header(sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=stamp_ns),
        xyz=xyz,
        intensity=np.ascontiguousarray(values[:, 3]),
        t=(azimuth * (SWEEP_S / (2 * np.pi))).astype(np.float32),
        ring=np.zeros(len(values), np.uint16),
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LogError(f"{path}: cannot be read: {error}") from error
