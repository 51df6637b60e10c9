"""Is a log what it says it is? Checksums, index, order, numbers; what is wrong, and where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from msgspec import Struct

from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs import scene
from fusion_rt.logs.chunks import PLAN, Contents, Damage, McapFile, read_chunk, read_index, survey
from fusion_rt.logs.json_form import COMMAND
from fusion_rt.logs.losses import Ended, Loss, read_ended, read_losses
from fusion_rt.logs.reader import decode
from fusion_rt.logs.records import MAGIC, Message
from fusion_rt.logs.rigs import read_plan
from fusion_rt.rig import Rig

GAPS_KEPT = 1000  # of a topic; beyond it they are counted


class Gap(Struct, frozen=True):
    """Numbers that are not in the log, both included; start_ns, end_ns: log times of its neighbours."""

    first: int
    last: int
    start_ns: int
    end_ns: int


class TopicCheck(Struct):
    """One topic.

    missing      numbers between those that are there
    unexplained  of them, those that the log's own report of losses does not name
    went_back    times that a number was not larger than the one before: a sensor that began anew
    late         messages that stand behind others with a later log time
    undecodable  messages that are not ours, or damaged within
    """

    topic: str
    schema: str
    messages: int = 0
    bytes: int = 0
    start_ns: int = 0
    end_ns: int = 0
    missing: int = 0
    unexplained: int = 0
    went_back: int = 0
    late: int = 0
    undecodable: int = 0
    gaps: list[Gap] = []


class Problem(Struct, frozen=True):
    """What is wrong; offset: in the file, None where it has no one place."""

    what: str
    offset: int | None = None


class Report(Struct, kw_only=True):
    """What `check` found. sound: nothing is damaged, and every missing number is explained.

    losses  what the recorder said that it lost; ended: its last words, None where there are none"""

    path: str
    bytes: int
    sound: bool
    start_ns: int
    end_ns: int
    chunks: int
    problems: list[Problem]
    topics: dict[str, TopicCheck]
    losses: list[Loss]
    ended: Ended | None


def check(path: Path, progress: Callable[[int, int], None] = lambda done, size: None) -> Report:
    """Read all of it. Raises LogError where it is missing or no MCAP file."""
    file = open_mcap(path)
    try:
        index, problems = _index(file)
        found = survey(file, progress=lambda done, size: progress(done, 2 * size))
        topics = _Topics(found)
        for place in found.chunks:
            topics.add(read_chunk(file, place))
            progress(file.size + place.offset, 2 * file.size)
    finally:
        file.close()
    problems += [Problem(_damage(d), d.offset) for d in found.damage]
    problems += _rig(found, path)
    if index is not None:
        problems += _disagreements(index, found)
    try:
        losses, ended = read_losses(found.metadata), read_ended(found.metadata)
    except LogError as error:
        losses, ended = [], None
        problems.append(Problem(str(error)))
    for topic in topics.found.values():
        problems += _judge(topic, losses)
    return Report(
        path=str(path),
        bytes=file.size,
        sound=not problems,
        start_ns=found.start_ns,
        end_ns=found.end_ns,
        chunks=len(found.chunks),
        problems=problems,
        topics=dict(sorted(topics.found.items())),
        losses=losses,
        ended=ended,
    )


def open_mcap(path: Path) -> McapFile:
    """Raises LogError where it is missing or no MCAP file."""
    try:
        file = McapFile(path)
    except OSError as error:
        raise LogError(f"{path}: cannot be opened: {error.strerror}") from error
    if file.size < len(MAGIC) or file.read(0, len(MAGIC)) != MAGIC:
        file.close()
        raise LogError(f"{path}: not an MCAP recording")
    return file


class _Topics:
    """Statistics in the order of writing."""

    def __init__(self, contents: Contents) -> None:
        self.found: dict[str, TopicCheck] = {}
        self._contents = contents
        self._last: dict[tuple[str, bool], tuple[int, int]] = {}  # (topic, a command) -> number, log time

    def add(self, messages: list[Message]) -> None:
        for message in messages:
            channel = self._contents.channels.get(message.channel_id)
            schema = self._contents.schemas.get(channel.schema_id) if channel else None
            name = schema.name if schema else ""
            topic = self._topic(channel.topic if channel else "without a channel", name)
            time = message.log_time
            topic.start_ns = min(topic.start_ns, time) if topic.messages else time
            topic.messages += 1
            topic.bytes += len(message.data)
            if name not in scene.DRAWN:
                self._number(topic, name == COMMAND, _number_of(schema, channel, message), time)
            topic.late += time < topic.end_ns
            topic.end_ns = max(topic.end_ns, time)

    def _topic(self, name: str, schema: str) -> TopicCheck:
        topic = self.found.get(name)
        if topic is None:
            topic = self.found[name] = TopicCheck(name, schema)
        elif schema not in topic.schema.split(", "):
            topic.schema += f", {schema}"
        return topic

    def _number(self, topic: TopicCheck, command: bool, number: int | None, time: int) -> None:
        if number is None:
            topic.undecodable += 1
            return
        before = self._last.get((topic.topic, command))
        self._last[topic.topic, command] = number, time
        if before is None:
            return
        if number <= before[0]:
            topic.went_back += 1
        elif number > before[0] + 1:
            topic.missing += number - before[0] - 1
            topic.unexplained += number - before[0] - 1
            if len(topic.gaps) < GAPS_KEPT:
                topic.gaps.append(Gap(before[0] + 1, number - 1, before[1], time))


def _number_of(schema: Any, channel: Any, message: Message) -> int | None:
    """The sequence number in the message's own header, of 64 bits; None where it cannot be decoded."""
    try:
        decoded = decode(schema, channel, message)
    except FusionError:
        return None
    return None if decoded is None else decoded.header.seq


def _index(file: McapFile) -> tuple[Contents | None, list[Problem]]:
    try:
        return read_index(file), []
    except LogError as error:
        return None, [Problem(str(error))]


def _damage(damage: Damage) -> str:
    text = f"{damage.length} bytes cannot be read: {damage.what}"
    if damage.counts:
        text += f"; {sum(damage.counts.values())} messages were there"
    return text


def _rig(found: Contents, path: Path) -> list[Problem]:
    if found.rig is None:
        return [Problem("holds no rig, or a damaged one")]
    try:
        Rig.from_yaml(found.rig, f"{path} (rig)")
    except FusionError as error:
        return [Problem(str(error))]
    try:
        read_plan(found.metadata.get(PLAN, []), f"{path} (plan)")
    except LogError as error:
        return [Problem(str(error))]
    return []


def _disagreements(index: Contents, found: Contents) -> list[Problem]:
    """Between the index and what is there."""
    problems = []
    there = {place.offset: place for place in found.chunks}
    known = {damage.offset for damage in found.damage}
    for place in index.chunks:
        if place.offset not in known and there.get(place.offset) != place:
            problems.append(Problem("the index describes a chunk that is not there so", place.offset))
    for offset in there.keys() - {place.offset for place in index.chunks}:
        problems.append(Problem("the index does not know this chunk", offset))
    damaged = sum(sum(damage.counts.values()) for damage in found.damage)
    if index.counts.total() != found.counts.total() + damaged:
        problems.append(
            Problem(f"the index counts {index.counts.total()} messages, {found.counts.total()} can be read")
        )
    if index.channels != found.channels or index.schemas != found.schemas:
        problems.append(Problem("topics or schemas differ between the index and the chunks"))
    return problems


def _judge(topic: TopicCheck, losses: list[Loss]) -> list[Problem]:
    """Explains gaps by losses; what is left is a problem."""
    problems = []
    if topic.undecodable:
        problems.append(
            Problem(f"{topic.topic}: {topic.undecodable} messages are not ours, or damaged within")
        )
    ranges = [
        (loss.first, loss.last)
        for loss in losses
        if loss.topic == topic.topic and loss.first is not None and loss.last is not None
    ]
    left = []
    for gap in topic.gaps:
        # Ranges of different causes may lie side by side in one gap.
        covered, at = 0, gap.first
        for first, last in sorted(ranges):
            low, high = max(first, at), min(last, gap.last)
            if low <= high:
                covered += high - low + 1
                at = high + 1
        topic.unexplained -= covered
        if covered < gap.last - gap.first + 1:
            left.append(gap)
    if topic.unexplained > 0:
        shown = ", ".join(f"{g.first} to {g.last}" if g.first != g.last else str(g.first) for g in left[:5])
        more = f" and {len(left) - 5} more gaps" if len(left) > 5 else ""
        problems.append(
            Problem(f"{topic.topic}: {topic.unexplained} numbers are missing, unexplained: {shown}{more}")
        )
    return problems
