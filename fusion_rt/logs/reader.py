"""An MCAP recording as a stream of packets, also when its end is missing."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from mcap.exceptions import McapError
from mcap.reader import make_reader
from mcap.records import Channel, Message as McapMessage, Metadata, Schema
from mcap.stream_reader import StreamReader
from zstandard import ZstdError

from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs import foxglove
from fusion_rt.logs.writer import RIG
from fusion_rt.messages import Message, Packet, Prediction
from fusion_rt.rig import Rig

_MAGIC = b"\x89MCAP0\r\n"
# What the mcap library lets through when bytes are missing or wrong.
_DAMAGE = (McapError, ZstdError, struct.error, EOFError, ValueError, OSError, AssertionError, LookupError)


class Log:
    """A recording. Iterating gives its packets by stamp, ties in the order of writing.

    rig              the sensors
    start_ns, end_ns stamps of the first and last message
    recovered        "" or why the index is missing and what is read without it
    skipped          messages that are not packets of ours, or are damaged, by topic

    Raises LogError when the file is missing, is no MCAP file, or holds no rig."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recovered = ""
        self.skipped: Counter[str] = Counter()
        try:
            self._file = self.path.open("rb")
        except OSError as error:
            raise LogError(f"{path}: cannot be opened: {error}") from error
        try:
            self._open()
        except BaseException:
            self._file.close()
            raise

    def __iter__(self) -> Iterator[Packet]:
        return self.packets()

    def packets(self, start_ns: int | None = None) -> Iterator[Packet]:
        """Packets from a stamp on."""
        for message in self._decoded(start_ns):
            if not isinstance(message, Prediction):
                yield message

    def predictions(self) -> Iterator[Prediction]:
        """Predictions that were recorded with the packets."""
        for message in self._decoded(None):
            if isinstance(message, Prediction):
                yield message

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        if self._file.read(len(_MAGIC)) != _MAGIC:
            raise LogError(
                f"{self.path}: not an MCAP recording; bring other formats in with `fusion-rt import --help`"
            )
        self._file.seek(0)
        rig_yaml = None
        try:
            reader = make_reader(self._file)
            summary = reader.get_summary()
            if summary is None or summary.statistics is None:
                raise EOFError("no index")
            self.start_ns = summary.statistics.message_start_time
            self.end_ns = summary.statistics.message_end_time
            rig_yaml = next((m.metadata["yaml"] for m in reader.iter_metadata() if m.name == RIG), None)
        except _DAMAGE as error:
            rig_yaml = self._survey(error)
        if rig_yaml is None:
            raise LogError(f"{self.path}: holds no rig: it was not recorded by fusion_rt, or its start is damaged")
        self.rig = Rig.from_yaml(rig_yaml, f"{self.path} (rig)")

    def _survey(self, cause: BaseException) -> str | None:
        """Without an index: read through once for the rig and the span of time."""
        rig_yaml, stamps, count = None, [], 0
        for record in self._stream():
            if isinstance(record, Metadata) and record.name == RIG:
                rig_yaml = record.metadata["yaml"]
            elif isinstance(record, tuple):
                count += 1
                stamps.append(record[2].log_time)
        self.start_ns, self.end_ns = min(stamps, default=0), max(stamps, default=0)
        self.recovered = (
            f"{self.path}: the index is missing ({cause or type(cause).__name__}): the recorder was cut off;"
            f" {count} messages up to there are read"
        )
        return rig_yaml

    def _stream(self) -> Iterator[Any]:
        """Metadata records, and (schema, channel, message), until the end or the first damage."""
        self._file.seek(0)
        schemas: dict[int, Schema] = {}
        channels: dict[int, Channel] = {}
        try:
            for record in StreamReader(self._file).records:
                if isinstance(record, Schema):
                    schemas[record.id] = record
                elif isinstance(record, Channel):
                    channels[record.id] = record
                elif isinstance(record, McapMessage):
                    channel = channels[record.channel_id]
                    yield schemas.get(channel.schema_id), channel, record
                elif isinstance(record, Metadata):
                    yield record
        except _DAMAGE:
            return

    def _records(self, start_ns: int | None) -> Iterator[Any]:
        if self.recovered:
            records = [r for r in self._stream() if isinstance(r, tuple)]
            yield from sorted(records, key=lambda r: r[2].log_time)  # stable: ties keep their order
            return
        self._file.seek(0)
        try:
            yield from make_reader(self._file).iter_messages(start_time=start_ns, log_time_order=True)
        except _DAMAGE as error:
            raise LogError(f"{self.path}: damaged ({error}); what comes before was read") from error

    def _decoded(self, start_ns: int | None) -> Iterator[Message]:
        for schema, channel, record in self._records(start_ns):
            if start_ns is not None and record.log_time < start_ns:
                continue
            try:
                message = _decode(schema, channel, record)
            except FusionError:
                message = None
            if message is None:
                self.skipped[channel.topic] += 1
            else:
                yield message


def _decode(schema: Any, channel: Channel, record: McapMessage) -> Message | None:
    name = schema.name if schema else ""
    if channel.message_encoding == "protobuf":
        return foxglove.decode(name, record.data)
    if channel.message_encoding == "json" and name.startswith("fusion_rt."):
        try:
            message: Message = msgspec.json.decode(record.data, type=Message)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise LogError(f"{channel.topic}: {error}") from error
        return message
    return None
