"""Packets and predictions into an MCAP file with Foxglove schemas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from mcap.records import Channel, Schema

from fusion_rt import __version__
from fusion_rt.answer import Answer
from fusion_rt.errors import LogError
from fusion_rt.home_truth import HomeTruth
from fusion_rt.logs import foxglove, home_scene, json_form, scene
from fusion_rt.logs.chunks import OWN, PLAN, RIG, own_metadata, rig_metadata
from fusion_rt.logs.losses import ENDED, LOST, Cause, Ended, Loss, losses_json, topic_of
from fusion_rt.logs.mcap_writer import COMPRESSIONS, McapWriter
from fusion_rt.logs.records import Buffer
from fusion_rt.logs.records import Message as RawMessage
from fusion_rt.logs.rigs import plan_json
from fusion_rt.messages import HomeReading, Packet, Prediction, Scene, complete_ns, kind
from fusion_rt.payloads import H264
from fusion_rt.payloads.video import VideoEncoder, library
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig


class LogWriter:
    """A recording. Use as a context manager; what was written stays readable if the process dies.

    rig, plan: the sensors of a vehicle, and those of a home. Topics are the sensor_ids; log times are the
    stamps. Before the first message where the sensors sit is
    written for viewers, unless `place_sensors` is False. With `video`, images are kept as H.264: smaller, and
    not exactly what they were; then ConfigError is raised where PyAV is missing.

    counts     topic without its / -> packets and predictions written
    unwritten  after an error: what was accepted and did not reach the file
    ended      closed, or given up after an error

    Raises LogError when the file cannot be written, RigError when the rig is one that could not be read
    back."""

    def __init__(
        self,
        path: str | Path,
        rig: Rig | None = None,
        *,
        plan: Plan | None = None,
        compression: str = "zstd",
        place_sensors: bool = True,
        video: H264 | None = None,
    ) -> None:
        if compression not in COMPRESSIONS:
            raise LogError(f"compression {compression!r} is not one of {', '.join(COMPRESSIONS)}")
        self.path, self.rig, self.plan = Path(path), Rig() if rig is None else rig, plan
        self.rig.check(f"{path} (rig)")
        if plan is not None:
            plan.check(f"{path} (plan)")
        self.counts: dict[str, int] = {}
        self.unwritten: list[Loss] = []
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[str, int] = {}
        self._topics: dict[int, str] = {}  # of the channels that have messages of ours
        self._videos: Mapping[str, VideoEncoder] | None = None
        if video is not None:
            library()  # to say now that it is missing
            self._videos = defaultdict(lambda: VideoEncoder(video))
        self._placed = not place_sensors
        self.ended = False
        try:
            self._writer = McapWriter(self.path, library=f"fusion_rt {__version__}", compression=compression)
        except OSError as error:
            raise LogError(f"{path}: cannot be written: {error.strerror}") from error
        try:
            self._writer.metadata(RIG, rig_metadata(self.rig.to_yaml()))
            if plan is not None:
                self._writer.metadata(OWN + PLAN, own_metadata(plan_json(plan)))
        except OSError as error:
            self._end()
            raise LogError(f"{path}: cannot be written: {error.strerror}") from error

    @property
    def size(self) -> int:
        """Bytes in the file so far."""
        return self._writer.size

    @property
    def expected_size(self) -> int:
        """Bytes of the file if it were closed now."""
        return self._writer.expected_size

    @property
    def pending(self) -> int:
        """Messages accepted and not in the file yet."""
        return len(self._writer.pending)

    def write(self, message: json_form.Written, *, came_ns: int | None = None) -> None:
        """Append a packet, an answer or the truth; its arrays are not needed afterwards. Raises LogError
        when the disk refuses.

        came_ns: where a packet stands in the log, if not where its last point was measured."""
        stamp = message.header.stamp_ns
        if stamp < 0:
            raise LogError(f"{message.header.sensor_id}: stamp {stamp} lies before 1970; logs cannot hold it")
        with self._disk():
            self._place(complete_ns(message) if isinstance(message, HomeReading) else stamp)
            if isinstance(message, Prediction):
                self._write_prediction(message)
            else:
                self._write_packet(message, came_ns)

    def copy(self, schema: Schema | None, channel: Channel, message: RawMessage) -> None:
        """Append another log's message as it is. Raises LogError."""
        with self._disk():
            self._place(message.log_time)
            name = schema.name if schema else ""
            number = self._channel(
                channel.topic,
                name,
                channel.message_encoding,
                schema.encoding if schema else "",
                lambda: schema.data if schema else b"",
            )
            if name not in scene.DRAWN:
                self._topics[number] = channel.topic
            self._add(number, message.publish_time, [message.data], message.sequence, message.log_time)

    def report(self, losses: list[Loss]) -> None:
        """Say now in the file what is missing. Raises LogError."""
        if losses:
            with self._disk():
                self._writer.metadata(OWN + LOST, own_metadata(losses_json(losses)))

    def end_report(self, why: str = "") -> None:
        """The recorder's last words, before `close`. Raises LogError."""
        with self._disk():
            self._write_end(why)

    def flush(self) -> None:
        """Bring all that was accepted into the file. Raises LogError."""
        with self._disk():
            self._writer.flush()

    def close(self) -> None:
        """Write the index and close; a second call does nothing."""
        if self.ended:
            return
        try:
            self._writer.finish()
        except OSError as error:
            self._note_unwritten()
            raise LogError(f"{self.path}: the index could not be written: {error.strerror}") from error
        finally:
            self._end()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except LogError:
            if error is None:  # else the first error tells more
                raise

    def _disk(self) -> _Disk:
        if self.ended:
            raise LogError(f"{self.path}: the recording has ended; open another")
        return _Disk(self._refused)

    def _refused(self, error: OSError) -> LogError:
        """Half a chunk is cut off again; where there is room, what is there gets its index."""
        self._note_unwritten()
        self._writer.abandon()
        with suppress(OSError):
            self._write_end(f"the disk refused: {error.strerror}")
            self._writer.finish()
        self._end()
        return LogError(f"{self.path}: cannot be written: {error.strerror}; what is there stays readable")

    def _note_unwritten(self) -> None:
        for channel, sequence, log_ns in self._writer.pending:
            topic = self._topics.get(channel)
            if topic is not None:
                self.unwritten.append(_loss(topic, sequence, log_ns, "disk"))
                self.counts[topic.removeprefix("/")] -= 1

    def _write_end(self, why: str) -> None:
        ended = Ended(why=why, written=self.counts)
        self._writer.metadata(OWN + ENDED, own_metadata(msgspec.json.encode(ended).decode()))

    def _end(self) -> None:
        self.ended = True
        with suppress(OSError):
            self._writer.close()

    def _write_packet(self, packet: Packet | Scene | Answer | HomeTruth, came_ns: int | None) -> None:
        header, topic = packet.header, topic_of(packet)
        parts: Sequence[Buffer]
        if isinstance(packet, HomeTruth):
            channel, parts = self._json_channel(topic, "home_truth", HomeTruth), [json_form.encode(packet)]
            came_ns = header.stamp_ns if came_ns is None else came_ns
        else:
            came_ns = complete_ns(packet) if came_ns is None else came_ns
            message_class = foxglove.schema(packet, video=self._videos is not None)
            if message_class is not None:
                channel = self._proto_channel(topic, message_class)
                parts = foxglove.encode_parts(packet, self._videos)
            else:
                channel = self._json_channel(topic, kind(packet), type(packet))
                parts = [json_form.encode(packet)]
        self._topics[channel] = topic
        self._add(channel, header.stamp_ns, parts, header.seq, came_ns)
        if isinstance(packet, Scene) and self.plan is not None:
            self._add_proto(home_scene.TOPIC, home_scene.scene_update(packet, self.plan), header.stamp_ns)

    def _write_prediction(self, prediction: Prediction) -> None:
        header = prediction.header
        channel = self._json_channel("/prediction", "prediction", Prediction)
        self._topics[channel] = "/prediction"
        self._add(channel, header.stamp_ns, [json_form.encode(prediction)], header.seq)
        drawn: list[tuple[str, Any]] = [("/prediction/scene", scene.scene_update(prediction))]
        if prediction.ego.source != "none":
            drawn += [
                ("/ego/pose", scene.ego_pose(prediction.ego)),
                ("/tf", scene.ego_transform(prediction.ego)),
            ]
        for topic, message in drawn:
            self._add_proto(topic, message, header.stamp_ns)

    def _place(self, stamp_ns: int) -> None:
        """Before the first message: where the sensors sit, for viewers."""
        if self._placed:
            return
        self._placed = True
        if self.plan is not None:
            self._place_plan(self.plan, stamp_ns)
        if self.plan is not None and not self.rig.modalities():
            return
        self._add_proto("/tf", scene.rig_transforms(self.rig, stamp_ns), stamp_ns)
        for sensor_id, camera in self.rig.cameras.items():
            self._add_proto(
                f"/{sensor_id}/calibration", scene.calibration(sensor_id, camera, stamp_ns), stamp_ns
            )

    def _place_plan(self, plan: Plan, stamp_ns: int) -> None:
        self._add_proto("/tf", scene.plan_transforms(plan, stamp_ns), stamp_ns)
        for sensor_id, camera in scene.plan_cameras(plan).items():
            drawn = scene.calibration(sensor_id, camera, stamp_ns)
            self._add_proto(f"/{sensor_id}/calibration", drawn, stamp_ns)

    def _add_proto(self, topic: str, message: Any, stamp_ns: int) -> None:
        self._add(self._proto_channel(topic, type(message)), stamp_ns, [message.SerializeToString()], 0)

    def _add(
        self,
        channel: int,
        stamp_ns: int,
        parts: Sequence[Buffer],
        sequence: int,
        log_ns: int | None = None,
    ) -> None:
        """log_ns: where it stands in the log, if not at its stamp."""
        if channel in self._topics:
            name = self._topics[channel].removeprefix("/")
            self.counts[name] = self.counts.get(name, 0) + 1
        self._writer.message(
            channel,
            sequence=sequence & 0xFFFFFFFF,  # the format has no more bits
            log_ns=stamp_ns if log_ns is None else log_ns,
            publish_ns=stamp_ns,
            parts=parts,
        )

    def _proto_channel(self, topic: str, message_class: Any) -> int:
        name = message_class.DESCRIPTOR.full_name
        return self._channel(
            topic, name, "protobuf", "protobuf", lambda: foxglove.descriptor_set(message_class)
        )

    def _json_channel(self, topic: str, tag: str, type_: type) -> int:
        name = f"{json_form.PREFIX}{tag}"
        return self._channel(topic, name, "json", "jsonschema", lambda: json_form.schema(type_))

    def _channel(
        self, topic: str, name: str, encoding: str, schema_encoding: str, definition: Callable[[], bytes]
    ) -> int:
        key = (topic, name)
        if key not in self._channels:
            if name and name not in self._schemas:
                self._schemas[name] = self._writer.schema(name, schema_encoding, definition())
            self._channels[key] = self._writer.channel(topic, encoding, self._schemas.get(name, 0))
        return self._channels[key]


class _Disk:
    """Turns the disk's OSError into what `refused` makes of it."""

    def __init__(self, refused: Callable[[OSError], LogError]) -> None:
        self._refused = refused

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            raise self._refused(error) from error


def _loss(topic: str, sequence: int, log_ns: int, cause: Cause) -> Loss:
    return Loss(
        topic=topic,
        cause=cause,
        messages=1,
        first=sequence,
        last=sequence,
        start_ns=log_ns,
        end_ns=log_ns,
    )
