"""Packets into a ROS 1 or ROS 2 bag, written by the library `rosbags` (extra `ros`).

image   /SENSOR/image_raw, or /SENSOR/image_raw/compressed; /SENSOR/camera_info beside it
points  /SENSOR/points      x y z intensity ring time
gnss    /SENSOR/fix         and the velocity, which NavSatFix has no place for, in .../fix/velocity_enu
imu     /SENSOR/data
rig     /tf_static from base_footprint to each sensor; exactly, as YAML, in /fusion_rt/rig
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs import ros_packets, ros_points
from fusion_rt.logs.ros_rig import GROUND, PIXEL_CENTRE
from fusion_rt.logs.rosbag import OWN_RIG, VELOCITY
from fusion_rt.messages import GnssFix, Image, ImuSample, Packet, PointCloud, complete_ns
from fusion_rt.rig import Camera, Rig
from fusion_rt.transforms import Array, from_rotation_translation, inverse, quaternion_from_matrix

Storage = Literal["sqlite3", "mcap"]
CHANNELS = {"mono8": 1, "bgr8": 3, "rgb8": 3}


class RosBagWriter:
    """A bag in the making: `write` each packet. Use as a context manager.

    Raises LogError: `path` is there already or cannot be written, or the library is not installed."""

    def __init__(self, path: str | Path, rig: Rig, *, ros1: bool, storage: Storage = "sqlite3") -> None:
        self.path, self._rig = Path(path), rig
        self._stack = ExitStack()
        self._topics: dict[str, Any] = {}
        self._seqs: dict[str, int] = {}
        self._placed = False
        self._ros1 = ros1
        if self.path.exists():
            raise LogError(f"{path}: is there already; nothing is overwritten")
        try:
            from rosbags.rosbag1 import Writer as Writer1
            from rosbags.rosbag2 import StoragePlugin
            from rosbags.rosbag2 import Writer as Writer2
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise LogError("ROS bags need the library rosbags: pip install 'fusion-rt[ros]'") from error
        self._store = get_typestore(Stores.ROS1_NOETIC if self._ros1 else Stores.ROS2_HUMBLE)
        if self._ros1:
            # Noetic's library of the store has no tf2_msgs; its one message is as simple as its name.
            from rosbags.typesys import get_types_from_msg

            definition = "geometry_msgs/TransformStamped[] transforms\n"
            self._store.register(get_types_from_msg(definition, "tf2_msgs/msg/TFMessage"))
        writer: Any
        if self._ros1:
            writer = Writer1(self.path)
        else:
            plugin = {"sqlite3": StoragePlugin.SQLITE3, "mcap": StoragePlugin.MCAP}[storage]
            writer = Writer2(self.path, version=9, storage_plugin=plugin)
        try:
            self._writer = self._stack.enter_context(writer)
        except OSError as error:
            raise LogError(f"{path}: cannot be written: {error.strerror}") from error

    def write(self, packet: Packet) -> bool:
        """False where ROS has no message for such a packet. Raises LogError."""
        came_ns = complete_ns(packet)
        try:
            if not self._placed:
                self._place(packet.header.stamp_ns)
            if isinstance(packet, Image):
                self._image(packet, came_ns)
            elif isinstance(packet, PointCloud):
                self._points(packet, came_ns)
            elif isinstance(packet, GnssFix):
                self._fix(packet, came_ns)
            elif isinstance(packet, ImuSample):
                self._imu(packet, came_ns)
            else:
                return False
        except OSError as error:
            raise LogError(f"{self.path}: cannot be written: {error.strerror}") from error
        return True

    def __enter__(self) -> RosBagWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _image(self, packet: Image, came_ns: int) -> None:
        sensor, header = packet.header.sensor_id, self._header(packet)
        if packet.encoding in ("jpeg", "png"):
            message = self._new(
                "sensor_msgs/msg/CompressedImage", header=header, format=packet.encoding, data=packet.data
            )
            self._add(f"/{sensor}/image_raw/compressed", message, came_ns)
        else:
            message = self._new(
                "sensor_msgs/msg/Image",
                header=header,
                height=packet.height,
                width=packet.width,
                encoding=packet.encoding,
                is_bigendian=0,
                step=packet.width * CHANNELS[packet.encoding],
                data=np.ascontiguousarray(packet.data).reshape(-1),
            )
            self._add(f"/{sensor}/image_raw", message, came_ns)
        camera = self._rig.cameras.get(sensor)
        if camera is not None:  # with each image, as drivers do
            self._add(f"/{sensor}/camera_info", self._camera_info(camera, header), came_ns)

    def _points(self, packet: PointCloud, came_ns: int) -> None:
        fields, data = ros_points.packed(packet)
        message = self._new(
            "sensor_msgs/msg/PointCloud2",
            header=self._header(packet),
            height=1,
            width=len(packet.xyz),
            fields=[
                self._new("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=number, count=1)
                for name, offset, number in fields
            ],
            is_bigendian=False,
            point_step=ros_points.WRITTEN.itemsize,
            row_step=ros_points.WRITTEN.itemsize * len(packet.xyz),
            data=data,
            is_dense=bool(np.isfinite(packet.xyz).all()),
        )
        self._add(f"/{packet.header.sensor_id}/points", message, came_ns)

    def _fix(self, packet: GnssFix, came_ns: int) -> None:
        header, sensor = self._header(packet), packet.header.sensor_id
        status = self._new(
            "sensor_msgs/msg/NavSatStatus", status=ros_packets.STATUS.get(packet.fix_type, 0), service=1
        )
        message = self._new(
            "sensor_msgs/msg/NavSatFix",
            header=header,
            status=status,
            latitude=packet.latitude_deg,
            longitude=packet.longitude_deg,
            altitude=packet.altitude_m,
            position_covariance=np.array(packet.position_covariance, np.float64),
            position_covariance_type=3,  # known
        )
        if packet.velocity_enu is not None:  # first, as the fix is not complete without
            variance = np.zeros(36)
            variance[[0, 7, 14]] = (packet.velocity_std or 0.0) ** 2
            twist = self._new(
                "geometry_msgs/msg/TwistWithCovariance",
                twist=self._new(
                    "geometry_msgs/msg/Twist",
                    linear=self._vector(packet.velocity_enu),
                    angular=self._vector((0.0, 0.0, 0.0)),
                ),
                covariance=variance,
            )
            stamped = self._new("geometry_msgs/msg/TwistWithCovarianceStamped", header=header, twist=twist)
            self._add(f"/{sensor}/fix/{VELOCITY}", stamped, came_ns)
        self._add(f"/{sensor}/fix", message, came_ns)

    def _imu(self, packet: ImuSample, came_ns: int) -> None:
        unknown = np.zeros(9)
        message = self._new(
            "sensor_msgs/msg/Imu",
            header=self._header(packet),
            orientation=self._new("geometry_msgs/msg/Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
            orientation_covariance=np.array([-1.0] + [0.0] * 8),  # not measured
            angular_velocity=self._vector(packet.angular_rate),
            angular_velocity_covariance=unknown,
            linear_acceleration=self._vector(packet.specific_force),
            linear_acceleration_covariance=unknown,
        )
        self._add(f"/{packet.header.sensor_id}/data", message, came_ns)

    def _place(self, stamp_ns: int) -> None:
        """The rig, at the bag's beginning."""
        self._placed = True
        rig = self._rig
        poses: dict[str, Array] = {s: inverse(c.T_camera_ego) for s, c in rig.cameras.items()}
        poses |= {s: lidar.T_ego_lidar for s, lidar in rig.lidars.items()}
        poses |= {s: imu.T_ego_imu for s, imu in rig.imus.items()}
        poses |= {s: from_rotation_translation(np.eye(3), np.array(g.lever_arm)) for s, g in rig.gnss.items()}
        transforms = []
        for sensor, T in poses.items():
            x, y, z, w = (float(v) for v in quaternion_from_matrix(T[:3, :3]))
            transform = self._new(
                "geometry_msgs/msg/Transform",
                translation=self._vector(T[:3, 3]),
                rotation=self._new("geometry_msgs/msg/Quaternion", x=x, y=y, z=z, w=w),
            )
            transforms.append(
                self._new(
                    "geometry_msgs/msg/TransformStamped",
                    header=self._make_header(GROUND, stamp_ns, 0),
                    child_frame_id=sensor,
                    transform=transform,
                )
            )
        self._add("/tf_static", self._new("tf2_msgs/msg/TFMessage", transforms=transforms), stamp_ns)
        self._add(OWN_RIG, self._new("std_msgs/msg/String", data=rig.to_yaml()), stamp_ns)

    def _camera_info(self, camera: Camera, header: Any) -> Any:
        K = camera.intrinsics
        K[:2, 2] -= PIXEL_CENTRE
        matrices = {
            "D": np.array(camera.distortion),
            "K": K.reshape(-1),
            "R": np.eye(3).reshape(-1),
            "P": np.column_stack([K, np.zeros(3)]).reshape(-1),
        }
        names = matrices if self._ros1 else {name.lower(): m for name, m in matrices.items()}
        roi = self._new(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        return self._new(
            "sensor_msgs/msg/CameraInfo",
            header=header,
            height=camera.height,
            width=camera.width,
            distortion_model="plumb_bob",
            binning_x=0,
            binning_y=0,
            roi=roi,
            **names,
        )

    def _header(self, packet: Packet) -> Any:
        header = packet.header
        return self._make_header(header.sensor_id, header.stamp_ns, header.seq)

    def _make_header(self, frame: str, stamp_ns: int, seq: int) -> Any:
        seconds, nanoseconds = divmod(stamp_ns, 10**9)
        stamp = self._new("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        of_ros1 = {"seq": seq & 0xFFFFFFFF} if self._ros1 else {}
        return self._new("std_msgs/msg/Header", stamp=stamp, frame_id=frame, **of_ros1)

    def _vector(self, xyz: Any) -> Any:
        x, y, z = (float(v) for v in xyz)
        return self._new("geometry_msgs/msg/Vector3", x=x, y=y, z=z)

    def _new(self, type_: str, **fields: Any) -> Any:
        return self._store.types[type_](**fields)

    def _add(self, topic: str, message: Any, came_ns: int) -> None:
        if topic not in self._topics:
            latched = topic in ("/tf_static", OWN_RIG)
            self._topics[topic] = self._connect(topic, message.__msgtype__, latched)
        serialize = self._store.serialize_ros1 if self._ros1 else self._store.serialize_cdr
        self._writer.write(self._topics[topic], came_ns, serialize(message, message.__msgtype__))

    def _connect(self, topic: str, type_: str, latched: bool) -> Any:
        if self._ros1:
            return self._writer.add_connection(
                topic, type_, typestore=self._store, latching=1 if latched else None
            )
        from rosbags.interfaces import (
            Qos,
            QosDurability,
            QosHistory,
            QosLiveliness,
            QosReliability,
            QosTime,
        )

        # Who comes late must still get the transforms.
        durability = QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE
        endless = QosTime(2147483647, 4294967295)
        qos = Qos(
            QosHistory.KEEP_LAST, 1 if latched else 10, QosReliability.RELIABLE, durability,
            endless, endless, QosLiveliness.SYSTEM_DEFAULT, endless, False,
        )  # fmt: skip
        return self._writer.add_connection(topic, type_, typestore=self._store, offered_qos_profiles=[qos])
