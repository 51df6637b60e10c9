"""Where the messages of an MCAP file are: from its index or, without a sound one, by reading all of it.

Recordings get cut off and disks rot. So every checksum is compared, no damaged length is believed, and
whatever the libraries below let through on wrong bytes is a LogError. Its text says what is wrong; the caller
names the file.
"""

from __future__ import annotations

import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mcap.opcode import Opcode
from mcap.records import Channel, Metadata, MetadataIndex, Schema, Statistics
from msgspec import Struct, field

from fusion_rt.errors import LogError
from fusion_rt.logs.records import (
    CHUNK_INDEX,
    FOOTER,
    HEAD,
    MAGIC,
    MESSAGE_INDEX,
    Chunk,
    Message,
    breakup,
    chunk_bytes,
    chunk_of,
    crc32,
    parse,
)

RIG = "fusion_rt.rig"  # the metadata record that holds the rig's YAML
OWN = "fusion_rt."  # of the names of our metadata records
PLAN = "plan"  # behind OWN: the record that holds the plan of a home as JSON
_BLOCK = 1 << 20
# A chunk's record, of less than 4 GB, as it looks in the middle of anything.
_CHUNK_LIKE = re.compile(
    rb"\x06.{4}\0{4}.{28}(?:\0{4}|\x03\0{3}lz4|\x04\0{3}zstd)", re.DOTALL
)  # opcode, length, stamps, size and checksum, compression
_CHUNK_LIKE_BYTES = 48
SEARCHES = 4  # as many times the file's size are read at most to find where it makes sense again


class McapFile:
    """A file that gives no more than it has: a damaged length costs no memory. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(self._fd).st_size
            os.pread(self._fd, 1, 0)  # a folder can be opened
        except OSError:
            self.close()
            raise

    def read(self, offset: int, length: int) -> memoryview:
        """Exactly these bytes, in memory of their own. Raises LogError where the file has less."""
        if offset + length > self.size:
            raise LogError(f"{length} bytes at {offset} of a file of {self.size}")
        data = np.empty(length, np.uint8)
        view, at = data.data, 0
        while at < length:
            try:
                got = os.preadv(self._fd, [view[at:]], offset + at)
            except OSError as error:
                raise LogError(f"the disk cannot be read at {offset + at}: {error.strerror}") from error
            if got == 0:
                raise LogError("the file has become shorter while it was read")
            at += got
        return view.toreadonly()

    def head(self, offset: int) -> tuple[int, int]:
        """Opcode and length of the record that begins there. Raises LogError where it cannot be one."""
        opcode, length = HEAD.unpack(self.read(offset, HEAD.size))
        if opcode == 0 or Opcode.DATA_END < opcode < 0x80:
            raise LogError(f"no record begins at {offset}")
        if offset + HEAD.size + length > self.size:
            raise LogError(f"a record of {length} bytes at {offset} of a file of {self.size}")
        return opcode, length

    def content(self, offset: int, opcode: int) -> memoryview:
        """The content of the record that begins there. Raises LogError where it is another."""
        found, length = self.head(offset)
        if found != opcode:
            raise LogError(f"no {Opcode(opcode).name.lower()} where the index says")
        return self.read(offset + HEAD.size, length)

    def close(self) -> None:
        """Later calls do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class Place(NamedTuple):
    """A chunk: its offset in the file, the span of the stamps in it, and the length of its record."""

    start_ns: int
    end_ns: int
    offset: int
    length: int


class Damage(Struct, frozen=True, kw_only=True):
    """What cannot be read: so many bytes at `offset`.

    counts  channel -> messages in it, where its message index still says
    start_ns, end_ns  of its messages, where the chunk still says; else 0"""

    offset: int
    length: int
    what: str
    counts: dict[int, int] = {}
    start_ns: int = 0
    end_ns: int = 0


class Contents(Struct):
    """What a file holds. rig is its YAML, None where there is none; counts are messages by channel id.

    metadata  our other metadata records: name without fusion_rt. -> their contents, in order
    lost      "" or what could not be read, and why
    damage    of a survey: where"""

    rig: str | None
    chunks: list[Place]
    schemas: dict[int, Schema]
    channels: dict[int, Channel]
    counts: Counter[int]
    start_ns: int = 0
    end_ns: int = 0
    lost: str = ""
    metadata: dict[str, list[str]] = field(default_factory=dict)
    damage: list[Damage] = field(default_factory=list)


def rig_metadata(yaml: str) -> dict[str, str]:
    """The rig as a metadata record; the format itself has no checksum for these."""
    return {"yaml": yaml, "crc32": str(zlib.crc32(yaml.encode()))}


def own_metadata(json: str) -> dict[str, str]:
    """Any other of our metadata records."""
    return {"json": json, "crc32": str(zlib.crc32(json.encode()))}


def read_index(file: McapFile) -> Contents:
    """From the summary at the file's end. Raises LogError when that is missing or damaged."""
    found = Contents(None, [], {}, {}, Counter())
    statistics = None
    with library_errors():
        start, crc = _footer(file)
        # The checksum covers the summary, and the footer up to the checksum itself.
        summary = file.read(start, file.size - start - len(MAGIC) - 4)
        if crc and crc32(summary) != crc:
            raise LogError("the index is damaged")
        metadata = []
        for opcode, content in _summary(summary, found.chunks):
            record = parse(opcode, content)
            if isinstance(record, Statistics):
                statistics = record
            elif isinstance(record, MetadataIndex) and record.name.startswith(OWN):
                metadata.append(record.offset)
            else:
                _note_channel(found, record)
        if statistics is None or (statistics.message_count and not found.chunks):
            raise LogError("the index does not say where the messages are")
        for offset in metadata:
            _note_metadata(found, parse(Opcode.METADATA, file.content(offset, Opcode.METADATA)))
    found.counts.update(statistics.channel_message_counts)
    found.start_ns, found.end_ns = statistics.message_start_time, statistics.message_end_time
    return found


def survey(
    file: McapFile, cause: str = "", *, progress: Callable[[int, int], None] = lambda done, size: None
) -> Contents:
    """By reading all of it; `cause` says why there is no index. Damage is never raised: it is in `damage`,
    and `lost` says it.

    progress is told the bytes that are done, and all."""
    found = Contents(None, [], {}, {}, Counter())
    offset, unread, searched = len(MAGIC), 0, 0  # unread: where it stopped making sense
    while offset < file.size:
        end = 0
        try:
            with library_errors():
                opcode, length = file.head(offset)
                end = offset + HEAD.size + length
                if opcode == Opcode.CHUNK:
                    _note_chunk(found, file, offset, length)
                elif opcode in (Opcode.SCHEMA, Opcode.CHANNEL, Opcode.METADATA):
                    _note(found, opcode, file.read(offset + HEAD.size, length))
                elif opcode == Opcode.FOOTER:
                    break
        except LogError as error:
            if not end or not _begins(file, end):
                # The length of this record is in doubt, and so is where the next one begins.
                end, spent = _next_chunk(file, offset + 1, SEARCHES * file.size - searched)
                searched += spent
            unread += end - offset
            found.damage.append(Damage(offset=offset, length=end - offset, what=str(error)))
        offset = end
        progress(min(offset, file.size), file.size)
    found.start_ns = min((chunk.start_ns for chunk in found.chunks), default=0)
    found.end_ns = max((chunk.end_ns for chunk in found.chunks), default=0)
    damaged = sum(1 for d in found.damage if d.counts or d.start_ns or d.end_ns)
    if cause:
        found.lost = f"{cause}; read through instead: {found.counts.total()} messages are there"
    elif found.damage:
        found.lost = f"{found.counts.total()} messages are there"
    if damaged:
        found.lost += f", {damaged} damaged chunk{'s' if damaged > 1 else ''} left out"
    if unread:
        found.lost += f", {unread} bytes make no sense"
    return found


def read_chunk(file: McapFile, place: Place) -> list[Message]:
    """The messages of a chunk, in the order of writing. Raises LogError when it is damaged."""
    with library_errors():
        data = chunk_bytes(chunk_of(file.content(place.offset, Opcode.CHUNK)))
        return breakup(data)[0]


def _summary(summary: memoryview, chunks: list[Place]) -> Iterator[tuple[int, memoryview]]:
    """The records of a summary, the chunks' into the list. There may be ten thousands of these."""
    at, end = 0, len(summary) - (FOOTER.size - len(MAGIC) - 4)
    unpack, append, index = CHUNK_INDEX.unpack_from, chunks.append, int(Opcode.CHUNK_INDEX)
    while at < end:
        opcode, length = summary[at], 0
        if opcode == index:
            _, length, start_ns, end_ns, offset, size = unpack(summary, at)
            append(Place(start_ns, end_ns, offset, size))
        else:
            _, length = HEAD.unpack_from(summary, at)
            yield opcode, summary[at + HEAD.size : at + HEAD.size + length]
        at += HEAD.size + length
    if at > end:
        raise LogError("the index is damaged")


def _footer(file: McapFile) -> tuple[int, int]:
    """Where the summary begins, and its checksum. Raises LogError."""
    if file.size < FOOTER.size + len(MAGIC):
        raise LogError("the index is missing")
    opcode, _, start, _, crc, magic = FOOTER.unpack(file.read(file.size - FOOTER.size, FOOTER.size))
    if (opcode, magic) != (Opcode.FOOTER, MAGIC) or start == 0:
        raise LogError("the index is missing")
    if start > file.size - FOOTER.size:
        raise LogError("the index is damaged")
    return start, crc


def _note_chunk(found: Contents, file: McapFile, offset: int, length: int) -> None:
    """Raises LogError where the chunk's own record makes no sense, or nothing that could follow it does."""
    end = offset + HEAD.size + length
    chunk: Chunk | None = None
    try:
        with library_errors():
            chunk = chunk_of(file.read(offset + HEAD.size, length))
            messages, others = breakup(chunk_bytes(chunk))
    except LogError as error:
        if chunk is None or not _begins(file, end):
            raise
        found.damage.append(
            Damage(
                offset=offset,
                length=end - offset,
                what=str(error),
                counts=_message_index(file, end),
                start_ns=chunk.start_ns,
                end_ns=chunk.end_ns,
            )
        )
        return
    for record in others:
        _note_channel(found, record)
    for message in messages:
        found.counts[message.channel_id] += 1
    if messages:
        times = [message.log_time for message in messages]
        found.chunks.append(Place(min(times), max(times), offset, end - offset))


def _begins(file: McapFile, offset: int) -> bool:
    """Whether a record may begin there, or the file ends."""
    if offset == file.size:
        return True
    try:
        file.head(offset)
    except LogError:
        return False
    return True


def _message_index(file: McapFile, offset: int) -> dict[int, int]:
    """Channel -> messages of the chunk before `offset`, as the records behind it say."""
    counts: dict[int, int] = {}
    with library_errors():
        while offset < file.size:
            try:
                opcode, length = file.head(offset)
            except LogError:
                break
            if opcode != Opcode.MESSAGE_INDEX or length < MESSAGE_INDEX.size:
                break
            channel, n = MESSAGE_INDEX.unpack(file.read(offset + HEAD.size, MESSAGE_INDEX.size))
            if n != length - MESSAGE_INDEX.size:
                break
            counts[channel] = n // 16
            offset += HEAD.size + length
    return counts


def _next_chunk(file: McapFile, offset: int, budget: int) -> tuple[int, int]:
    """Where the next sound chunk begins, or the file's size, and how many bytes were read to find it. Only
    what has a checksum is believed; beyond `budget` bytes the search is given up."""
    spent = 0
    while offset < file.size and spent < budget:
        length = min(_BLOCK + _CHUNK_LIKE_BYTES, file.size - offset)
        block = file.read(offset, length)
        for match in _CHUNK_LIKE.finditer(block):
            at = offset + match.start()
            if spent >= budget:
                break
            try:
                with library_errors():
                    spent += file.head(at)[1]
                    chunk = chunk_of(file.content(at, Opcode.CHUNK))
                    if chunk.crc and chunk_bytes(chunk):
                        return at, spent
            except LogError:
                continue
        offset += _BLOCK
        spent += _BLOCK
    return file.size, spent


def _note(found: Contents, opcode: int, content: memoryview) -> None:
    record = parse(opcode, content)
    if isinstance(record, Metadata):
        if record.name.startswith(OWN):
            _note_metadata(found, record)
    elif record.id not in (found.schemas if isinstance(record, Schema) else found.channels):
        _note_channel(found, record)  # outside of chunks no checksum covers them


def _note_channel(found: Contents, record: object) -> None:
    if isinstance(record, Schema):
        found.schemas[record.id] = record
    elif isinstance(record, Channel):
        found.channels[record.id] = record


def _note_metadata(found: Contents, record: Any) -> None:
    values = record.metadata
    if record.name == RIG:
        if "yaml" not in values:
            raise LogError("the rig is not where the index says")
        if rig_metadata(values["yaml"]) != values:
            raise LogError("the rig is damaged: its checksum differs")
        found.rig = values["yaml"]
    elif record.name.startswith(OWN):
        if "json" not in values or own_metadata(values["json"]) != values:
            raise LogError(f"{record.name} is damaged: its checksum differs")
        found.metadata.setdefault(record.name.removeprefix(OWN), []).append(values["json"])


@contextmanager
def library_errors() -> Iterator[None]:
    """What mcap, zstandard, lz4 and struct raise on wrong bytes is no closed list: all becomes LogError."""
    try:
        yield
    except LogError:
        raise
    except Exception as error:
        raise LogError(str(error) or type(error).__name__) from error
