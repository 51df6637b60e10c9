"""nuScenes in its official layout (www.nuscenes.org, "data format"), scene by scene.

    FOLDER/v1.0-mini/{scene,sample,sample_data,calibrated_sensor,sensor,ego_pose,log}.json
    FOLDER/v1.0-mini/{sample_annotation,instance,category,attribute}.json, for the truth
    FOLDER/samples/..., FOLDER/sweeps/...

Its ego frame lies on the ground below the rear axle; ours has the same axes, below LIDAR_TOP. The ego pose,
which the data set made by matching lidar sweeps to a map, comes as position fixes of LIDAR_TOP's stamps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fusion_rt.ego.geodesy import LocalMap
from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs.left_out import LeftOut
from fusion_rt.logs.nuscenes_radar import read_radar
from fusion_rt.logs.nuscenes_tables import Data, Tables, matrix
from fusion_rt.logs.nuscenes_truth import LIDAR, below_lidar, truth_frames
from fusion_rt.logs.ros_images import compressed_bytes
from fusion_rt.logs.truth import TruthFrame
from fusion_rt.messages import GnssFix, Header, Packet, PointCloud
from fusion_rt.rig import Camera, Gnss, Lidar, Pose, Rig

CAMERA, RADAR = "CAM_", "RADAR_"  # how channels begin
POINT = np.dtype([("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4"), ("ring", "<f4")])
POSE_STD_M = 0.1  # "localization error at the 10 cm level", as the data set's paper says
# Latitude and longitude of each map's origin, as the devkit's `export_poses.py` has them.
ORIGINS = {
    "boston-seaport": (42.336849169438615, -71.05785369873047),
    "singapore-onenorth": (1.2882100868743724, 103.78475189208984),
    "singapore-hollandvillage": (1.2993652317780957, 103.78217697143555),
    "singapore-queenstown": (1.2782562240223188, 103.76741409301758),
}


class NuScenes(Tables):
    """One version of the data set, its scenes as recordings."""

    def scene(
        self, name: str, *, cameras: Sequence[str] | None = None, radars: Sequence[str] = ()
    ) -> NuScenesScene:
        """A recording to iterate over. `cameras` are channels such as CAM_FRONT, all if not given; `radars`
        such as RADAR_FRONT."""
        return NuScenesScene(self, name, cameras, radars)


class NuScenesScene:
    """One scene to iterate over, in the order of stamps; ties: fix, image, radar, sweep.

    rig     LIDAR_TOP as lidar, CAM_FRONT as cam_front, RADAR_FRONT as radar_front among the lidars, the ego
            pose as gnss
    errors  what could not be used, and why
    Raises LogError where a table says too little."""

    def __init__(
        self, tables: NuScenes, name: str, cameras: Sequence[str] | None, radars: Sequence[str]
    ) -> None:
        self.path = tables.folder
        self.name = name
        self._tables = tables
        self._left_out = LeftOut()
        scene = tables.scenes[name]
        self._location = tables.locations.get(scene.log_token, "")
        channels: dict[str, list[Data]] = {}
        for data in tables.data.get(scene.token, []):
            channels.setdefault(tables.channel(data), []).append(data)
        wanted = [c for c in channels if c.startswith(CAMERA)] if cameras is None else list(cameras)
        for given, kind in ((wanted, CAMERA), (radars, RADAR)):
            for channel in given:
                if channel not in channels or not channel.startswith(kind):
                    there = ", ".join(sorted(c for c in channels if c.startswith(kind))) or "none"
                    raise LogError(f"{tables.folder}: {name}: no {channel}; there are: {there}")
        wanted += radars
        self._files = [(c, data) for c in (*wanted, LIDAR) for data in channels.get(c, [])]
        if not self._files:
            raise LogError(f"{tables.folder}: {name} has no files of {LIDAR} or a camera")
        self.rig = self._rig({c: channels[c][0] for c in (*wanted, LIDAR) if c in channels})

    @property
    def errors(self) -> list[str]:
        """A line a channel and cause; complete after a pass."""
        return self._left_out.lines()

    def truth(self) -> tuple[list[TruthFrame], list[str]]:
        """The annotations, a frame a key frame of LIDAR_TOP, and what of them was left out. Raises LogError
        where a table says too little."""
        return truth_frames(self._tables, self.name)

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
                elif channel.startswith(RADAR):
                    yield read_radar(path, header)
                else:
                    yield compressed_bytes(np.frombuffer(_bytes(path), np.uint8), header, str(path))
            except FusionError as error:
                self._left_out.add(channel, error)

    def _fix(self, data: Data, local: LocalMap, seq: int) -> GnssFix:
        pose = self._tables.row(self._tables.poses, data.ego_pose_token, "ego_pose")
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

    def _rig(self, firsts: dict[str, Data]) -> Rig:
        tables = self._tables
        calibrations = {
            channel: tables.row(tables.calibrations, data.calibrated_sensor_token, "calibrated_sensor")
            for channel, data in firsts.items()
        }
        shift = below_lidar(calibrations[LIDAR]) if LIDAR in calibrations else np.zeros(3)
        rig = Rig()
        for channel, calibration in calibrations.items():
            T_ego_sensor = matrix(calibration)
            T_ego_sensor[:3, 3] -= shift
            pose = Pose.from_matrix(T_ego_sensor)
            if not channel.startswith(CAMERA):
                rig.lidars[_sensor_id(channel)] = Lidar(pose=pose)
                continue
            data = firsts[channel]
            K = tuple(tuple(float(v) for v in row) for row in calibration.camera_intrinsic)
            rig.cameras[_sensor_id(channel)] = Camera(width=data.width, height=data.height, K=K, pose=pose)
        if self._location in ORIGINS and LIDAR in calibrations:
            rig.gnss["gnss"] = Gnss(lever_arm=(-float(shift[0]), -float(shift[1]), 0.0))
        rig.check(f"{self.path}: {self.name}")
        return rig


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


def _sensor_id(channel: str) -> str:
    return "lidar" if channel == LIDAR else channel.lower()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise LogError(
            f"{path}: cannot be read: {error.strerror}; is this part of the data set there?"
        ) from error
