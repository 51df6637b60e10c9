"""An MCAP recording as a stream of packets, also when its end is missing or a part of it is damaged."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import Any

from mcap.records import Channel, Schema
from msgspec import Struct

from fusion_rt.answer import Answer
from fusion_rt.errors import FusionError, LogError
from fusion_rt.home_truth import HomeTruth
from fusion_rt.logs import foxglove, json_form, scene
from fusion_rt.logs.chunks import PLAN, Contents, McapFile, Place, read_chunk, read_index, survey
from fusion_rt.logs.losses import Ended, Loss, read_ended, read_losses
from fusion_rt.logs.records import MAGIC
from fusion_rt.logs.records import Message as RawMessage
from fusion_rt.logs.rigs import read_plan
from fusion_rt.messages import Packet, Prediction, Scene
from fusion_rt.payloads.video import VideoDecoder
from fusion_rt.rig import Rig


class Topic(Struct, frozen=True):
    """What is written under one name: the schemas of its messages, and how many there are."""

    schema: str
    messages: int


class Log:
    """A recording. Iterating gives its packets as they came: by the time at which they were complete (a
    sweep's last point), ties in the order of writing.

    rig              the sensors of the vehicle; without any in a recording of a home
    plan             the home; None in a recording of a drive
    start_ns, end_ns of the first and last message
    topics           what the file holds, by name
    recovered        "" or what is missing: no index, damaged chunks; what is there is read. Chunks are
                     looked at when they are read, so it is complete after a pass
    skipped          messages that are not ours, or are damaged, by topic; of the latest pass
    losses           what the recorder says that it did not get or could not write, in order
    ended            how the recorder ended the file; None: it did not, or no recorder wrote it

    Raises LogError when the file is missing, is no MCAP file, or holds no rig."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recovered = ""
        self.skipped: Counter[str] = Counter()
        self._damaged: set[int] = set()
        try:
            self._file = McapFile(self.path)
        except OSError as error:
            raise LogError(f"{path}: cannot be opened: {error.strerror}") from error
        try:
            self._contents = self._open()
            self.rig = _rig(self._contents.rig, self.path)
            self.plan = read_plan(self._contents.metadata.get(PLAN, []), f"{self.path} (plan)")
        except BaseException:
            self._file.close()
            raise
        self.start_ns, self.end_ns = self._contents.start_ns, self._contents.end_ns
        self.losses: list[Loss] = read_losses(self._contents.metadata)
        self.ended: Ended | None = read_ended(self._contents.metadata)
        if self._contents.lost:
            self._note(self._contents.lost)

    def __iter__(self) -> Iterator[Packet]:
        return self.packets()

    def packets(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[Packet]:
        """Packets that were complete from a time on, and before another."""
        for message in self._decoded(start_ns, end_ns):
            if not isinstance(message, (Prediction, Scene, Answer, HomeTruth)):
                yield message

    def predictions(self) -> Iterator[Prediction]:
        """Predictions that were recorded with the packets."""
        for message in self._decoded():
            if isinstance(message, Prediction):
                yield message

    def scenes(self) -> Iterator[Scene]:
        """Answers about a home that were recorded with the packets."""
        for message in self._decoded():
            if isinstance(message, Scene):
                yield message

    def truths(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[HomeTruth]:
        """What was true, of a simulated home: from a time on, and before another."""
        for message in self._decoded(start_ns, end_ns):
            if isinstance(message, HomeTruth):
                yield message

    def modalities(self) -> dict[str, str]:
        """sensor_id -> what it is: the rig's sensors, then the plan's."""
        return self.rig.modalities() | (self.plan.modalities() if self.plan is not None else {})

    @property
    def topics(self) -> dict[str, Topic]:
        """By name, in alphabetical order."""
        found: dict[str, Topic] = {}
        for number, channel in self._contents.channels.items():
            schema = self._contents.schemas.get(channel.schema_id)
            name, count = schema.name if schema else "", self._contents.counts[number]
            if channel.topic in found:  # a camera that changed from raw to JPEG, say
                before = found[channel.topic]
                name, count = f"{before.schema}, {name}", before.messages + count
            found[channel.topic] = Topic(name, count)
        return dict(sorted(found.items()))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def records(
        self, start_ns: int | None = None, end_ns: int | None = None
    ) -> Iterator[tuple[Schema | None, Channel | None, RawMessage]]:
        """Every message as it is in the file, by time, ties in the order of writing; those logged from
        start_ns on, and before end_ns."""
        # Chunks overlap in time: one is opened when its first message is due.
        chunks, latest_ns = self._in_time
        at = 0 if start_ns is None else bisect_left(latest_ns, start_ns)
        waiting: list[tuple[int, int, int, RawMessage]] = []
        while waiting or at < len(chunks):
            # At one time, what was written first comes first.
            place = chunks[at] if at < len(chunks) else None
            if place is not None and (not waiting or (place.start_ns, place.offset) < waiting[0][:2]):
                at += 1
                if end_ns is not None and place.start_ns >= end_ns:
                    at = len(chunks)
                    continue
                if start_ns is not None and place.end_ns < start_ns:
                    continue
                for index, message in enumerate(self._read(place)):
                    time = message.log_time
                    if (start_ns is None or time >= start_ns) and (end_ns is None or time < end_ns):
                        waiting.append((time, place.offset, index, message))
                heapq.heapify(waiting)
                continue
            message = heapq.heappop(waiting)[3]
            channel = self._contents.channels.get(message.channel_id)
            yield self._contents.schemas.get(channel.schema_id) if channel else None, channel, message

    @cached_property
    def _in_time(self) -> tuple[list[Place], list[int]]:
        """The chunks by their first message, and for each the latest message of it and those before."""
        chunks = sorted(self._contents.chunks, key=lambda place: (place.start_ns, place.offset))
        return chunks, list(accumulate((place.end_ns for place in chunks), max))

    def _open(self) -> Contents:
        if self._file.size < len(MAGIC) or self._file.read(0, len(MAGIC)) != MAGIC:
            raise LogError(
                f"{self.path}: not an MCAP recording; bring other formats in with `fusion-rt import --help`"
            )
        try:
            return read_index(self._file)
        except LogError as cause:
            return survey(self._file, str(cause))

    def _read(self, place: Place) -> list[RawMessage]:
        try:
            return read_chunk(self._file, place)
        except LogError as error:
            if place.offset not in self._damaged:
                self._damaged.add(place.offset)
                start, end = ((t - self.start_ns) / 1e9 for t in (place.start_ns, place.end_ns))
                self._note(f"{start:.2f} s to {end:.2f} s is damaged ({error}) and left out")
            return []

    def _note(self, text: str) -> None:
        self.recovered = f"{self.recovered}; {text}" if self.recovered else f"{self.path}: {text}"

    def _decoded(self, start_ns: int | None = None, end_ns: int | None = None) -> Iterator[json_form.Written]:
        self.skipped.clear()
        videos: defaultdict[str, VideoDecoder] = defaultdict(VideoDecoder)
        for schema, channel, record in self.records(start_ns, end_ns):
            if schema is not None and schema.name in scene.DRAWN:
                continue
            try:
                message = decode(schema, channel, record, videos)
            except FusionError:
                message = None
            if message is None:
                self.skipped[channel.topic if channel else "without a channel"] += 1
            else:
                yield message


def _rig(yaml: str | None, path: Path) -> Rig:
    if yaml is None:
        raise LogError(
            f"{path}: holds no rig: it was not recorded by fusion_rt, or its start is damaged;"
            " record again, or see `fusion-rt import --help`"
        )
    try:
        return Rig.from_yaml(yaml, f"{path} (rig)")
    except FusionError as error:
        raise LogError(f"{error}; was the recording written by another version of fusion_rt?") from error


def decode(
    schema: Schema | None,
    channel: Any,
    record: RawMessage,
    videos: defaultdict[str, VideoDecoder] | None = None,
) -> json_form.Written | None:
    """The message again; None where it is not one of ours. videos: by topic; None: video is none of ours.
    Raises LogError, MessageError."""
    if schema is None or channel is None:
        return None
    if channel.message_encoding == "protobuf":
        video = None if videos is None else videos[channel.topic]
        return foxglove.decode(schema.name, record.data, video)
    if channel.message_encoding == "json" and schema.name.startswith(json_form.PREFIX):
        return json_form.decode(record.data)
    return None
