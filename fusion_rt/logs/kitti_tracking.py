"""KITTI tracking: sequences in the official layout, each a recording of its own.

calib/SSSS.txt, image_02/SSSS/%06d.png, velodyne/SSSS/%06d.bin, oxts/SSSS.txt (a line a frame) and
label_02/SSSS.txt, in the folder given or in `training` or `testing` in it. Any sensor may be absent. There
are no time stamps: frame k was taken k / 10 s after the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fusion_rt.errors import LogError
from fusion_rt.logs.kitti_calibration import object_rig, only
from fusion_rt.logs.kitti_files import (
    EPOCH_NS,
    FRAME_NS,
    IMAGES,
    SWEEPS,
    frame_files,
    image_packet,
    size_of_first,
    sweep_packet,
)
from fusion_rt.logs.kitti_oxts import oxts_packets, read_lines
from fusion_rt.logs.kitti_raw import IMAGE_SIZE
from fusion_rt.messages import Packet
from fusion_rt.rig import Rig


def tracking_folder(folder: str | Path) -> Path:
    """The folder that holds calib/ and the sensors: the one given, or `training` or `testing` in it.

    Raises LogError."""
    for place in (Path(folder), Path(folder) / "training", Path(folder) / "testing"):
        if (place / "calib").is_dir() and (
            any((place / name).is_dir() for name in ("image_02", "label_02"))
            or any((place / "oxts").glob("*.txt"))
            or any(path.is_dir() for path in (place / "velodyne").glob("*"))
        ):
            return place
    raise LogError(
        f"{folder}: no KITTI tracking layout (calib/SSSS.txt beside image_02/SSSS/, velodyne/SSSS/,"
        " oxts/SSSS.txt or label_02/SSSS.txt), nor in training/"
    )


def sequence_names(folder: str | Path) -> list[str]:
    """Sequences that the folder says anything about, in order. Raises LogError."""
    place = tracking_folder(folder)
    files = [path for name in ("calib", "oxts", "label_02") for path in (place / name).glob("*.txt")]
    folders = [
        path for name in ("image_02", "velodyne") for path in (place / name).glob("*") if path.is_dir()
    ]
    return sorted({path.stem for path in (*files, *folders) if path.stem.isdecimal()})


class KittiSequence:
    """A sequence to iterate over, in order of stamps; ties: oxts, image, sweep.

    rig     from the calibration
    errors  what could not be used, and why
    Raises LogError when there is nothing to import, or no calibration for it."""

    def __init__(self, folder: str | Path, name: str) -> None:
        place = tracking_folder(folder)
        self.name = name
        self.errors: list[str] = []
        self._images = frame_files(place / "image_02" / name, IMAGES)
        self._sweeps = frame_files(place / "velodyne" / name, SWEEPS)
        self._oxts_path = place / "oxts" / f"{name}.txt"
        self._oxts = self._read_oxts()
        if not (self._images or self._sweeps or self._oxts):
            raise LogError(
                f"{place}: sequence {name} has no images, no sweeps and no oxts: nothing to import"
            )
        self.rig = self._rig(place / "calib" / f"{name}.txt")

    def __len__(self) -> int:
        """Packets, when all files are good."""
        return len(self._images) + len(self._sweeps) + 2 * len(self._oxts)

    def __iter__(self) -> Iterator[Packet]:
        for frame in sorted({*self._oxts, *self._images, *self._sweeps}):
            stamp = EPOCH_NS + frame * FRAME_NS
            for make in (self._oxts_packets, self._image, self._sweep):
                try:
                    yield from make(frame, stamp)
                except LogError as error:
                    self.errors.append(str(error))

    def _oxts_packets(self, frame: int, stamp: int) -> Iterator[Packet]:
        if frame in self._oxts:
            yield from oxts_packets(self._oxts[frame], frame, stamp, f"{self._oxts_path}:{frame + 1}")

    def _image(self, frame: int, stamp: int) -> Iterator[Packet]:
        if frame in self._images:
            yield image_packet(self._images[frame], frame, stamp)

    def _sweep(self, frame: int, stamp: int) -> Iterator[Packet]:
        if frame in self._sweeps:
            yield sweep_packet(self._sweeps[frame], frame, stamp)

    def _read_oxts(self) -> dict[int, str]:
        if not self._oxts_path.is_file():
            return {}
        try:
            return read_lines(self._oxts_path)
        except LogError as error:
            self.errors.append(str(error))
            return {}

    def _rig(self, calibration: Path) -> Rig:
        size = size_of_first(self._images.values())
        rig = object_rig(calibration, *(size or IMAGE_SIZE))
        if self._oxts and not rig.imus:
            self.errors.append(f"{calibration}: oxts is left out: no line Tr_imu_to_velo says where it sits")
            self._oxts = {}
        return only(rig, camera=size is not None, lidar=bool(self._sweeps), oxts=bool(self._oxts))
