"""Other recordings into MCAP logs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.logs import kitti_object, kitti_tracking
from fusion_rt.logs.kitti_raw import KittiDrive
from fusion_rt.logs.kitti_tracking import KittiSequence
from fusion_rt.logs.writer import LogWriter
from fusion_rt.messages import Packet
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig

Progress = Callable[[int, int], None]


class ImportedLog(Struct, frozen=True):
    """One log that was written: its packets, and the time from the first to the last."""

    path: Path
    packets: int
    seconds: float


class Imported(Struct, frozen=True):
    """What came of it: the logs written, and what was left out and why."""

    logs: tuple[ImportedLog, ...]
    errors: tuple[str, ...]


class Recording(Protocol):
    """What an importer is: packets in order, the rig, and what was left out, complete after a pass."""

    rig: Rig
    path: Path

    @property
    def errors(self) -> Sequence[str]: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Packet]: ...


def import_recording(
    recording: Recording,
    out: str | Path,
    progress: Progress = lambda done, total: None,
    *,
    plan: Plan | None = None,
) -> Imported:
    """One recording into the log `out`, with the home's plan where it is one. Raises LogError when nothing of
    it can be used, or `out` not written.

    progress is called with packets done and expected."""
    out = Path(out)
    if out.exists() and any(out.samefile(p) for p in (recording.path, *recording.path.glob("*"))):
        raise LogError(f"{out}: is a part of what is imported; name another file")
    total = len(recording)
    log = _write(out, recording.rig, recording, lambda done: progress(done, total), plan)
    return _result([log], list(recording.errors), recording.path)


def detect_kitti(folder: str | Path) -> str:
    """ "object", "raw" or "tracking". Raises LogError saying what was looked for."""
    folder = Path(folder)
    if not folder.is_dir():
        raise LogError(f"{folder}: no such folder")
    if any((folder / name / "data").is_dir() for name in ("image_02", "velodyne_points", "oxts")):
        return "raw"
    # Tracking first: it too has calib/ beside velodyne/, but a folder a sequence in it.
    for layout, find in (
        ("tracking", kitti_tracking.tracking_folder),
        ("object", kitti_object.training_folder),
    ):
        try:
            find(folder)
        except LogError:
            continue
        return layout
    raise LogError(
        f"{folder}: neither a KITTI raw drive (image_02/data, velodyne_points/data or oxts/data)"
        " nor the object layout (calib/ beside velodyne/ or image_2/)"
        " nor the tracking layout (calib/ beside image_02/SSSS/, velodyne/SSSS/ or oxts/SSSS.txt)"
    )


def import_kitti(
    folder: str | Path,
    out: str | Path,
    progress: Progress = lambda done, total: None,
    *,
    sequence: str | None = None,
) -> Imported:
    """A raw drive into the log `out`, or into `out`/NAME.mcap where that is a folder. Object frames and
    tracking sequences into the folder `out`, a log each; `sequence` chooses one of the latter, "7" or "0007".

    progress is called with packets done and expected. What cannot be read is left out and said in `errors`;
    raises LogError when nothing is left, and when a log cannot be written."""
    folder, out = Path(folder), Path(out)
    layout = detect_kitti(folder)
    if sequence is not None and layout != "tracking":
        raise LogError(f"{folder}: has the {layout} layout; only tracking has sequences to choose from")
    if layout == "raw":
        return _import_raw(folder, out, progress)
    if out.suffix == ".mcap":
        raise LogError(f"{out}: several logs come of the {layout} layout: name a folder, such as {out.stem}")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"{out}: the folder cannot be made: {error.strerror}") from error
    if layout == "object":
        return _import_object(folder, out, progress)
    return _import_tracking(folder, out, progress, sequence)


def _import_raw(folder: Path, out: Path, progress: Progress) -> Imported:
    drive = KittiDrive(folder)
    path = out / f"{folder.resolve().name}.mcap" if out.is_dir() else out
    log = _write(path, drive.rig, drive, lambda done: progress(done, len(drive)))
    return _result([log], drive.errors, folder)


def _import_object(folder: Path, out: Path, progress: Progress) -> Imported:
    errors: list[str] = []
    logs: list[ImportedLog | None] = []
    total = len(kitti_object.frame_names(folder))
    for frame in kitti_object.frames(folder, errors=errors):
        logs.append(_write(out / f"{frame.name}.mcap", frame.rig, frame.packets))
        progress(len(logs), total)
    return _result(logs, errors, folder)


def _import_tracking(folder: Path, out: Path, progress: Progress, sequence: str | None) -> Imported:
    names = kitti_tracking.sequence_names(folder)
    if sequence is not None:
        if sequence.zfill(4) not in names:
            raise LogError(f"{folder}: no sequence {sequence}; there are {', '.join(names) or 'none'}")
        names = [sequence.zfill(4)]
    errors: list[str] = []
    sequences = []
    for name in names:
        try:
            sequences.append(KittiSequence(folder, name))
        except LogError as error:
            errors.append(str(error))
    logs: list[ImportedLog | None] = []
    before, total = 0, sum(map(len, sequences))
    for one in sequences:

        def advance(done: int, before: int = before) -> None:
            progress(before + done, total)

        logs.append(_write(out / f"{one.name}.mcap", one.rig, one, advance))
        errors += one.errors
        before += len(one)
    return _result(logs, errors, folder)


def _write(
    path: Path,
    rig: Rig,
    packets: Iterable[Packet],
    progress: Callable[[int], None] = lambda done: None,
    plan: Plan | None = None,
) -> ImportedLog | None:
    """The packets into a log; None, and no file, where there are none."""
    count, first, last = 0, 0, 0
    with LogWriter(path, rig, plan=plan) as writer:
        for packet in packets:
            writer.write(packet)
            stamp = packet.header.stamp_ns
            first, last = (stamp, stamp) if count == 0 else (min(first, stamp), max(last, stamp))
            count += 1
            progress(count)
    if count == 0:
        if path.is_file():
            path.unlink()
        return None
    return ImportedLog(path, count, (last - first) / 1e9)


def _result(logs: list[ImportedLog | None], errors: list[str], folder: Path) -> Imported:
    written = tuple(log for log in logs if log is not None)
    if not written:
        first = f"; the first of {len(errors)} errors: {errors[0]}" if errors else ""
        raise LogError(f"{folder}: nothing could be read{first}")
    return Imported(written, tuple(errors))
