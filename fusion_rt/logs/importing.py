"""Folders of other recordings into MCAP logs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.logs import kitti_object
from fusion_rt.logs.kitti_raw import KittiDrive
from fusion_rt.logs.writer import LogWriter

Progress = Callable[[int, int], None]


class Imported(Struct, frozen=True):
    """What came of it: the logs written, packets in all, and what was left out and why."""

    paths: tuple[Path, ...]
    packets: int
    errors: tuple[str, ...]


def detect_kitti(folder: str | Path) -> str:
    """"object" or "raw". Raises LogError saying what was looked for."""
    folder = Path(folder)
    if not folder.is_dir():
        raise LogError(f"{folder}: no such folder")
    if any((folder / name / "data").is_dir() for name in ("image_02", "velodyne_points", "oxts")):
        return "raw"
    try:
        kitti_object.training_folder(folder)
    except LogError:
        raise LogError(
            f"{folder}: neither a KITTI raw drive (image_02/data, velodyne_points/data or oxts/data)"
            " nor the object layout (calib/ beside velodyne/ or image_2/)"
        ) from None
    return "object"


def import_kitti(folder: str | Path, out: str | Path, progress: Progress = lambda done, total: None) -> Imported:
    """A raw drive into the log `out`; object frames each into a short log `out`/NAME.mcap."""
    if detect_kitti(folder) == "object":
        return _import_object(Path(folder), Path(out), progress)
    drive = KittiDrive(folder)
    count = 0
    with LogWriter(out, drive.rig) as writer:
        for packet in drive:
            writer.write(packet)
            count += 1
            progress(count, len(drive))
    if count == 0:
        raise LogError(f"{folder}: nothing could be read; the first error: {drive.errors[0]}")
    return Imported((Path(out),), count, tuple(drive.errors))


def _import_object(folder: Path, out: Path, progress: Progress) -> Imported:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"{out}: object frames go into a folder, a log each: {error}") from error
    errors: list[str] = []
    paths, count, total = [], 0, len(kitti_object.frame_names(folder))
    for frame in kitti_object.frames(folder, errors=errors):
        paths.append(out / f"{frame.name}.mcap")
        with LogWriter(paths[-1], frame.rig) as writer:
            for packet in frame.packets:
                writer.write(packet)
                count += 1
        progress(len(paths), total)
    return Imported(tuple(paths), count, tuple(errors))
