"""Where the messages of an MCAP file are: from its index or, without a sound one, by reading all of it.

Recordings get cut off and disks rot. So every checksum is compared, no damaged length is believed, and
whatever the libraries below let through on wrong bytes is a LogError. Its text says what is wrong; the caller
names the file.
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, ChunkIndex, Message, Metadata, MetadataIndex, Schema, Statistics
from mcap.stream_reader import StreamReader, breakup_chunk
from msgspec import Struct

from fusion_rt.errors import LogError

MAGIC = b"\x89MCAP0\r\n"
RIG = "fusion_rt.rig"  # the metadata record that holds the rig's YAML
_FOOTER = struct.Struct("<BQQQI8s")  # opcode, length, summary_start, summary_offset_start, summary_crc, magic


class McapFile(io.BufferedReader):
    """A file that gives no more than it has: a damaged length costs no memory."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        """Up to `size` bytes. Raises ValueError where it is negative, as a damaged length makes it."""
        if size is None or size < 0:
            raise ValueError("a record's length is negative")
        return super().read(min(size, max(self.size - self.tell(), 0)))


class Place(Struct, frozen=True):
    """A chunk: its offset in the file, and the span of the stamps in it."""

    offset: int
    start_ns: int
    end_ns: int


class Contents(Struct):
    """What a file holds. rig is its YAML, None where there is none; counts are messages by channel id.

    lost  "" or what could not be read, and why"""

    rig: str | None
    chunks: list[Place]
    schemas: dict[int, Schema]
    channels: dict[int, Channel]
    counts: Counter[int]
    start_ns: int = 0
    end_ns: int = 0
    lost: str = ""


def rig_metadata(yaml: str) -> dict[str, str]:
    """The rig as a metadata record; the format itself has no checksum for these."""
    return {"yaml": yaml, "crc32": str(zlib.crc32(yaml.encode()))}


def read_index(file: McapFile) -> Contents:
    """From the summary at the file's end. Raises LogError when that is missing or damaged."""
    found = Contents(None, [], {}, {}, Counter())
    statistics = None
    with _library_errors():
        file.seek(-_FOOTER.size, os.SEEK_END)
        opcode, _, start, _, crc, magic = _FOOTER.unpack(file.read(_FOOTER.size))
        if (opcode, magic) != (Opcode.FOOTER, MAGIC) or start == 0:
            raise LogError("the index is missing")
        file.seek(start)
        # The checksum covers the summary, and the footer up to the checksum itself.
        if crc and zlib.crc32(file.read(file.size - start - len(MAGIC) - 4)) != crc:
            raise LogError("the index is damaged")
        file.seek(start)
        metadata = []
        for record in StreamReader(file, skip_magic=True).records:
            if isinstance(record, ChunkIndex):
                found.chunks.append(
                    Place(record.chunk_start_offset, record.message_start_time, record.message_end_time)
                )
            elif isinstance(record, Statistics):
                statistics = record
            elif isinstance(record, MetadataIndex) and record.name == RIG:
                metadata.append(record.offset)
            else:
                _note_channel(found, record)
        if statistics is None or (statistics.message_count and not found.chunks):
            raise LogError("the index does not say where the messages are")
        for offset in metadata:
            file.seek(offset)
            found.rig = _rig(next(StreamReader(file, skip_magic=True).records))
    found.counts.update(statistics.channel_message_counts)
    found.start_ns, found.end_ns = statistics.message_start_time, statistics.message_end_time
    return found


def survey(file: McapFile, cause: str) -> Contents:
    """By reading all of it, as far as it goes; `cause` says why there is no index. Damage is never raised."""
    found = Contents(None, [], {}, {}, Counter())
    damaged = 0
    file.seek(len(MAGIC))
    records = StreamReader(file, skip_magic=True, emit_chunks=True, record_size_limit=file.size).records
    while True:
        offset = file.tell()
        try:
            with _library_errors():
                record = next(records, None)
                if record is None:
                    break
                if isinstance(record, Metadata) and record.name == RIG:
                    found.rig = _rig(record)
        except LogError:
            break  # the length of this record is in doubt, and so is where the next one begins
        if isinstance(record, Chunk):
            try:
                _note_chunk(found, record, offset)
            except LogError:
                damaged += 1
        elif isinstance(record, Schema):
            found.schemas.setdefault(record.id, record)  # outside of chunks no checksum covers them
        elif isinstance(record, Channel):
            found.channels.setdefault(record.id, record)
    found.start_ns = min((chunk.start_ns for chunk in found.chunks), default=0)
    found.end_ns = max((chunk.end_ns for chunk in found.chunks), default=0)
    found.lost = f"{cause}; read through instead: {found.counts.total()} messages are there"
    if damaged:
        found.lost += f", {damaged} damaged chunk{'s' if damaged > 1 else ''} left out"
    return found


def read_chunk(file: McapFile, place: Place) -> list[Message]:
    """The messages of a chunk, in the order of writing. Raises LogError when it is damaged."""
    with _library_errors():
        file.seek(place.offset)
        records = StreamReader(file, skip_magic=True, emit_chunks=True, record_size_limit=file.size).records
        chunk = next(records)
        if not isinstance(chunk, Chunk):
            raise LogError("no chunk where the index says")
        return [r for r in breakup_chunk(chunk, validate_crc=True) if isinstance(r, Message)]


def _note_chunk(found: Contents, chunk: Chunk, offset: int) -> None:
    with _library_errors():
        records = breakup_chunk(chunk, validate_crc=True)
    stamps = []
    for record in records:
        if isinstance(record, Message):
            found.counts[record.channel_id] += 1
            stamps.append(record.log_time)
        else:
            _note_channel(found, record)
    if stamps:
        found.chunks.append(Place(offset, min(stamps), max(stamps)))


def _note_channel(found: Contents, record: object) -> None:
    if isinstance(record, Schema):
        found.schemas[record.id] = record
    elif isinstance(record, Channel):
        found.channels[record.id] = record


def _rig(record: object) -> str:
    if not isinstance(record, Metadata) or record.name != RIG or "yaml" not in record.metadata:
        raise LogError("the rig is not where the index says")
    yaml = record.metadata["yaml"]
    if rig_metadata(yaml) != record.metadata:
        raise LogError("the rig is damaged: its checksum differs")
    return yaml


@contextmanager
def _library_errors() -> Iterator[None]:
    """What mcap, zstandard, lz4 and struct raise on wrong bytes is no closed list: all becomes LogError."""
    try:
        yield
    except LogError:
        raise
    except Exception as error:
        raise LogError(str(error) or type(error).__name__) from error
