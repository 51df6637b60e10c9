"""Packets and predictions into an MCAP file with Foxglove schemas."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import msgspec
from mcap.writer import CompressionType, Writer

from fusion_rt import __version__
from fusion_rt.errors import LogError
from fusion_rt.logs import foxglove, scene
from fusion_rt.messages import Message, Packet, Prediction, kind
from fusion_rt.rig import Rig

CHUNK_BYTES = 512 << 10  # a killed recorder loses at most this much
RIG = "fusion_rt.rig"  # metadata record that holds the rig's YAML


class LogWriter:
    """A recording. Use as a context manager; what was written stays readable if the process dies.

    Topics are the sensor_ids; log times are the stamps. Raises LogError when the file cannot be written."""

    def __init__(self, path: str | Path, rig: Rig, *, compression: str = "zstd") -> None:
        self.path, self.rig = Path(path), rig
        try:
            # Unbuffered: a finished chunk reaches the operating system at once.
            self._file: BinaryIO = open(self.path, "wb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise LogError(f"{path}: cannot be written: {error}") from error
        types = {"zstd": CompressionType.ZSTD, "lz4": CompressionType.LZ4, "none": CompressionType.NONE}
        if compression not in types:
            raise LogError(f"compression {compression!r} is not one of {', '.join(types)}")
        self._writer = Writer(self._file, chunk_size=CHUNK_BYTES, compression=types[compression])
        self._writer.start(profile="", library=f"fusion_rt {__version__}")
        self._writer.add_metadata(RIG, {"yaml": rig.to_yaml()})
        self._channels: dict[tuple[str, str], int] = {}
        self._schemas: dict[str, int] = {}
        self._placed = False
        self.counts: dict[str, int] = {}

    def write(self, message: Message) -> None:
        """Append a packet or a prediction. Raises LogError when the disk refuses."""
        stamp = message.header.stamp_ns
        if stamp < 0:
            raise LogError(f"{message.header.sensor_id}: stamp {stamp} lies before 1970; logs cannot hold it")
        try:
            if not self._placed:
                self._write_rig(stamp)
            if isinstance(message, Prediction):
                self._write_prediction(message)
            else:
                self._write_packet(message)
        except OSError as error:
            raise LogError(f"{self.path}: cannot be written: {error}; what is there stays readable") from error
        name = message.header.sensor_id
        self.counts[name] = self.counts.get(name, 0) + 1

    def close(self) -> None:
        """Write the index and close; a second call does nothing."""
        if self._file.closed:
            return
        try:
            self._writer.finish()
        except OSError as error:
            raise LogError(f"{self.path}: the index could not be written: {error}") from error
        finally:
            self._file.close()

    def __enter__(self) -> LogWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write_packet(self, packet: Packet) -> None:
        header = packet.header
        message_class = foxglove.schema(packet)
        if message_class is not None:
            channel = self._proto_channel(f"/{header.sensor_id}", message_class)
            data = foxglove.encode(packet)
        else:
            channel = self._json_channel(f"/{header.sensor_id}", kind(packet), type(packet))
            data = msgspec.json.encode(packet)
        self._add(channel, header.stamp_ns, data, header.seq)

    def _write_prediction(self, prediction: Prediction) -> None:
        header = prediction.header
        channel = self._json_channel("/prediction", "prediction", Prediction)
        self._add(channel, header.stamp_ns, msgspec.json.encode(prediction), header.seq)
        drawn = [("/prediction/scene", scene.scene_update(prediction))]
        if prediction.ego.source != "none":
            drawn += [("/ego/pose", scene.ego_pose(prediction.ego)), ("/tf", scene.ego_transform(prediction.ego))]
        for topic, message in drawn:
            self._add_proto(topic, message, header.stamp_ns)

    def _write_rig(self, stamp_ns: int) -> None:
        self._placed = True
        self._add_proto("/tf", scene.rig_transforms(self.rig, stamp_ns), stamp_ns)
        for sensor_id, camera in self.rig.cameras.items():
            self._add_proto(f"/{sensor_id}/calibration", scene.calibration(sensor_id, camera, stamp_ns), stamp_ns)

    def _add_proto(self, topic: str, message: Any, stamp_ns: int) -> None:
        self._add(self._proto_channel(topic, type(message)), stamp_ns, message.SerializeToString(), 0)

    def _add(self, channel: int, stamp_ns: int, data: bytes, sequence: int) -> None:
        self._writer.add_message(channel, stamp_ns, data, stamp_ns, sequence & 0xFFFFFFFF)

    def _proto_channel(self, topic: str, message_class: Any) -> int:
        name = message_class.DESCRIPTOR.full_name
        return self._channel(topic, name, "protobuf", lambda: foxglove.descriptor_set(message_class))

    def _json_channel(self, topic: str, tag: str, type_: type) -> int:
        def definition() -> bytes:
            return msgspec.json.encode(msgspec.json.schema(type_))

        return self._channel(topic, f"fusion_rt.{tag}", "json", definition)

    def _channel(self, topic: str, name: str, encoding: str, definition: Any) -> int:
        key = (topic, name)
        if key not in self._channels:
            if name not in self._schemas:
                kind_of_schema = "jsonschema" if encoding == "json" else encoding
                self._schemas[name] = self._writer.register_schema(name, kind_of_schema, definition())
            self._channels[key] = self._writer.register_channel(topic, encoding, self._schemas[name])
        return self._channels[key]
