"""MCAP's records as bytes, as https://mcap.dev/spec lays them out: those that there are many of, read and
written without copying what they carry. Rare ones go through the mcap package."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NamedTuple, TypeAlias

import zstandard
from lz4.frame import LZ4FrameDecompressor
from mcap import records as rare
from mcap.data_stream import ReadDataStream, RecordBuilder
from mcap.opcode import Opcode

from fusion_rt.errors import LogError

try:
    from isal.isal_zlib import crc32
except ImportError:  # no wheel for this processor: the same sum, at a quarter of the speed
    from zlib import crc32

__all__ = ["MAGIC", "Chunk", "Message", "breakup", "chunk_bytes", "crc32", "parse", "record_bytes"]

MAGIC = b"\x89MCAP0\r\n"
MAX_CHUNK_BYTES = 1 << 30  # uncompressed
HEAD = struct.Struct("<BQ")  # opcode, length of what follows
CHUNK = struct.Struct("<QQQII")  # start, end, uncompressed size, checksum, length of the compression's name
CHUNK_INDEX = struct.Struct("<BQQQQQ")  # opcode, length of what follows; start, end, offset, length
MESSAGE = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
MESSAGE_INDEX = struct.Struct("<HI")  # channel, bytes of the entries, 16 each
FOOTER = struct.Struct("<BQQQI8s")  # opcode, length, summary_start, summary_offset_start, crc, magic
COMPRESSIONS = {b"": 1, b"lz4": 255, b"zstd": 1 << 15}  # the most that each can make of a byte

Buffer: TypeAlias = "bytes | bytearray | memoryview"
_RARE: dict[int, Any] = {
    Opcode.SCHEMA: rare.Schema,
    Opcode.CHANNEL: rare.Channel,
    Opcode.METADATA: rare.Metadata,
    Opcode.METADATA_INDEX: rare.MetadataIndex,
    Opcode.STATISTICS: rare.Statistics,
}


class Message(NamedTuple):
    """One message; data is read-only and may keep the memory of its whole chunk."""

    channel_id: int
    sequence: int
    log_time: int
    publish_time: int
    data: Buffer


class Chunk(NamedTuple):
    """What a chunk's record says; data is compressed where `compression` is not empty."""

    start_ns: int
    end_ns: int
    size: int
    crc: int
    compression: bytes
    data: memoryview


def parse(opcode: int, content: Buffer) -> Any:
    """A schema, channel, metadata or statistics record as the mcap package's struct; None for others."""
    kind = _RARE.get(opcode)
    return None if kind is None else kind.read(ReadDataStream(BytesIO(content)))


def record_bytes(record: Any) -> bytes:
    """A struct of the mcap package as its record."""
    builder = RecordBuilder()
    record.write(builder)
    data: bytes = builder.end()
    return data


def chunk_of(content: memoryview) -> Chunk:
    """A chunk record's content. Raises LogError where its lengths cannot be."""
    start, end, size, crc, n = CHUNK.unpack_from(content)
    compression = bytes(content[CHUNK.size : CHUNK.size + n]) if n <= 4 else b"?"
    if compression not in COMPRESSIONS:
        raise LogError(f"a chunk's compression {compression!r} is none of lz4, zstd")
    at = CHUNK.size + n
    (length,) = struct.unpack_from("<Q", content, at)
    data = content[at + 8 : at + 8 + length]
    if len(data) != length:
        raise LogError(f"a chunk of {length} bytes in a record of {len(content)}")
    if size > min(MAX_CHUNK_BYTES, COMPRESSIONS[compression] * length):
        raise LogError(f"{length} bytes cannot unpack to {size}")
    return Chunk(start, end, size, crc, compression, data)


def chunk_bytes(chunk: Chunk) -> memoryview:
    """The chunk's records, unpacked. Raises LogError where size or checksum differ."""
    data: Any = chunk.data
    if chunk.compression == b"zstd":
        if zstandard.frame_content_size(data) > chunk.size:  # it would be believed before all else
            raise LogError("a chunk unpacks to more than it says")
        data = zstandard.ZstdDecompressor().decompress(data, max_output_size=chunk.size)
    elif chunk.compression == b"lz4":
        data = LZ4FrameDecompressor().decompress(data, max_length=chunk.size)
    if len(data) != chunk.size:
        raise LogError(f"a chunk unpacks to {len(data)} bytes instead of {chunk.size}")
    if chunk.crc and crc32(data) != chunk.crc:
        raise LogError("a chunk's checksum differs")
    return memoryview(data).toreadonly()


def breakup(data: memoryview) -> tuple[list[Message], list[Any]]:
    """A chunk's messages in the order of writing, and its schemas and channels. Raises LogError."""
    messages: list[Message] = []
    others: list[Any] = []
    for opcode, start, stop in walk(data):
        if opcode != Opcode.MESSAGE:
            others.append(parse(opcode, data[start:stop]))
        elif stop - start < MESSAGE.size:
            raise LogError("a message's record is too short")
        else:
            channel, sequence, log_ns, publish_ns = MESSAGE.unpack_from(data, start)
            content = data[start + MESSAGE.size : stop]
            messages.append(Message(channel, sequence, log_ns, publish_ns, content))
    return messages, others


def walk(data: Buffer) -> Iterator[tuple[int, int, int]]:
    """Opcode, start and end of each record's content. Raises LogError where one ends beyond the data."""
    offset, end = 0, len(data)
    while offset < end:
        if offset + HEAD.size > end:
            raise LogError("half a record at the end")
        opcode, length = HEAD.unpack_from(data, offset)
        start = offset + HEAD.size
        offset = start + length
        if offset > end:
            raise LogError(f"a record of {length} bytes where {end - start} are left")
        yield opcode, start, offset
