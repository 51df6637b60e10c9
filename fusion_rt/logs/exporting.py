"""Logs into other formats."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from msgspec import Struct

from fusion_rt import logs
from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs.json_form import Written
from fusion_rt.logs.kitti_writer import KittiWriter, one_of_each
from fusion_rt.logs.left_out import LeftOut
from fusion_rt.logs.losses import topic_of
from fusion_rt.logs.pcd import write_cloud
from fusion_rt.logs.rosbag_writer import RosBagWriter
from fusion_rt.logs.writer import LogWriter
from fusion_rt.messages import Packet, PointCloud
from fusion_rt.payloads import H264

FORMATS = ("rosbag2", "rosbag1", "pcd", "kitti", "kitti-object", "mcap")


VIDEO = H264(crf=20, preset="veryfast")  # crf 18 is called visually lossless


class Options(Struct, frozen=True, kw_only=True):
    """storage       of a ROS 2 bag: sqlite3 or mcap
    pcd_encoding  ascii, binary or binary_compressed
    video         of an MCAP log: images as H.264
    camera, lidar for KITTI's layouts, where the rig has several"""

    storage: Any = "sqlite3"
    pcd_encoding: Any = "binary_compressed"
    video: bool = False
    camera: str | None = None
    lidar: str | None = None


class Exported(Struct, frozen=True):
    """What was written: packets by sensor; and what was left out, and why."""

    counts: dict[str, int]
    left_out: tuple[str, ...]


class _Writer(Protocol):
    def write(self, packet: Packet) -> bool: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *error: Any) -> None: ...


def export(
    log: str | Path,
    to: str,
    out: str | Path,
    options: Options | None = None,
    progress: Callable[[float], None] = lambda fraction: None,
) -> Exported:
    """A log into `out`, which must not be there yet: a file for rosbag1 and mcap, else a folder.

    Predictions that the log holds are not exported, except to MCAP. Raises LogError."""
    out, options = Path(out), options or Options()
    if to not in FORMATS:
        raise LogError(f"{to}: not one of {', '.join(FORMATS)}")
    if out.exists():
        raise LogError(f"{out}: is there already; nothing is overwritten")
    counts: Counter[str] = Counter()
    left_out = LeftOut()
    with logs.open(log) as opened:
        span = max(opened.end_ns - opened.start_ns, 1)
        writer = _writer(to, out, opened, options)
        with writer:
            for packet in opened:
                sensor = packet.header.sensor_id
                try:
                    if writer.write(packet):
                        counts[sensor] += 1
                    else:
                        left_out.add(sensor, f"{sensor}: {to} has no place for {type(packet).__name__}")
                except FusionError as error:
                    if not isinstance(error, LogError):  # a packet that is damaged in itself
                        left_out.add(sensor, error)
                    else:
                        raise
                progress((packet.header.stamp_ns - opened.start_ns) / span)
            if to == "mcap":
                answers: Iterator[Any] = chain(opened.predictions(), opened.scenes(), opened.truths())
                for answer in answers:
                    writer.write(answer)
                    counts[topic_of(answer).removeprefix("/")] += 1
        if isinstance(writer, KittiWriter) and writer.alone:
            left_out.add("alone", f"{writer.alone} sweeps without an image within 50 ms")
        if opened.recovered:
            left_out.add("recovered", opened.recovered)
        for topic, n in opened.skipped.items():
            left_out.add(topic, f"{topic}: {n} messages are not ours or damaged")
    if not counts:
        raise LogError(f"{log}: nothing in it can be written as {to}; {'; '.join(left_out.lines())}")
    return Exported(dict(sorted(counts.items())), tuple(left_out.lines()))


def _writer(to: str, out: Path, log: logs.Log, options: Options) -> _Writer:
    rig = log.rig
    if to in ("rosbag1", "rosbag2"):
        return RosBagWriter(out, rig, ros1=to == "rosbag1", storage=options.storage)
    if to == "pcd":
        return _PcdWriter(out, options.pcd_encoding, several=len(rig.lidars) > 1)
    if to == "mcap":
        return _McapWriter(out, log, options.video)
    layout = "object" if to == "kitti-object" else "raw"
    return KittiWriter(out, one_of_each(rig, options.camera, options.lidar), layout=layout)


class _PcdWriter:
    """A file a sweep, named by its stamp in ns; of several lidars, a folder each."""

    def __init__(self, out: Path, encoding: Any, *, several: bool) -> None:
        self._out, self._encoding, self._several = out, encoding, several

    def write(self, packet: Packet) -> bool:
        if not isinstance(packet, PointCloud):
            return False
        folder = self._out / packet.header.sensor_id if self._several else self._out
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"{folder}: the folder cannot be made: {error.strerror}") from error
        write_cloud(folder / f"{packet.header.stamp_ns:019d}.pcd", packet, self._encoding)
        return True

    def __enter__(self) -> _PcdWriter:
        return self

    def __exit__(self, *error: Any) -> None:
        pass


class _McapWriter:
    """Our own format again, with the answers and the truth that a log holds besides."""

    def __init__(self, out: Path, log: logs.Log, video: bool) -> None:
        self._log = LogWriter(out, log.rig, plan=log.plan, video=VIDEO if video else None)

    def write(self, packet: Written) -> bool:
        self._log.write(packet)
        return True

    def __enter__(self) -> _McapWriter:
        self._log.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._log.__exit__(*error)
