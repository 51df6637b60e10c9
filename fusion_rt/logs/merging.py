"""Several logs as one, in the order of time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from fusion_rt.errors import LogError
from fusion_rt.logs import scene
from fusion_rt.logs.reader import Log, decode
from fusion_rt.logs.rigs import renamed, renamed_plan, united, united_plan
from fusion_rt.logs.writer import LogWriter
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig

Names = Mapping[str, str]


def merge(
    logs: Sequence[Log],
    out: Path,
    *,
    rename: Sequence[Names] = (),
    compression: str = "zstd",
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> int:
    """All messages of all logs to `out`; returns how many. Logs that follow each other, as the parts of one
    recording, may have sensors in common.

    rename: for each log, sensor -> its new name. Raises LogError: nothing is overwritten; two logs have a
    sensor of one name at the same time, or differ in where it sits."""
    if out.exists():
        raise LogError(f"{out}: is there already; choose another place")
    names: list[Names] = [*rename, *({} for _ in range(len(logs) - len(rename)))]
    rig, plan = _rig(logs, names), _plan(logs, names)
    for (a, names_a), (b, names_b) in combinations(zip(logs, names), 2):
        _refuse_shared(a, names_a, b, names_b)
    first, last = min(log.start_ns for log in logs), max(log.end_ns for log in logs)
    sources = [_messages(log, of_log) for log, of_log in zip(logs, names)]
    try:
        with LogWriter(out, rig, plan=plan, compression=compression) as writer:
            for time, _, write in heapq.merge(*sources, key=lambda item: item[0]):
                write(writer)
                progress(time - first, max(last - first, 1))
            for log, of_log in zip(logs, names):
                writer.report([replace(loss, topic=_topic(loss.topic, of_log)) for loss in log.losses])
            if all(log.ended is not None for log in logs):
                writer.end_report(f"merged from {', '.join(log.path.name for log in logs)}")
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return sum(writer.counts.values())


def _rig(logs: Sequence[Log], names: Sequence[Names]) -> Rig:
    rigs = []
    for log, of_log in zip(logs, names):
        there = log.modalities().keys() | {t.removeprefix("/") for t in log.topics}
        for old in of_log:
            if old not in there:
                raise LogError(f"{log.path}: no sensor {old!r} to rename")
        rigs.append(renamed(log.rig, of_log))
    try:
        return united(rigs)
    except LogError as error:
        raise LogError(f"{', '.join(str(log.path) for log in logs)}: {error}; {_advice()}") from error


def _plan(logs: Sequence[Log], names: Sequence[Names]) -> Plan | None:
    try:
        return united_plan([renamed_plan(log.plan, of_log) for log, of_log in zip(logs, names)])
    except LogError as error:
        raise LogError(f"{', '.join(str(log.path) for log in logs)}: {error}") from error


def _messages(log: Log, names: Names) -> Iterator[tuple[int, str, Callable[[LogWriter], None]]]:
    """Time, topic, and how to write it; without what says where the sensors sit."""
    for schema, channel, message in log.records():
        if channel is None:
            continue
        drawn = schema is not None and schema.name in scene.DRAWN
        if drawn and schema is not None and scene.of_rig(schema.name, message.data):
            continue
        topic = _topic(channel.topic, names)
        if topic == channel.topic or drawn:
            yield message.log_time, topic, _copier(schema, channel, message)
        else:
            yield message.log_time, topic, _renamer(log, schema, channel, message, topic.removeprefix("/"))


def _copier(schema: Any, channel: Any, message: Any) -> Callable[[LogWriter], None]:
    return lambda writer: writer.copy(schema, channel, message)


def _renamer(log: Log, schema: Any, channel: Any, message: Any, name: str) -> Callable[[LogWriter], None]:
    def write(writer: LogWriter) -> None:
        packet: Any = decode(schema, channel, message)
        if packet is None:
            raise LogError(f"{log.path}: {channel.topic} is not ours, and cannot be renamed")
        header = packet.header
        frame = name if header.frame_id == header.sensor_id else header.frame_id
        header = replace(header, sensor_id=name, frame_id=frame)
        writer.write(replace(packet, header=header), came_ns=message.log_time)

    return write


def _topic(topic: str, names: Names) -> str:
    old = topic.removeprefix("/")
    return f"/{names[old]}" if old in names else topic


def _refuse_shared(a: Log, names_a: Names, b: Log, names_b: Names) -> None:
    """Raises LogError where a topic's messages of both logs lie among each other."""
    shared = _sensors(a, names_a) & _sensors(b, names_b)
    start, end = max(a.start_ns, b.start_ns), min(a.end_ns, b.end_ns) + 1
    if not shared or start >= end:
        return
    sources = [
        _times(log, names, which, start, end)
        for which, (log, names) in enumerate(((a, names_a), (b, names_b)))
    ]
    turns: dict[str, list[int]] = {}
    for _, topic, which in heapq.merge(*sources):
        if topic in shared:
            of_topic = turns.setdefault(topic, [])
            if not of_topic or of_topic[-1] != which:
                of_topic.append(which)
            if len(of_topic) > 2:
                raise LogError(
                    f"{a.path} and {b.path} both have {topic.removeprefix('/')} at the same time; {_advice()}"
                )


def _times(log: Log, names: Names, which: int, start_ns: int, end_ns: int) -> Iterator[tuple[int, str, int]]:
    for _, channel, message in log.records(start_ns, end_ns):
        if channel is not None:
            yield message.log_time, _topic(channel.topic, names), which


def _sensors(log: Log, names: Names) -> set[str]:
    return {
        _topic(name, names)
        for name, topic in log.topics.items()
        if not set(topic.schema.split(", ")) <= scene.DRAWN
    }


def _advice() -> str:
    return "rename one: --rename 2:lidar=lidar_rear renames it in the second log"
