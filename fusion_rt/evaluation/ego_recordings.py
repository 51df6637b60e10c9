"""Recordings of GNSS and IMU with a reference to judge a pose by: oxts files, segments of comma2k19."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from msgspec import Struct
from pyproj import Transformer

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.errors import LogError
from fusion_rt.logs.kitti_oxts import oxts_rig, read_oxts
from fusion_rt.messages import GnssFix, Header, ImuSample, WheelSpeed
from fusion_rt.rig import Gnss, Imu, Pose, Rig, Wheels
from fusion_rt.transforms import Array

# The receiver's epochs have no stamp of the recorder's clock: a fix comes so long after its own, in the
# median. With it the fixes have no offset along the road from the reference.
_COMMA_LATENCY_S, _COMMA_STD_M = 0.09, 0.6
_LEAST_S = 10.0

Moving: TypeAlias = ImuSample | GnssFix | WheelSpeed  # a packet that the ego filter takes


class Recording(Struct, frozen=True, kw_only=True):
    """packets: in order of arrival.
    reference: stamps (n,) ns -> position (n, 3) in local_map, m; from `begins` to `ends`, ns."""

    name: str
    rig: Rig
    packets: tuple[Moving, ...]
    local_map: LocalMap
    reference: Callable[[Array], Array]
    begins: int
    ends: int


def find(folder: Path) -> tuple[list[Recording], list[str]]:
    """What the folder holds, and what could not be used: oxts files NAME.txt of a record a line, in it or in
    oxts/; comma2k19 segments, itself or below. Raises LogError where there is nothing."""
    found, skipped = [], []
    segments = sorted(path.parent for path in folder.glob("**/processed_log"))
    files = sorted([*folder.glob("*.txt"), *folder.glob("oxts/*.txt")])
    for read, paths in ((_read_oxts, files), (_read_comma, segments)):
        for path in paths:
            try:
                found.append(read(path))
            except LogError as error:
                skipped.append(str(error))
    if not found:
        raise LogError(
            f"{folder}: neither oxts files (*.txt) nor comma2k19 segments (processed_log/, global_pose/)"
            + "".join(f"; {line}" for line in skipped)
        )
    return found, skipped


def _read_oxts(path: Path) -> Recording:
    """The unit's own positions, RTK where it had one, are the reference."""
    packets = tuple(p for p in read_oxts(path) if isinstance(p, (ImuSample, GnssFix)))
    fixes = [p for p in packets if isinstance(p, GnssFix)]
    if not fixes or fixes[-1].header.stamp_ns - fixes[0].header.stamp_ns < _LEAST_S * 1e9:
        raise LogError(f"{path}: less than {_LEAST_S:g} s of records")
    first = fixes[0]
    local_map = LocalMap(first.latitude_deg, first.longitude_deg, first.altitude_m)
    stamps = np.array([fix.header.stamp_ns for fix in fixes])
    places = np.array([local_map.to_enu(f.latitude_deg, f.longitude_deg, f.altitude_m) for f in fixes])
    return Recording(
        name=path.stem,
        rig=oxts_rig(),
        packets=packets,
        local_map=local_map,
        reference=_between(stamps, places),
        begins=int(stamps[0]),
        ends=int(stamps[-1]),
    )


def _read_comma(folder: Path) -> Recording:
    """A phone-like device behind a windscreen: forward, right, down, and not quite along the car's axes."""
    log, pose = folder / "processed_log", folder / "global_pose"
    try:
        imu_t = np.load(log / "IMU/accelerometer/t.npy")
        force, rate = (np.load(log / f"IMU/{name}/value.npy") for name in ("accelerometer", "gyro"))
        came, fixes = (np.load(log / f"GNSS/live_gnss_ublox/{name}.npy") for name in ("t", "value"))
        times = np.load(pose / "frame_times.npy")
        earth = np.load(pose / "frame_positions.npy")
    except (OSError, ValueError) as error:
        raise LogError(f"{folder}: not a whole comma2k19 segment: {error}") from error
    to_geodetic = Transformer.from_pipeline(
        "+proj=pipeline +step +inv +proj=cart +ellps=WGS84 +step +proj=unitconvert +xy_in=rad +xy_out=deg"
    )
    longitude, latitude, altitude = to_geodetic.transform(*earth.T)
    local_map = LocalMap(latitude[0], longitude[0], altitude[0])
    places = np.array([local_map.to_enu(*place) for place in zip(latitude, longitude, altitude)])
    utc = fixes[:, 3] / 1e3
    fix_t = utc - np.median(utc - came) - _COMMA_LATENCY_S
    events: list[tuple[float, Moving]] = []
    for i, t in enumerate(imu_t[: min(len(force), len(rate))]):
        sample = ImuSample(
            header=_header("imu", i, t),
            specific_force=tuple(force[i].tolist()),
            angular_rate=tuple(rate[i].tolist()),
        )
        events.append((t, sample))
    variance = _COMMA_STD_M**2
    for i, t in enumerate(fix_t):
        fix = GnssFix(
            header=_header("gnss", i, t),
            latitude_deg=fixes[i, 0],
            longitude_deg=fixes[i, 1],
            altitude_m=fixes[i, 4],
            position_covariance=(variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, 4 * variance),
        )
        events.append((t + _COMMA_LATENCY_S, fix))
    speeds = _wheel_speeds(log / "CAN/speed")
    events += speeds
    return Recording(
        name=folder.name,
        rig=Rig(
            gnss={"gnss": Gnss()},
            imus={"imu": Imu(pose=Pose(rpy_deg=(180.0, 0.0, 0.0)))},
            wheels={"wheels": Wheels()} if speeds else {},
        ),
        packets=tuple(packet for _, packet in sorted(events, key=lambda event: event[0])),
        local_map=local_map,
        reference=_between((times * 1e9).astype(np.int64), places),
        begins=int(times[0] * 1e9),
        ends=int(times[-1] * 1e9),
    )


def _wheel_speeds(folder: Path) -> list[tuple[float, WheelSpeed]]:
    """What the car's bus tells, s and packet; none where the segment is without it."""
    if not folder.is_dir():
        return []
    try:
        t, speed = np.load(folder / "t.npy"), np.load(folder / "value.npy").ravel()
    except (OSError, ValueError) as error:
        raise LogError(f"{folder}: not a whole comma2k19 segment: {error}") from error
    return [
        (came, WheelSpeed(header=_header("wheels", i, came), speed=float(v)))
        for i, (came, v) in enumerate(zip(t, speed))
    ]


def _header(sensor: str, seq: int, t: float) -> Header:
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=round(t * 1e9))


def _between(stamps: Array, places: Array) -> Callable[[Array], Array]:
    return lambda at: np.stack([np.interp(at, stamps, axis) for axis in places.T], axis=-1)
