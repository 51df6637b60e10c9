"""A rig from a bag: sensors are placed by its static transforms, cameras calibrated by their CameraInfo."""

from __future__ import annotations

from contextlib import closing

import numpy as np

from fusion_rt.errors import LogError
from fusion_rt.logs import ros_images, ros_points, ros_rig, ros_topics
from fusion_rt.logs.foxglove_reader import FoxgloveReader
from fusion_rt.logs.ground import height_above_ground
from fusion_rt.logs.point_columns import sweep
from fusion_rt.logs.ros_packets import frame_of
from fusion_rt.logs.ros_reader import BagReader
from fusion_rt.logs.ros_topics import Source
from fusion_rt.messages import Header
from fusion_rt.rig import Camera, Gnss, Imu, Lidar, Pose, Rig
from fusion_rt.transforms import Array

TF_LIMIT = 5000  # messages of /tf that are looked at for transforms which are not in /tf_static


class RigBuilder:
    """A rig in the making: sensors are added one by one.

    base            the frame with the vehicle's axes; None: see `ros_rig.BASES`, or the lidar's own
    lidar_height_m  of the first lidar above the ground; None: from base_footprint, or the first sweep

    rig    what is there so far; `notes` how it was made. Raises LogError."""

    def __init__(
        self,
        bag: BagReader | FoxgloveReader,
        sources: list[Source],
        base: str | None,
        lidar_height_m: float | None,
    ) -> None:
        self._bag = bag
        self.notes: list[str] = []
        self.rig = Rig()
        self._frame_ids = {s.topic: self._frame_id(s) for s in sources if s.kind != "camera"}
        self._frames = self._read_frames()
        lidars = (s for s in sources if s.kind == "lidar" and self._frame_ids[s.topic] is not None)
        lidar = next(lidars, None)
        lidar_frame = None if lidar is None else self._frame_ids[lidar.topic]
        if base is not None and base not in self._frames:
            raise LogError(
                f"{bag.path}: no frame {base!r}; the transforms name: {', '.join(self._frames) or 'none'}"
            )
        known = next((b for b in ros_rig.BASES if b in self._frames), lidar_frame)
        self._base = base or known or ""
        T = None if lidar_frame is None else self._frames.find(self._base, lidar_frame)
        if lidar is not None and T is None:  # joined to no base: the vehicle has its axes
            self._base, T = str(lidar_frame), np.eye(4)
        height_m = None
        if lidar is not None and T is not None:
            height_m = self._height(lidar, T, lidar_height_m)
        self._T_ego_base = ros_rig.ego_from_base(T, height_m)

    def add(self, source: Source) -> None:
        """Raises LogError where the recording does not say enough."""
        sensor = source.sensor_id
        if source.kind == "camera":
            self.rig.cameras[sensor] = self._camera(source)
            return
        frame = self._frame_ids[source.topic]
        if frame is None:
            raise LogError(f"{self._bag.path}: {source.topic} holds no message that can be read")
        T = self._T_ego(frame)
        if source.kind == "gnss":  # a metre of lever arm is small beside most fixes
            if T is None:
                self.notes.append(f"{sensor}: no transform says where its antenna is; taken as at the origin")
            x, y, z = (0.0, 0.0, 0.0) if T is None else (float(v) for v in T[:3, 3])
            self.rig.gnss[sensor] = Gnss(lever_arm=(x, y, z))
            return
        if T is None:
            raise self._unplaced(source, frame)
        if source.kind == "lidar":
            self.rig.lidars[sensor] = Lidar(pose=Pose.from_matrix(T))
        else:
            self.rig.imus[sensor] = Imu(pose=Pose.from_matrix(T))

    def _camera(self, source: Source) -> Camera:
        bag = self._bag
        first = bag.first(source.topic)
        if first is None:
            raise LogError(f"{bag.path}: {source.topic} holds no message that can be read")
        camera = ros_topics.camera_of(source.topic)
        beside = (t for t, type_ in bag.types.items() if type_ == ros_topics.CAMERA_INFO)
        topic = next((t for t in sorted(beside) if ros_topics.camera_of(t) == camera), "")
        info = bag.first(topic) if topic else None
        if info is None:
            raise LogError(
                f"{bag.path}: {source.topic} has no calibration: there is none on {camera}/camera_info;"
                " give the sensors with --rig RIG.yaml"
            )
        where = f"{bag.path}: {source.topic}"
        header = Header(sensor_id=source.sensor_id, frame_id="", seq=0, stamp_ns=0)
        if source.type == ros_topics.IMAGE:
            width, height = int(first.width), int(first.height)
        elif source.type == ros_topics.COMPRESSED:
            image = ros_images.compressed_image(first, header, where)
            width, height = image.width, image.height
        else:
            width, height = int(info.width), int(info.height)
        found = ros_rig.intrinsics(
            info,
            width=width,
            height=height,
            rectified=ros_topics.rectified(source.topic),
            where=f"{bag.path}: {topic}",
        )
        frame = frame_of(first) or frame_of(info)
        T = self._T_ego(frame)
        if T is None:
            raise self._unplaced(source, frame)
        return ros_rig.camera(found, T, width, height)

    def _height(self, lidar: Source, T_base_lidar: Array, given_m: float | None) -> float | None:
        """Of the lidar above the ground; None: the base frame's origin is on it."""
        if given_m is not None:
            return given_m
        if self._base == ros_rig.GROUND:
            return None
        message = self._bag.first(lidar.topic)
        measured = None
        if message is not None:
            where = f"{self._bag.path}: {lidar.topic}"
            columns = ros_points.columns(message, where)
            header = Header(sensor_id=lidar.sensor_id, frame_id="", seq=0, stamp_ns=0)
            columns = {name: columns[name] for name in "xyz" if name in columns}
            cloud = sweep(columns, header, scale=1.0, where=where)
            measured = height_above_ground(cloud.xyz @ T_base_lidar[:3, :3].T.astype(np.float32))
        if measured is not None:
            self.notes.append(
                f"{lidar.sensor_id}: {measured:.2f} m above the ground that its first sweep shows;"
                " --lidar-height sets it"
            )
            return measured
        self.notes.append(
            f"{lidar.sensor_id}: its height above the ground is not known; the frame {self._base!r} is taken"
            " as lying on it; --lidar-height sets it"
        )
        return None

    def _T_ego(self, frame: str) -> Array | None:
        T = self._frames.find(self._base, frame)
        return None if T is None else self._T_ego_base @ T

    def _unplaced(self, source: Source, frame: str) -> LogError:
        return LogError(
            f"{self._bag.path}: {source.topic}: no static transform joins its frame {frame!r} to"
            f" {self._base!r} (there are: {', '.join(self._frames) or 'none'}); give the sensors with"
            " --rig RIG.yaml, or another --base"
        )

    def _frame_id(self, source: Source) -> str | None:
        """None where no message can be read."""
        message = self._bag.first(source.topic)
        return None if message is None else frame_of(message)

    def _read_frames(self) -> ros_rig.Frames:
        """Of /tf_static; and of the beginning of /tf, where some recordings hold the fixed ones too."""
        frames = ros_rig.Frames()
        topics = [t for t, type_ in self._bag.types.items() if type_ == ros_topics.TRANSFORMS]
        for topic in sorted(topics, key=lambda topic: "static" not in topic):
            with closing(self._bag.messages({topic})) as messages:
                for k, (_, _, message) in enumerate(messages):
                    if "static" not in topic and k >= TF_LIMIT:
                        break
                    for transform in message.transforms:
                        frames.add(transform)
        return frames
