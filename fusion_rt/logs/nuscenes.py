"""nuScenes in its official layout (www.nuscenes.org, "data format"), scene by scene.

    FOLDER/v1.0-mini/{scene,sample,sample_data,calibrated_sensor,sensor,ego_pose,log}.json
    FOLDER/samples/..., FOLDER/sweeps/...

Its ego frame lies on the ground below the rear axle; ours has the same axes, below LIDAR_TOP. The ego pose,
which the data set made by matching lidar sweeps to a map, comes as position fixes of LIDAR_TOP's stamps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
from msgspec import Struct

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs.left_out import LeftOut
from fusion_rt.logs.ros_images import compressed_bytes
from fusion_rt.messages import GnssFix, Header, Packet, PointCloud
from fusion_rt.rig import Camera, Gnss, Lidar, Pose, Rig
from fusion_rt.transforms import Array, from_rotation_translation, matrix_from_quaternion

LIDAR = "LIDAR_TOP"
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<f4")])
POSE_STD_M = 0.1  # "localization error at the 10 cm level", as the data set's paper says
# Latitude and longitude of each map's origin, as the devkit's `export_poses.py` has them.
ORIGINS = {
    "boston-seaport": (42.336849169438615, -71.05785369873047),
    "singapore-onenorth": (1.2882100868743724, 103.78475189208984),
    "singapore-hollandvillage": (1.2993652317780957, 103.78217697143555),
    "singapore-queenstown": (1.2782562240223188, 103.76741409301758),
}


class _Scene(Struct):
    token: str
    name: str
    log_token: str


class _Sample(Struct):
    token: str
    scene_token: str


class _Data(Struct):
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    timestamp: int  # us
    filename: str
    width: int
    height: int


class _Calibration(Struct):
    token: str
    sensor_token: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]  # w first
    camera_intrinsic: list[list[float]]


class _Sensor(Struct):
    token: str
    channel: str
    modality: str


class _EgoPose(Struct):
    token: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]


class _Log(Struct):
    token: str
    location: str


Row = TypeVar("Row", bound=Struct)


class NuScenes:
    """The tables of one version. Raises LogError where one is missing or another than expected."""

    def __init__(self, folder: str | Path, version: str | None = None) -> None:
        self.folder = Path(folder)
        found = sorted(p.parent.name for p in self.folder.glob("*/sample_data.json"))
        if version is None and len(found) != 1:
            several = f"several versions; say --version with one of {', '.join(found)}"
            raise LogError(
                f"{folder}: {several if found else 'no tables such as v1.0-mini/sample_data.json'}"
            )
        self.version = version or found[0]
        self.scenes = {scene.name: scene for scene in self._table("scene", _Scene)}

    def choose(self, names: Sequence[str]) -> list[str]:
        """These scenes, or all. Raises LogError where one is not there."""
        for name in names:
            if name not in self.scenes:
                raise LogError(
                    f"{self.folder}: no scene {name!r}; there are: {', '.join(sorted(self.scenes))}"
                )
        return list(names) or sorted(self.scenes)

    def scene(self, name: str, *, cameras: Sequence[str] | None = None) -> NuScenesScene:
        """A recording to iterate over; `cameras` are channels such as CAM_FRONT, all if not given."""
        return NuScenesScene(self, name, cameras)

    @cached_property
    def _samples(self) -> dict[str, str]:
        """Sample -> its scene."""
        return {sample.token: sample.scene_token for sample in self._table("sample", _Sample)}

    @cached_property
    def _data(self) -> dict[str, list[_Data]]:
        """Scene -> all its files, key frames and what lies between."""
        found: dict[str, list[_Data]] = {}
        for data in self._table("sample_data", _Data):
            found.setdefault(self._samples.get(data.sample_token, ""), []).append(data)
        return found

    @cached_property
    def _calibrations(self) -> dict[str, _Calibration]:
        return {row.token: row for row in self._table("calibrated_sensor", _Calibration)}

    @cached_property
    def _sensors(self) -> dict[str, _Sensor]:
        return {row.token: row for row in self._table("sensor", _Sensor)}

    @cached_property
    def _poses(self) -> dict[str, _EgoPose]:
        return {row.token: row for row in self._table("ego_pose", _EgoPose)}

    @cached_property
    def _locations(self) -> dict[str, str]:
        return {row.token: row.location for row in self._table("log", _Log)}

    def _table(self, name: str, row: type[Row]) -> list[Row]:
        path = self.folder / self.version / f"{name}.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=list[row])  # type: ignore[valid-type]
        except OSError as error:
            raise LogError(f"{path}: cannot be read: {error.strerror}; is the data set complete?") from error
        except msgspec.DecodeError as error:
            raise LogError(f"{path}: not a table of nuScenes: {error}") from error


class NuScenesScene:
    """One scene to iterate over, in the order of stamps; ties: fix, image, sweep.

    rig     LIDAR_TOP as lidar, CAM_FRONT as cam_front, ..., the ego pose as gnss
    errors  what could not be used, and why
    Raises LogError where a table says too little."""

    def __init__(self, tables: NuScenes, name: str, cameras: Sequence[str] | None) -> None:
        self.path = tables.folder
        self.name = name
        self._tables = tables
        self._left_out = LeftOut()
        scene = tables.scenes[name]
        self._location = tables._locations.get(scene.log_token, "")
        channels: dict[str, list[_Data]] = {}
        for data in tables._data.get(scene.token, []):
            channels.setdefault(self._channel(data), []).append(data)
        wanted = [c for c in channels if c.startswith("CAM_")] if cameras is None else list(cameras)
        for camera in wanted:
            if camera not in channels:
                raise LogError(
                    f"{tables.folder}: {name}: no {camera}; there are: {', '.join(sorted(channels))}"
                )
        self._files = [(c, data) for c in (*wanted, LIDAR) for data in channels.get(c, [])]
        if not self._files:
            raise LogError(f"{tables.folder}: {name} has no files of {LIDAR} or a camera")
        self.rig = self._rig({c: channels[c][0] for c in (*wanted, LIDAR) if c in channels})

    @property
    def errors(self) -> list[str]:
        """A line a channel and cause; complete after a pass."""
        return self._left_out.lines()

    def __len__(self) -> int:
        """Packets, when all files are good."""
        return len(self._files) + sum(c == LIDAR for c, _ in self._files) * bool(self.rig.gnss)

    def __iter__(self) -> Iterator[Packet]:
        seqs: dict[str, int] = {}
        origin = ORIGINS.get(self._location)
        local = None if origin is None else LocalMap(*origin, 0.0)
        for channel, data in sorted(self._files, key=lambda f: (f[1].timestamp, f[0] == LIDAR, f[0])):
            sensor = _sensor_id(channel)
            seq = seqs[channel] = seqs.get(channel, -1) + 1
            header = Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=data.timestamp * 1000)
            path = self.path / data.filename
            try:
                if channel == LIDAR:
                    if local is not None:
                        yield self._fix(data, local, seq)
                    yield read_sweep(path, header)
                else:
                    yield compressed_bytes(np.frombuffer(_bytes(path), np.uint8), header, str(path))
            except FusionError as error:
                self._left_out.add(channel, error)

    def _fix(self, data: _Data, local: LocalMap, seq: int) -> GnssFix:
        pose = self._row(self._tables._poses, data.ego_pose_token, "ego_pose")
        # The pose is the rear axle's; the rig says where that is.
        latitude, longitude, altitude = map(float, local.to_geodetic(np.array(pose.translation)))
        variance = POSE_STD_M**2
        return GnssFix(
            header=Header(sensor_id="gnss", frame_id="gnss", seq=seq, stamp_ns=data.timestamp * 1000),
            latitude_deg=latitude,
            longitude_deg=longitude,
            altitude_m=altitude,
            position_covariance=(variance, 0.0, 0.0, 0.0, variance, 0.0, 0.0, 0.0, variance),
            fix_type="3d",
        )

    def _rig(self, firsts: dict[str, _Data]) -> Rig:
        calibrations = {
            channel: self._row(self._tables._calibrations, data.calibrated_sensor_token, "calibrated_sensor")
            for channel, data in firsts.items()
        }
        shift = np.zeros(3)
        if LIDAR in calibrations:
            shift[:2] = calibrations[LIDAR].translation[:2]
        rig = Rig()
        for channel, calibration in calibrations.items():
            T_ego_sensor = _matrix(calibration)
            T_ego_sensor[:3, 3] -= shift
            pose = Pose.from_matrix(T_ego_sensor)
            if channel == LIDAR:
                rig.lidars["lidar"] = Lidar(pose=pose)
                continue
            data = firsts[channel]
            K = tuple(tuple(float(v) for v in row) for row in calibration.camera_intrinsic)
            rig.cameras[_sensor_id(channel)] = Camera(width=data.width, height=data.height, K=K, pose=pose)
        if self._location in ORIGINS and LIDAR in calibrations:
            rig.gnss["gnss"] = Gnss(lever_arm=(-float(shift[0]), -float(shift[1]), 0.0))
        rig.check(f"{self.path}: {self.name}")
        return rig

    def _channel(self, data: _Data) -> str:
        tables = self._tables
        calibration = self._row(tables._calibrations, data.calibrated_sensor_token, "calibrated_sensor")
        return str(self._row(tables._sensors, calibration.sensor_token, "sensor").channel)

    def _row(self, table: dict[str, Any], token: str, name: str) -> Any:
        if token not in table:
            raise LogError(f"{self.path}: {name}.json has no row {token!r}; is the data set complete?")
        return table[token]


def read_sweep(path: Path, header: Header) -> PointCloud:
    """A .pcd.bin: x y z intensity ring, float32. It holds no times; the stamp is of the turn's end. Raises
    LogError."""
    data = _bytes(path)
    if not data or len(data) % POINT.itemsize:
        raise LogError(
            f"{path}: {len(data)} bytes are no whole number of points (20 bytes each: x, y, z, intensity,"
            " ring); it is cut short"
        )
    points = np.frombuffer(data, POINT)
    ring = points["ring"]
    return PointCloud(
        header=header,
        xyz=np.stack([points[axis] for axis in "xyz"], axis=1),
        intensity=np.clip(points["intensity"] / np.float32(255.0), 0.0, 1.0),
        t=np.zeros(len(points), np.float32),
        ring=np.where((ring >= 0) & (ring < 65536), ring, 0).astype(np.uint16),
    )


def _matrix(row: _Calibration | _EgoPose) -> Array:
    w, x, y, z = row.rotation
    return from_rotation_translation(matrix_from_quaternion((x, y, z, w)), np.array(row.translation))


def _sensor_id(channel: str) -> str:
    return "lidar" if channel == LIDAR else channel.lower()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read: {error.strerror}; is this part of the data set there?"
        ) from error
