"""KITTI raw drives, and folders of the same layout with parts of it.

    DAY/calib_*.txt, DAY/DRIVE/image_02/{data,timestamps.txt}, velodyne_points/..., oxts/...   the official one
    DRIVE/calib.txt or DRIVE/calib_*.txt, DRIVE/image_02/data, ...                             all in one folder

Any sensor may be absent. Without time stamps, frame k was taken k / 10 s after the first.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs.kitti_calibration import object_rig, raw_rig
from fusion_rt.logs.kitti_files import image_packet, image_size, sweep_packet
from fusion_rt.messages import GnssFix, Header, ImuSample, Packet
from fusion_rt.rig import Gnss, Imu, Pose, Rig

FRAME_NS = 100_000_000
EPOCH_NS = 1_317_000_000_000_000_000  # 26 September 2011, when the drives were recorded; used without time stamps
_IMAGE = (1242, 375)
_SENSORS = {"image_02": ("*.png", "*.jpg", "*.jpeg"), "velodyne_points": ("*.bin",), "oxts": ("*.txt",)}


class KittiDrive:
    """A drive to iterate over, in order of stamps; ties: oxts, image, sweep.

    rig      from the calibration
    skipped  files that could not be used, by cause; `errors` holds what was said
    Raises LogError when the folder holds no sensor or no calibration."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.skipped: Counter[str] = Counter()
        self.errors: list[str] = []
        self._files = {name: _frames(self.folder / name / "data", globs) for name, globs in _SENSORS.items()}
        if not any(self._files.values()):
            raise LogError(f"{folder}: none of {', '.join(f'{n}/data' for n in _SENSORS)} holds files")
        self.rig = self._rig()

    def __len__(self) -> int:
        return sum(len(files) for files in self._files.values())

    def __iter__(self) -> Iterator[Packet]:
        timeline = []
        for rank, name in enumerate(("oxts", "image_02", "velodyne_points")):
            stamps = _stamps(self.folder / name / "timestamps.txt")
            for frame, path in self._files[name].items():
                stamp = EPOCH_NS + frame * FRAME_NS if stamps is None else stamps.get(frame)
                if stamp is None:
                    self._skip(LogError(f"{path}: timestamps.txt has no line {frame + 1}"))
                else:
                    timeline.append((stamp, rank, frame, name, path))
        for stamp, _, frame, name, path in sorted(timeline, key=lambda entry: entry[:3]):
            try:
                yield from self._packets(name, path, frame, stamp)
            except LogError as error:
                self._skip(error)

    def _packets(self, name: str, path: Path, frame: int, stamp: int) -> Iterator[Packet]:
        if name == "image_02":
            yield image_packet(path, frame, stamp)
        elif name == "velodyne_points":
            yield sweep_packet(path, frame, stamp)
        else:
            yield from oxts_packets(_oxts_line(path), frame, stamp, str(path))

    def _skip(self, error: LogError) -> None:
        self.skipped["unreadable"] += 1
        self.errors.append(str(error))

    def _rig(self) -> Rig:
        images = list(self._files["image_02"].values())
        width, height = image_size(images[0]) if images else _IMAGE
        rig = None
        for place in (self.folder, self.folder.parent):
            if (place / "calib_cam_to_cam.txt").is_file():
                rig = raw_rig(place, width, height)
                break
        if rig is None:
            if not (self.folder / "calib.txt").is_file():
                raise LogError(
                    f"{self.folder}: no calib_cam_to_cam.txt here or in the folder above, and no calib.txt"
                )
            rig = object_rig(self.folder / "calib.txt", width, height)
        # A sensor without data is not part of this drive: nobody should wait for it.
        return Rig(
            cameras=rig.cameras if self._files["image_02"] else {},
            lidars=rig.lidars if self._files["velodyne_points"] else {},
            gnss=rig.gnss if self._files["oxts"] else {},
            imus=rig.imus if self._files["oxts"] else {},
        )


def oxts_packets(values: np.ndarray, seq: int, stamp_ns: int, source: str) -> Iterator[Packet]:
    """One oxts record (30 numbers, dataformat.txt): an inertial sample and a fix of the same epoch."""
    if values.shape != (30,):
        raise LogError(f"{source}: {values.size} numbers, expected the 30 of an oxts record")
    if not np.isfinite(values).all():
        raise LogError(f"{source}: holds numbers that are not finite")
    header = Header(sensor_id="imu", frame_id="imu", seq=seq, stamp_ns=stamp_ns)
    ax, ay, az, wx, wy, wz = (float(values[i]) for i in (11, 12, 13, 17, 18, 19))
    yield ImuSample(header=header, specific_force=(ax, ay, az), angular_rate=(wx, wy, wz))
    yaw, vn, ve, vf, vl, vu = (float(values[i]) for i in (5, 6, 7, 8, 9, 10))
    if math.hypot(vn, ve) < 1e-9:  # some records leave these out: forward and leftward say the same
        ve, vn = vf * math.cos(yaw) - vl * math.sin(yaw), vf * math.sin(yaw) + vl * math.cos(yaw)
    variance = max(float(values[23]), 0.01) ** 2
    yield GnssFix(
        header=Header(sensor_id="gnss", frame_id="gnss", seq=seq, stamp_ns=stamp_ns),
        latitude_deg=float(values[0]),
        longitude_deg=float(values[1]),
        altitude_m=float(values[2]),
        position_covariance=(variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, 4 * variance),
        fix_type="rtk_fixed" if values[27] >= 6 else "3d",
        satellites=max(int(values[26]), 0),
        velocity_enu=(ve, vn, vu),
        velocity_std=max(float(values[24]), 0.01),
    )


def read_oxts(path: str | Path) -> Iterator[Packet]:
    """The records of one file with a line an epoch, 10 Hz (KITTI tracking's oxts). Raises LogError."""
    path = Path(path)
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: cannot be read: {error}") from error
    for k, line in enumerate(lines):
        if line.strip():
            yield from oxts_packets(_numbers(line, f"{path}:{k + 1}"), k, EPOCH_NS + k * FRAME_NS, f"{path}:{k + 1}")


def oxts_rig() -> Rig:
    """Of an oxts file alone: the ego frame is the IMU's."""
    return Rig(gnss={"gnss": Gnss()}, imus={"imu": Imu(pose=Pose())})


def _frames(folder: Path, globs: tuple[str, ...]) -> dict[int, Path]:
    found = sorted(path for pattern in globs for path in folder.glob(pattern))
    return {int(path.stem): path for path in found if path.stem.isdigit()}


def _stamps(path: Path) -> dict[int, int] | None:
    """Line number -> UNIX ns; None where there is no file. A damaged line is left out."""
    if not path.is_file():
        return None
    stamps = {}
    for k, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines()):
        seconds, _, fraction = line.strip().partition(".")
        try:
            whole = datetime.strptime(seconds, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
            stamps[k] = int(whole.timestamp()) * 1_000_000_000 + int(f"{fraction:0<9.9}")
        except ValueError:
            continue
    return stamps


def _oxts_line(path: Path) -> np.ndarray:
    try:
        return _numbers(path.read_text(), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: cannot be read: {error}") from error


def _numbers(text: str, source: str) -> np.ndarray:
    try:
        return np.array(text.split(), dtype=np.float64)
    except ValueError as error:
        raise LogError(f"{source}: not numbers: {error}") from error
