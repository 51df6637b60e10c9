"""KITTI raw drives, and folders of the same layout with parts of it.

The official one   DAY/calib_*.txt, DAY/DRIVE/image_02/{data,timestamps.txt}, velodyne_points/..., oxts/...
All in one folder  DRIVE/calib.txt or DRIVE/calib_*.txt, DRIVE/image_02/data, ...

Any sensor may be absent. Without time stamps, frame k was taken k / 10 s after the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from fusion_rt.errors import LogError
from fusion_rt.logs.kitti_calibration import object_rig, only, raw_rig
from fusion_rt.logs.kitti_files import (
    EPOCH_NS,
    FRAME_NS,
    IMAGES,
    RECORDS,
    SWEEPS,
    frame_files,
    image_packet,
    size_of_first,
    sweep_packet,
)
from fusion_rt.logs.kitti_oxts import oxts_packets, read_text
from fusion_rt.messages import Packet
from fusion_rt.rig import Rig

IMAGE_SIZE = (1242, 375)  # px, of most days; where there is no image to ask
_SENSORS = {"oxts": RECORDS, "image_02": IMAGES, "velodyne_points": SWEEPS}  # in the order of ties


class KittiDrive:
    """A drive to iterate over, in order of stamps; ties: oxts, image, sweep.

    rig      from the calibration
    skipped  files that could not be used, by cause; `errors` holds what was said
    Raises LogError when the folder holds no sensor or no calibration."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.skipped: Counter[str] = Counter()
        self.errors: list[str] = []
        self._files = {
            name: frame_files(self.folder / name / "data", suffixes) for name, suffixes in _SENSORS.items()
        }
        if not any(self._files.values()):
            raise LogError(f"{folder}: none of {', '.join(f'{n}/data' for n in _SENSORS)} holds files")
        self.rig = self._rig()

    def __len__(self) -> int:
        """Packets, when all files are good."""
        return sum(len(files) for files in self._files.values()) + len(self._files["oxts"])

    def __iter__(self) -> Iterator[Packet]:
        timeline = []
        for rank, name in enumerate(_SENSORS):
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
            yield from oxts_packets(read_text(path), frame, stamp, str(path))

    def _skip(self, error: LogError) -> None:
        self.skipped["unreadable"] += 1
        self.errors.append(str(error))

    def _rig(self) -> Rig:
        size = size_of_first(self._files["image_02"].values())
        rig = _calibration(self.folder, *(size or IMAGE_SIZE))
        if self._files["oxts"] and not rig.imus:
            self._skip(
                LogError(f"{self.folder}: oxts is left out: no calib_imu_to_velo.txt says where it sits")
            )
            self._files["oxts"] = {}
        return only(
            rig,
            camera=size is not None,
            lidar=bool(self._files["velodyne_points"]),
            oxts=bool(self._files["oxts"]),
        )


def _calibration(folder: Path, width: int, height: int) -> Rig:
    for place in (folder, folder.parent):
        if (place / "calib_cam_to_cam.txt").is_file():
            return raw_rig(place, width, height)
    if (folder / "calib.txt").is_file():
        return object_rig(folder / "calib.txt", width, height)
    raise LogError(f"{folder}: no calib_cam_to_cam.txt here or in the folder above, and no calib.txt")


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
