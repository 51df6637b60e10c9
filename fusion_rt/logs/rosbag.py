"""ROS 1 and ROS 2 bags as a stream of packets, read by the library `rosbags` (extra `ros`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs import ros_images, ros_packets, ros_points, ros_topics
from fusion_rt.logs.foxglove_reader import FoxgloveReader
from fusion_rt.logs.left_out import LeftOut
from fusion_rt.logs.point_columns import full_scale, sweep
from fusion_rt.logs.ros_building import RigBuilder
from fusion_rt.logs.ros_reader import BagReader
from fusion_rt.messages import Header, Packet
from fusion_rt.payloads.video import VideoDecoder
from fusion_rt.rig import Rig

OWN_RIG = "/fusion_rt/rig"  # std_msgs/String with the rig's YAML: bags that we wrote say it exactly
VELOCITY = "velocity_enu"  # under a fix's topic, TwistWithCovarianceStamped: NavSatFix has no velocity


class RosBag:
    """A bag to iterate over, in the order of recording. Use as a context manager.

    path     a .bag file, a ROS 2 bag's folder, or one .mcap or .db3 file of it
    topics   sensor_id -> topic, where types and names do not say it (`ros_topics.choose`)
    rig      the sensors, where the recording does not say them: it must hold each sensor_id that is asked for
    base     the frame with the vehicle's axes; not given: base_footprint, base_link, ... or the lidar's own
    lidar_height_m  of the first lidar above the ground; not given: from base_footprint, or its first sweep
    scale    intensity that stands for 1; not given: 1 or 255, from the first sweep
    reader   FoxgloveReader for an MCAP file with Foxglove's messages

    rig      the sensors, `notes` how it was made
    errors   what could not be used, and why

    Raises LogError: the bag cannot be read, a topic that is asked for is not there or has no calibration."""

    def __init__(
        self,
        path: str | Path,
        *,
        topics: Mapping[str, str] | None = None,
        rig: Rig | None = None,
        base: str | None = None,
        lidar_height_m: float | None = None,
        scale: float | None = None,
        reader: type[BagReader] | type[FoxgloveReader] = BagReader,
    ) -> None:
        self.path = Path(path)
        self.notes: list[str] = []
        self._left_out = LeftOut()
        self._scales: dict[str, float] = {}
        self._scale = scale
        self._reader = reader(self.path, self._left_out)
        try:
            self._sources = ros_topics.choose(self._reader.types, topics or {}, self.path)
            self.rig = self._rig(rig, base, lidar_height_m)
        except BaseException:
            self.close()
            raise
        kept = self.rig.modalities()
        self._sources = [s for s in self._sources if s.sensor_id in kept]

    @property
    def errors(self) -> list[str]:
        """A line a topic and cause; complete after a pass."""
        return self._left_out.lines()

    def __len__(self) -> int:
        """Packets, when all messages are good."""
        return self._reader.count({source.topic for source in self._sources})

    def __iter__(self) -> Iterator[Packet]:
        by_topic = {source.topic: source for source in self._sources}
        seqs = dict.fromkeys(by_topic, 0)
        velocities = {s.topic: self._velocities(s.topic) for s in self._sources if s.kind == "gnss"}
        videos: defaultdict[str, VideoDecoder] = defaultdict(VideoDecoder)
        for topic, came_ns, message in self._reader.messages(set(by_topic)):
            source = by_topic[topic]
            stamp_ns = ros_packets.stamp_of(message, came_ns)
            header = Header(
                sensor_id=source.sensor_id, frame_id=source.sensor_id, seq=seqs[topic], stamp_ns=stamp_ns
            )
            seqs[topic] += 1
            where = f"{self.path}: {topic}"
            try:
                if source.type == ros_topics.POINTS:
                    columns = ros_points.columns(message, where)
                    scale = self._scales.setdefault(source.sensor_id, self._scale or full_scale(columns))
                    yield sweep(columns, header, scale=scale, where=where)
                elif source.type == ros_topics.IMAGE:
                    yield ros_images.raw_image(message, header, where)
                elif source.type == ros_topics.COMPRESSED:
                    yield ros_images.compressed_image(message, header, where)
                elif source.type == ros_topics.VIDEO:
                    yield ros_images.video_image(message, header, where, videos[topic])
                elif source.type == ros_topics.FIX:
                    yield ros_packets.fix(message, header, where, velocities[topic].get(stamp_ns))
                else:
                    yield ros_packets.imu(message, header, where)
            except FusionError as error:
                self._left_out.add(topic, error)

    def close(self) -> None:
        """Close the bag's files; later calls do nothing."""
        self._reader.close()

    def __enter__(self) -> RosBag:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _velocities(self, topic: str) -> dict[int, tuple[Any, float]]:
        """Stamp -> (east, north, up in m/s, standard deviation), of bags that we wrote."""
        found = {}
        for _, came_ns, message in self._reader.messages({f"{topic}/{VELOCITY}"}):
            v, variance = message.twist.twist.linear, float(message.twist.covariance[0])
            found[ros_packets.stamp_of(message, came_ns)] = ((v.x, v.y, v.z), variance**0.5)
        return found

    def _rig(self, given: Rig | None, base: str | None, lidar_height_m: float | None) -> Rig:
        if given is None and OWN_RIG in self._reader.types and base is None and lidar_height_m is None:
            own = self._reader.first(OWN_RIG)
            given = None if own is None else Rig.from_yaml(own.data, f"{self.path} ({OWN_RIG})")
        if given is not None:
            return self._part_of(given)
        built = RigBuilder(self._reader, self._sources, base, lidar_height_m)
        for source in self._sources:
            try:
                built.add(source)
            except LogError as error:
                if source.asked:
                    raise
                self._left_out.add(source.topic, f"{error}; {source.topic} is left out")
        self.notes += built.notes
        rig = built.rig
        if not rig.modalities():
            raise LogError(f"{self.path}: no sensor can be used; {'; '.join(self.errors)}")
        rig.check(str(self.path))
        return rig

    def _part_of(self, given: Rig) -> Rig:
        """The sensors of a given rig that have a topic here. Raises LogError."""
        there = {source.sensor_id: source.kind for source in self._sources}
        known = given.modalities()
        for source in self._sources:
            if known.get(source.sensor_id) != source.kind:
                text = (
                    f"{self.path}: {source.topic} would be {source.kind} {source.sensor_id!r}, which the rig"
                    f" does not hold; it holds {', '.join(f'{k} {s}' for s, k in known.items())}:"
                    f" say --topic NAME={source.topic}"
                )
                if source.asked:
                    raise LogError(text)
                self._left_out.add(source.topic, text)

        def part(sensors: dict[str, Any]) -> dict[str, Any]:
            return {sensor: s for sensor, s in sensors.items() if there.get(sensor) == known[sensor]}

        return Rig(
            cameras=part(given.cameras),
            lidars=part(given.lidars),
            gnss=part(given.gnss),
            imus=part(given.imus),
            vehicle=given.vehicle,
        )
