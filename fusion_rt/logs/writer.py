"""Packets and predictions into an MCAP file with Foxglove schemas."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

from mcap.writer import CompressionType, Writer

from fusion_rt import __version__
from fusion_rt.errors import LogError
from fusion_rt.logs import foxglove, json_form, scene
from fusion_rt.logs.chunks import RIG, rig_metadata
from fusion_rt.messages import Message, Packet, Prediction, complete_ns, kind
from fusion_rt.rig import Rig

CHUNK_BYTES = 512 << 10  # a killed recorder loses at most this much


class LogWriter:
    """A recording. Use as a context manager; what was written stays readable if the process dies.

    Topics are the sensor_ids; log times are the stamps. Raises LogError when the file cannot be written,
    RigError when the rig is one that could not be read back."""

    def __init__(self, path: str | Path, rig: Rig, *, compression: str = "zstd") -> None:
        types = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4, "none": CompressionType.NONE}
        if compression not in types:
            raise LogError(f"compression {compression!r} is not one of {', '.join(types)}")
        self.path, self.rig = Path(path), rig
        rig.check(f"{path} (rig)")
        self.counts: dict[str, int] = {}
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[str, int] = {}
        self._placed = False
        self._ended = False
        try:
            self._file: BinaryIO = open(self.path, "wb")  # noqa: SIM115
        except OSError as error:
            raise LogError(f"{path}: cannot be written: {error.strerror}") from error
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=types[compression])
        try:
            self._writer.start(profile="", library=f"fusion_rt {__version__}")
            self._writer.add_metadata(RIG, rig_metadata(rig.to_yaml()))
            self._file.flush()
        except OSError as error:
            self._end()
            raise LogError(f"{path}: cannot be written: {error.strerror}") from error

    def write(self, message: Message, *, came_ns: int | None = None) -> None:
        """Append a packet or a prediction. Raises LogError when the disk refuses.

        came_ns: where a packet stands in the log, if not where its last point was measured."""
        stamp = message.header.stamp_ns
        if stamp < 0:
            raise LogError(f"{message.header.sensor_id}: stamp {stamp} lies before 1970; logs cannot hold it")
        if self._ended:
            raise LogError(f"{self.path}: the recording has ended; open another")
        try:
            if not self._placed:
                self._write_rig(stamp)
            if isinstance(message, Prediction):
                self._write_prediction(message)
            else:
                self._write_packet(message, came_ns)
            self._file.flush()  # a finished chunk reaches the operating system at once
        except OSError as error:
            self._end()
            raise LogError(
                f"{self.path}: cannot be written: {error.strerror}; what is there stays readable"
            ) from error
        name = message.header.sensor_id
        self.counts[name] = self.counts.get(name, 0) + 1

    def close(self) -> None:
        """Write the index and close; a second call does nothing."""
        if self._file.closed:
            return
        try:
            self._writer.finish()
            self._file.close()
        except OSError as error:
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

    def _end(self) -> None:
        """Close the file as it is: behind half a chunk, an index would be wrong."""
        self._ended = True
        with suppress(OSError):
            self._file.close()

    def _write_packet(self, packet: Packet, came_ns: int | None) -> None:
        header = packet.header
        came_ns = complete_ns(packet) if came_ns is None else came_ns
        message_class = foxglove.schema(packet)
        if message_class is not None:
            channel = self._proto_channel(f"/{header.sensor_id}", message_class)
            data = foxglove.encode(packet)
        else:
            channel = self._json_channel(f"/{header.sensor_id}", kind(packet), type(packet))
            data = json_form.encode(packet)
        self._add(channel, header.stamp_ns, data, header.seq, came_ns)

    def _write_prediction(self, prediction: Prediction) -> None:
        header = prediction.header
        channel = self._json_channel("/prediction", "prediction", Prediction)
        self._add(channel, header.stamp_ns, json_form.encode(prediction), header.seq)
        drawn: list[tuple[str, Any]] = [("/prediction/scene", scene.scene_update(prediction))]
        if prediction.ego.source != "none":
            drawn += [
                ("/ego/pose", scene.ego_pose(prediction.ego)),
                ("/tf", scene.ego_transform(prediction.ego)),
            ]
        for topic, message in drawn:
            self._add_proto(topic, message, header.stamp_ns)

    def _write_rig(self, stamp_ns: int) -> None:
        self._placed = True
        self._add_proto("/tf", scene.rig_transforms(self.rig, stamp_ns), stamp_ns)
        for sensor_id, camera in self.rig.cameras.items():
            self._add_proto(
                f"/{sensor_id}/calibration", scene.calibration(sensor_id, camera, stamp_ns), stamp_ns
            )

    def _add_proto(self, topic: str, message: Any, stamp_ns: int) -> None:
        self._add(self._proto_channel(topic, type(message)), stamp_ns, message.SerializeToString(), 0)

    def _add(
        self, channel: int, stamp_ns: int, data: bytes, sequence: int, log_ns: int | None = None
    ) -> None:
        """log_ns: where it stands in the log, if not at its stamp."""
        at_ns = stamp_ns if log_ns is None else log_ns
        self._writer.add_message(channel, at_ns, data, stamp_ns, sequence & 0xFFFFFFFF)

    def _proto_channel(self, topic: str, message_class: Any) -> int:
        name = message_class.DESCRIPTOR.full_name
        return self._channel(topic, name, "protobuf", lambda: foxglove.descriptor_set(message_class))

    def _json_channel(self, topic: str, tag: str, type_: type) -> int:
        return self._channel(topic, f"{json_form.PREFIX}{tag}", "json", lambda: json_form.schema(type_))

    def _channel(self, topic: str, name: str, encoding: str, definition: Any) -> int:
        key = (topic, name)
        if key not in self._channels:
            if name not in self._schemas:
                kind_of_schema = "jsonschema" if encoding == "json" else encoding
                self._schemas[name] = self._writer.register_schema(name, kind_of_schema, definition())
            self._channels[key] = self._writer.register_channel(topic, encoding, self._schemas[name])
        return self._channels[key]
