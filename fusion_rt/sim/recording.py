"""A simulated drive as files: the log, the truth, the raw layout of KITTI."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fusion_rt.errors import ConfigError
from fusion_rt.logs import LogWriter, truth
from fusion_rt.messages import complete_ns
from fusion_rt.sim.drive import Drive
from fusion_rt.sim.drive_config import DriveConfig
from fusion_rt.sim.kitti_raw import KittiRawWriter


def record(
    drive_config: DriveConfig,
    seed: int,
    path: Path,
    *,
    truth_path: Path | None = None,
    kitti_raw: Path | None = None,
    compression: str = "zstd",
    on_time: Callable[[float], None] | None = None,
) -> Drive:
    """Simulates a drive into an MCAP log, and where asked into truth lines and a KITTI raw folder.

    on_time: told the simulated seconds so far. Raises ConfigError or LogError."""
    if kitti_raw is not None and drive_config.faults:
        raise ConfigError(
            "faults: KITTI's synced layout holds sensors that keep step; leave the faults or the folder out"
        )
    drive = Drive(drive_config, seed)
    folder = None if kitti_raw is None else KittiRawWriter(kitti_raw, drive)
    with LogWriter(path, drive.rig, compression=compression) as log:
        now_ns = drive_config.start_ns
        for packet in drive.packets():
            # A log is read in the order of its times: late packets stand where they came, not before.
            now_ns = max(now_ns, complete_ns(packet))
            log.write(packet, came_ns=now_ns)
            if folder is not None:
                folder.write(packet)
            if on_time is not None:
                on_time((packet.header.stamp_ns - drive_config.start_ns) * 1e-9)
    if folder is not None:
        folder.close()
    if truth_path is not None:
        truth.write(truth_path, drive.truth)
    return drive
