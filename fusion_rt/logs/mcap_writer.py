"""An MCAP file, written chunk by chunk: large messages go from the caller's memory to the disk uncopied."""

from __future__ import annotations

import os
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import lz4.frame
import zstandard
from mcap import records as rare
from mcap.opcode import Opcode

from fusion_rt.logs.records import (
    CHUNK,
    CHUNK_INDEX,
    HEAD,
    MAGIC,
    MESSAGE,
    MESSAGE_INDEX,
    Buffer,
    crc32,
    record_bytes,
)

CHUNK_BYTES = 512 << 10  # a killed recorder loses at most this much, or
CHUNK_SPAN_NS = 1_000_000_000  # what was logged within so long
COMPRESSIONS = ("zstd", "lz4", "none")


class McapWriter:
    """Creates or empties `path`. Every method raises OSError; the file then ends behind its last whole chunk,
    and nothing but `finish` and `close` may follow.

    size      bytes in the file
    pending   messages of the chunk that is not in the file yet: channel, sequence, log time
    """

    def __init__(self, path: Path, *, library: str, compression: str = "zstd") -> None:
        self.size = 0
        self.pending: list[tuple[int, int, int]] = []
        self._compression = "" if compression == "none" else compression
        self._zstd = zstandard.ZstdCompressor()
        self._schemas: list[rare.Schema] = []
        self._channels: list[rare.Channel] = []
        self._metadata: list[rare.MetadataIndex] = []
        self._counts: Counter[int] = Counter()
        self._start_ns, self._end_ns = 1 << 64, 0
        self._chunks, self._chunk_index = 0, bytearray()
        self._chunk = bytearray()
        self._entries: dict[int, list[int]] = {}  # of the open chunk: channel -> log time, offset, ...
        self._times: tuple[int, int] | None = None
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        try:
            self._write([MAGIC, record_bytes(rare.Header(profile="", library=library))])
        except OSError:
            self.close()
            raise

    @property
    def expected_size(self) -> int:
        """About the file's size if it were finished now, without the schemas at its end."""
        return self.size + len(self._chunk) + len(self._chunk_index)

    def schema(self, name: str, encoding: str, data: bytes) -> int:
        """A new schema's number."""
        schema = rare.Schema(id=len(self._schemas) + 1, name=name, encoding=encoding, data=bytes(data))
        self._define(schema)
        self._schemas.append(schema)
        return schema.id

    def channel(self, topic: str, encoding: str, schema: int, metadata: dict[str, str] | None = None) -> int:
        """A new channel's number; schema 0 is none."""
        channel = rare.Channel(
            id=len(self._channels) + 1,
            topic=topic,
            message_encoding=encoding,
            metadata=metadata or {},
            schema_id=schema,
        )
        self._define(channel)
        self._channels.append(channel)
        return channel.id

    def message(
        self, channel: int, *, sequence: int, log_ns: int, publish_ns: int, parts: Sequence[Buffer]
    ) -> None:
        """Append a message, its data in parts. They are not needed after the call."""
        length = sum(map(len, parts))
        self._entries.setdefault(channel, []).extend((log_ns, len(self._chunk)))
        self.pending.append((channel, sequence, log_ns))
        first, last = self._times or (log_ns, log_ns)
        self._times = min(first, log_ns), max(last, log_ns)
        self._chunk += HEAD.pack(Opcode.MESSAGE, MESSAGE.size + length)
        self._chunk += MESSAGE.pack(channel, sequence, log_ns, publish_ns)
        full = len(self._chunk) + length > CHUNK_BYTES
        if full or self._times[1] - self._times[0] >= CHUNK_SPAN_NS:
            self._end_chunk(parts)
        else:
            for part in parts:
                self._chunk += part

    def metadata(self, name: str, values: dict[str, str]) -> None:
        """Write a metadata record at once; the open chunk stays open."""
        record = record_bytes(rare.Metadata(name=name, metadata=values))
        self._metadata.append(rare.MetadataIndex(offset=self.size, length=len(record), name=name))
        try:
            self._write([record])
        except OSError:
            self._metadata.pop()
            raise

    def flush(self) -> None:
        """Write the open chunk."""
        if self.pending:
            self._end_chunk(())

    def finish(self) -> None:
        """Write the open chunk, the index and the end."""
        self.flush()
        start = self.size + HEAD.size + 4
        groups = [
            (Opcode.SCHEMA, b"".join(map(record_bytes, self._schemas))),
            (Opcode.CHANNEL, b"".join(map(record_bytes, self._channels))),
            (Opcode.STATISTICS, record_bytes(self._statistics())),
            (Opcode.CHUNK_INDEX, bytes(self._chunk_index)),
            (Opcode.METADATA_INDEX, b"".join(map(record_bytes, self._metadata))),
        ]
        offset, summary = start, b""
        for opcode, data in groups:
            if data:
                summary += record_bytes(rare.SummaryOffset(opcode, offset, len(data)))
            offset += len(data)
        summary = b"".join(data for _, data in groups) + summary
        footer = HEAD.pack(Opcode.FOOTER, 20) + struct.pack("<QQ", start, offset)
        crc = crc32(footer, crc32(summary))
        data_end = HEAD.pack(Opcode.DATA_END, 4) + bytes(4)
        self._write([data_end, summary, footer, struct.pack("<I", crc), MAGIC])

    def close(self) -> None:
        """Close the file as it is; later calls do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _define(self, record: rare.McapRecord) -> None:
        """In the open chunk, where a checksum covers it, and before it: should that chunk be lost, the
        messages of all others can still be read."""
        data = record_bytes(record)
        self._write([data])
        self._chunk += data

    def _end_chunk(self, last: Sequence[Buffer]) -> None:
        """Write the open chunk, which `last` ends."""
        assert self._times is not None
        parts = [memoryview(self._chunk), *last]
        size = sum(map(len, parts))
        crc = 0
        for part in parts:
            crc = crc32(part, crc)
        if self._compression:
            data = b"".join(parts)
            packed = self._zstd.compress(data) if self._compression == "zstd" else lz4.frame.compress(data)
            parts = [memoryview(packed)]
        name = self._compression.encode()
        stored = sum(map(len, parts))
        head = CHUNK.pack(*self._times, size, crc, len(name)) + name + struct.pack("<Q", stored)
        length = HEAD.size + len(head) + stored
        offsets, index, at = b"", b"", self.size
        for channel, entries in self._entries.items():
            offsets += struct.pack("<HQ", channel, at + length + len(index))
            index += HEAD.pack(Opcode.MESSAGE_INDEX, MESSAGE_INDEX.size + 8 * len(entries))
            index += MESSAGE_INDEX.pack(channel, 8 * len(entries)) + struct.pack(
                f"<{len(entries)}Q", *entries
            )
        place = struct.pack("<I", len(offsets)) + offsets
        place += struct.pack("<QI", len(index), len(name)) + name + struct.pack("<QQ", stored, size)
        place_length = CHUNK_INDEX.size - HEAD.size + len(place)
        self._write([HEAD.pack(Opcode.CHUNK, len(head) + stored) + head, *parts, index])
        self._chunks += 1
        self._chunk_index += CHUNK_INDEX.pack(Opcode.CHUNK_INDEX, place_length, *self._times, at, length)
        self._chunk_index += place
        self._start_ns = min(self._start_ns, self._times[0])
        self._end_ns = max(self._end_ns, self._times[1])
        for channel, entries in self._entries.items():
            self._counts[channel] += len(entries) // 2
        self._forget_chunk()

    def _forget_chunk(self) -> None:
        self.pending, self._entries, self._times = [], {}, None
        self._chunk = bytearray()

    def abandon(self) -> None:
        """Give up the chunk that could not be written, so that `finish` may be tried."""
        self._forget_chunk()

    def _statistics(self) -> rare.Statistics:
        return rare.Statistics(
            message_count=self._counts.total(),
            schema_count=len(self._schemas),
            channel_count=len(self._channels),
            attachment_count=0,
            metadata_count=len(self._metadata),
            chunk_count=self._chunks,
            message_start_time=self._start_ns if self._counts else 0,
            message_end_time=self._end_ns,
            channel_message_counts=dict(self._counts),
        )

    def _write(self, parts: Sequence[Buffer]) -> None:
        """All of it, or, as far as the disk lets us, nothing of it."""
        views = [memoryview(part) for part in parts if len(part)]
        whole = self.size + sum(map(len, views))
        at = self.size
        try:
            while views:
                written = os.writev(self._fd, views)
                at += written
                while views and written >= len(views[0]):
                    written -= len(views.pop(0))
                if views:
                    views[0] = views[0][written:]
        except OSError:
            if at > self.size:
                os.ftruncate(self._fd, self.size)
                os.lseek(self._fd, self.size, os.SEEK_SET)
            raise
        self.size = whole
