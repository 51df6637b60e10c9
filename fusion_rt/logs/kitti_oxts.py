"""KITTI's GNSS/IMU records (oxts), for raw drives and tracking sequences alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs.kitti_files import EPOCH_NS, FRAME_NS
from fusion_rt.messages import GnssFix, Header, ImuSample, Packet
from fusion_rt.rig import Gnss, Imu, Pose, Rig

_NUMBERS = 30
# The unit's position modes (OXTS NCOM manual, "position, velocity and orientation modes"). In the others it
# carries the position on by its inertial sensors, and says in pos_accuracy how well.
_FIX_TYPES = {4: "dgps", 5: "rtk_float", 6: "rtk_fixed", 7: "dgps", 8: "dgps", 9: "dgps"}


def oxts_packets(text: str, seq: int, stamp_ns: int, source: str) -> Iterator[Packet]:
    """One record (30 numbers, devkit's dataformat.txt): an inertial sample and a fix of the same epoch.

    `source` names it in errors. Raises LogError before the first packet."""
    values = _numbers(text, source)
    header = Header(sensor_id="imu", frame_id="imu", seq=seq, stamp_ns=stamp_ns)
    ax, ay, az, wx, wy, wz = (values[i] for i in (11, 12, 13, 17, 18, 19))
    yield ImuSample(header=header, specific_force=(ax, ay, az), angular_rate=(wx, wy, wz))
    yaw, vn, ve, vf, vl, vu = values[5:11]
    if math.hypot(vn, ve) < 1e-9:  # some records leave these out: forward and leftward say the same
        ve, vn = vf * math.cos(yaw) - vl * math.sin(yaw), vf * math.sin(yaw) + vl * math.cos(yaw)
    variance = max(values[23], 0.01) ** 2
    yield GnssFix(
        header=Header(sensor_id="gnss", frame_id="gnss", seq=seq, stamp_ns=stamp_ns),
        latitude_deg=values[0],
        longitude_deg=values[1],
        altitude_m=values[2],
        position_covariance=(variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, 4 * variance),
        fix_type=_FIX_TYPES.get(int(values[27]), "3d"),
        satellites=max(int(values[26]), 0),
        velocity_enu=(ve, vn, vu),
        velocity_std=max(values[24], 0.01),
    )


def read_lines(path: Path) -> dict[int, str]:
    """Of a file with a record a line (KITTI tracking): frame -> record. Raises LogError."""
    lines = read_text(path).splitlines()
    return {frame: line for frame, line in enumerate(lines) if line.strip()}


def read_oxts(path: str | Path) -> Iterator[Packet]:
    """The packets of one file with a record a line, 10 a second. Raises LogError."""
    for frame, line in read_lines(Path(path)).items():
        yield from oxts_packets(line, frame, EPOCH_NS + frame * FRAME_NS, f"{path}:{frame + 1}")


def read_text(path: Path) -> str:
    """Raises LogError."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LogError(f"{path}: cannot be read: {error}") from error


def oxts_rig() -> Rig:
    """Of an oxts file alone: the ego frame is the IMU's."""
    return Rig(gnss={"gnss": Gnss()}, imus={"imu": Imu(pose=Pose())})


def _numbers(text: str, source: str) -> list[float]:
    try:
        values = [float(word) for word in text.split()]
    except ValueError as error:
        raise LogError(f"{source}: not numbers: {error}") from error
    if len(values) != _NUMBERS:
        raise LogError(f"{source}: {len(values)} numbers, expected the {_NUMBERS} of an oxts record")
    if not np.isfinite(values).all():
        raise LogError(f"{source}: holds numbers that are not finite")
    if abs(values[0]) > 90 or abs(values[1]) > 180:
        raise LogError(f"{source}: latitude {values[0]:g}, longitude {values[1]:g} are nowhere on Earth")
    return values
