"""A packet capture of an Ouster lidar, with the metadata that the sensor gives beside it.

Packet layouts and the way from range to x y z: Ouster's Software User Manual, "Lidar data packet format" and
"Range to XYZ coordinates". Of two returns the first is taken. The vendor's own library would bind us to old
versions of several others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.logs.datagrams import Datagram, read_datagrams
from fusion_rt.logs.ground import lidar_height
from fusion_rt.logs.left_out import LeftOut
from fusion_rt.messages import Header, ImuSample, Packet, PointCloud
from fusion_rt.rig import Imu, Lidar, Pose, Rig
from fusion_rt.transforms import Array

IMU = np.dtype([("times_ns", "<u8", 3), ("acceleration_g", "<f4", 3), ("rate_dps", "<f4", 3)])
GRAVITY = 9.80665  # m/s^2, of the unit g
OPEN_FRAMES = 2  # sweeps whose packets are still waited for: the network may change their order
UNIX_NS = 10**18  # an earlier clock counts from the sensor's start


class Profile(Struct, frozen=True):
    """A pixel: its bytes, the type of its range and the bits and mm of that, where its reflectivity is."""

    bytes: int
    range: str
    mask: int
    unit_mm: int
    reflectivity: int


PROFILES = {
    "LEGACY": Profile(12, "<u4", 0xFFFFF, 1, 4),
    "RNG19_RFL8_SIG16_NIR16": Profile(12, "<u4", 0x7FFFF, 1, 4),
    "RNG19_RFL8_SIG16_NIR16_DUAL": Profile(16, "<u4", 0x7FFFF, 1, 3),  # of the first return
    "RNG15_RFL8_NIR8": Profile(4, "<u2", 0x7FFF, 8, 2),
}


class DataFormat(Struct):
    """`data_format` of the metadata."""

    columns_per_frame: int
    columns_per_packet: int
    pixels_per_column: int
    udp_profile_lidar: str = "LEGACY"


class Metadata(Struct):
    """What of the metadata is needed; lengths in mm, angles in degrees."""

    beam_altitude_angles: list[float]
    beam_azimuth_angles: list[float]
    lidar_origin_to_beam_origin_mm: float
    lidar_to_sensor_transform: list[float]
    imu_to_sensor_transform: list[float]
    data_format: DataFormat
    udp_port_lidar: int = 7502
    udp_port_imu: int = 7503


class OusterCapture:
    """A capture to iterate over: sweeps and IMU samples, in the order of the capture.

    metadata        the sensor's JSON; not given: the file beside the capture with its name
    lidar_height_m  above the ground; not given: from the first sweep

    A sweep's stamp is its first column's time. Where the sensor's clock is not UNIX time, it is shifted so
    that the quickest packet was captured as it was measured; `notes` say so.

    rig     one lidar and its IMU, level; `errors` what was missing. Raises LogError."""

    def __init__(
        self,
        path: str | Path,
        metadata: str | Path | None = None,
        *,
        lidar_height_m: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.metadata = read_metadata(Path(metadata) if metadata else self.path.with_suffix(".json"))
        self._layout = _layout(self.metadata)
        self._project = _Projection(self.metadata)
        self._left_out = LeftOut()
        self.notes: list[str] = []
        self._shift_ns, self._count = self._survey()
        first = next((p for p in self if isinstance(p, PointCloud)), None)
        self._left_out = LeftOut()
        if first is None:
            raise LogError(
                f"{path}: no lidar packets of {self._layout.itemsize} bytes to port"
                f" {self.metadata.udp_port_lidar}; is the metadata of another sensor?"
            )
        self.rig = self._rig(first, lidar_height_m)

    @property
    def errors(self) -> list[str]:
        """Complete after a pass."""
        return self._left_out.lines()

    def __len__(self) -> int:
        """Packets, about."""
        return self._count

    def __iter__(self) -> Iterator[Packet]:
        frames: dict[int, list[Array]] = {}
        sweeps = samples = 0
        for datagram in read_datagrams(self.path, self._left_out):
            if self._is_imu(datagram):
                yield self._sample(datagram, samples)
                samples += 1
            elif self._is_lidar(datagram):
                columns = np.frombuffer(datagram.data, self._layout)["columns"][0]
                valid = columns[columns["status"] & 1 == 1]
                for number in np.unique(self._frame_numbers(datagram, valid)):
                    of_frame = valid[self._frame_numbers(datagram, valid) == number]
                    frames.setdefault(int(number), []).append(of_frame)
                while len(frames) > OPEN_FRAMES:
                    yield self._sweep(frames.pop(next(iter(frames))), sweeps)
                    sweeps += 1
        for columns_of_frame in frames.values():
            yield self._sweep(columns_of_frame, sweeps)
            sweeps += 1

    def _is_lidar(self, datagram: Datagram) -> bool:
        return datagram.port == self.metadata.udp_port_lidar and len(datagram.data) == self._layout.itemsize

    def _is_imu(self, datagram: Datagram) -> bool:
        return datagram.port == self.metadata.udp_port_imu and len(datagram.data) == IMU.itemsize

    def _frame_numbers(self, datagram: Datagram, columns: Array) -> Array:
        """One a column; the newer profile has it once a packet."""
        if "frame" in (columns.dtype.names or ()):
            frames: Array = columns["frame"]
            return frames
        return np.full(len(columns), np.frombuffer(datagram.data, self._layout)["frame"][0])

    def _sweep(self, parts: list[Array], seq: int) -> PointCloud:
        columns = np.concatenate(parts)
        # By time, and each but once: a packet may come twice.
        _, first = np.unique(columns["measurement"], return_index=True)
        columns = columns[first]
        width = self.metadata.data_format.columns_per_frame
        columns = columns[columns["measurement"] < width]
        if len(columns) < width:
            self._left_out.add("columns", f"{self.path}: sweep {seq} has {len(columns)} of {width} columns")
        times_ns = columns["time_ns"].astype(np.int64) + self._shift_ns
        stamp_ns = int(times_ns.min()) if len(times_ns) else self._shift_ns
        pixels = columns["pixels"]
        profile = PROFILES[self.metadata.data_format.udp_profile_lidar]
        ranges_mm = (pixels["range"].astype(np.int64) & profile.mask) * profile.unit_mm
        seen = ranges_mm > 0
        xyz = self._project(ranges_mm, columns["measurement"])[seen]
        t = np.broadcast_to(((times_ns - stamp_ns) * 1e-9)[:, None], seen.shape)[seen]
        rings = np.broadcast_to(np.arange(seen.shape[1], dtype=np.uint16), seen.shape)[seen]
        brightness = np.clip(pixels["reflectivity"][seen] / np.float32(255), 0.0, 1.0)
        return PointCloud(
            header=Header(sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=stamp_ns),
            xyz=xyz.astype(np.float32),
            intensity=brightness.astype(np.float32),
            t=t.astype(np.float32),
            ring=np.ascontiguousarray(rings),
        )

    def _sample(self, datagram: Datagram, seq: int) -> ImuSample:
        record = np.frombuffer(datagram.data, IMU)[0]
        a, w = record["acceleration_g"] * GRAVITY, np.radians(record["rate_dps"])
        stamp_ns = int(record["times_ns"][1]) + self._shift_ns
        return ImuSample(
            header=Header(sensor_id="imu", frame_id="imu", seq=seq, stamp_ns=stamp_ns),
            specific_force=(float(a[0]), float(a[1]), float(a[2])),
            angular_rate=(float(w[0]), float(w[1]), float(w[2])),
        )

    def _survey(self) -> tuple[int, int]:
        """(ns from the sensor's clock to UNIX time, packets that will come)."""
        shift_ns, frames, samples = None, set(), 0
        for datagram in read_datagrams(self.path, self._left_out):
            if self._is_imu(datagram):
                samples += 1
                last_ns = int(np.frombuffer(datagram.data, IMU)[0]["times_ns"][1])
            elif self._is_lidar(datagram):
                columns = np.frombuffer(datagram.data, self._layout)["columns"][0]
                frames.update(np.unique(self._frame_numbers(datagram, columns)).tolist())
                last_ns = int(columns["time_ns"][-1])
            else:
                continue
            behind_ns = datagram.captured_ns - last_ns
            shift_ns = behind_ns if shift_ns is None else min(shift_ns, behind_ns)
            if last_ns > UNIX_NS:
                shift_ns = 0
        if shift_ns:
            self.notes.append(
                "the sensor's clock counts from its start: stamps are set by the capture's, with its delay"
            )
        return shift_ns or 0, len(frames) + samples

    def _rig(self, first: PointCloud, given_m: float | None) -> Rig:
        height_m, note = lidar_height(first.xyz, given_m)
        self.notes += note
        T_sensor_imu = np.array(self.metadata.imu_to_sensor_transform).reshape(4, 4)
        T_sensor_imu[:3, 3] *= 1e-3
        T_ego_sensor = np.eye(4)
        T_ego_sensor[2, 3] = height_m
        return Rig(
            lidars={"lidar": Lidar(pose=Pose.from_matrix(T_ego_sensor))},
            imus={"imu": Imu(pose=Pose.from_matrix(T_ego_sensor @ T_sensor_imu))},
        )


class _Projection:
    """Ranges to points in the sensor's frame: x forward, away from the connector."""

    def __init__(self, metadata: Metadata) -> None:
        self._width = metadata.data_format.columns_per_frame
        self._azimuth = -np.radians(metadata.beam_azimuth_angles)
        self._altitude = np.radians(metadata.beam_altitude_angles)
        self._n_mm = metadata.lidar_origin_to_beam_origin_mm
        self._T = np.array(metadata.lidar_to_sensor_transform).reshape(4, 4)  # mm

    def __call__(self, ranges_mm: Array, measurements: Array) -> Array:
        """(columns, pixels) mm and (columns,) -> (columns, pixels, 3) m."""
        encoder = 2 * np.pi * (1 - measurements / self._width)[:, None]
        angle = encoder + self._azimuth
        beam = ranges_mm - self._n_mm
        flat = beam * np.cos(self._altitude)
        lidar = np.stack(
            [
                flat * np.cos(angle) + self._n_mm * np.cos(encoder),
                flat * np.sin(angle) + self._n_mm * np.sin(encoder),
                beam * np.sin(self._altitude),
            ],
            axis=-1,
        )
        metres: Array = (lidar @ self._T[:3, :3].T + self._T[:3, 3]) * 1e-3
        return metres


def read_metadata(path: Path) -> Metadata:
    """Raises LogError where the file is missing or says something else."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Metadata)
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read: {error.strerror}; an Ouster's packets need its metadata:"
            " --metadata FILE"
        ) from error
    except msgspec.DecodeError as error:
        raise LogError(f"{path}: not the metadata of an Ouster sensor: {error}") from error
    pixels = found.data_format.pixels_per_column
    lengths = {len(found.beam_altitude_angles), len(found.beam_azimuth_angles), pixels}
    transforms = (found.lidar_to_sensor_transform, found.imu_to_sensor_transform)
    if len(lengths) != 1 or not 0 < pixels <= 256 or any(len(t) != 16 for t in transforms):
        raise LogError(f"{path}: beam angles, pixels_per_column or transforms contradict each other")
    if not (
        0 < found.data_format.columns_per_packet <= 64 and 0 < found.data_format.columns_per_frame <= 8192
    ):
        raise LogError(f"{path}: columns_per_packet or columns_per_frame is no sensor's")
    return found


def _layout(metadata: Metadata) -> np.dtype:
    """A whole lidar packet."""
    data = metadata.data_format
    profile = PROFILES.get(data.udp_profile_lidar)
    if profile is None:
        raise LogError(
            f"udp_profile_lidar {data.udp_profile_lidar} is not one of {', '.join(PROFILES)};"
            " set one of these at the sensor, or make a ROS bag of the capture with the vendor's tools"
        )
    pixel = np.dtype(
        {
            "names": ["range", "reflectivity"],
            "formats": [profile.range, "u1"],
            "offsets": [0, profile.reflectivity],
            "itemsize": profile.bytes,
        }
    )
    pixels = ("pixels", pixel, data.pixels_per_column)
    if data.udp_profile_lidar == "LEGACY":
        head: list[Any] = [("time_ns", "<u8"), ("measurement", "<u2"), ("frame", "<u2"), ("encoder", "<u4")]
        column = np.dtype([*head, pixels, ("status", "<u4")])
        return np.dtype([("columns", column, data.columns_per_packet)])
    column = np.dtype([("time_ns", "<u8"), ("measurement", "<u2"), ("status", "<u2"), pixels])
    packet: list[Any] = [("type", "<u2"), ("frame", "<u2"), ("rest", "V28")]
    return np.dtype([*packet, ("columns", column, data.columns_per_packet), ("footer", "V32")])
