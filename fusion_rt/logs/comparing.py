"""The first difference between two logs, or between two files of predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs.reader import Log, decode
from fusion_rt.logs.records import MAGIC

_ABSENT = "nothing"


class Difference(Struct, frozen=True, kw_only=True):
    """where: which message or line; field: within it, "" where it is as a whole; a, b: what either has."""

    where: str
    field: str
    a: str
    b: str


def diff(
    a: Path,
    b: Path,
    *,
    ignore: Collection[str] = (),
    topics: Collection[str] = (),
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> Difference | None:
    """Of two recordings, message by message in the order of time, or of two files of JSON lines; None where
    there is none, to the last bit.

    ignore  fields that may differ, by their name anywhere: trace, stage_ms
    topics  of recordings: only these

    Raises LogError where one cannot be read, or they are of different kinds."""
    kinds = [_is_mcap(path) for path in (a, b)]
    if kinds[0] != kinds[1]:
        raise LogError(f"{a} and {b}: one is a recording, the other is not")
    if not kinds[0]:
        return _diff_lines(a, b, frozenset(ignore), progress)
    with Log(a) as log_a, Log(b) as log_b:
        return _diff_logs(log_a, log_b, frozenset(ignore), topics, progress)


def _is_mcap(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise LogError(f"{path}: cannot be opened: {error.strerror}") from error


def _diff_lines(
    a: Path, b: Path, ignore: frozenset[str], progress: Callable[[int, int], None]
) -> Difference | None:
    size, done = max(a.stat().st_size, 1), 0
    with a.open("rb") as file_a, b.open("rb") as file_b:
        for number, (one, other) in enumerate(zip_longest(file_a, file_b), 1):
            where = f"line {number}"
            if one is None or other is None:
                return _only_one(where, one, other)
            if one != other:
                try:
                    values = json.loads(one), json.loads(other)
                except ValueError:
                    values = one.decode(errors="replace"), other.decode(errors="replace")
                found = first_difference(*values, ignore)
                if found is not None or not ignore:
                    return _difference(where, found)
            done += len(one)
            progress(done, size)
    return None


def _diff_logs(
    a: Log,
    b: Log,
    ignore: frozenset[str],
    topics: Collection[str],
    progress: Callable[[int, int], None],
) -> Difference | None:
    found = first_difference(msgspec.to_builtins(a.rig), msgspec.to_builtins(b.rig), ignore)
    if found is not None:
        return _difference("rig", found)
    found = first_difference(msgspec.to_builtins(a.plan), msgspec.to_builtins(b.plan), ignore)
    if found is not None:
        return _difference("plan", found)
    span = max(a.end_ns - a.start_ns, 1)
    counts: dict[str, int] = {}
    for one, other in zip_longest(_records(a, topics), _records(b, topics)):
        _, channel, message = one or other
        topic, seconds = channel.topic, (message.log_time - a.start_ns) / 1e9
        counts[topic] = counts.get(topic, 0) + 1
        where = f"{topic}, message {counts[topic]}, at {seconds:.3f} s"
        if one is None or other is None:
            return _only_one(where, one, other)
        if _key(one) != _key(other) or one[2].data != other[2].data:
            found = first_difference(_value(one), _value(other), ignore)
            if found is not None or not ignore:
                return _difference(where, found)
        progress(message.log_time - a.start_ns, span)
    for log in (a, b):
        if log.recovered:
            return Difference(
                where=str(log.path), field="", a=a.recovered or "sound", b=b.recovered or "sound"
            )
    return None


def _records(log: Log, topics: Collection[str]) -> Iterator[Any]:
    wanted = {f"/{topic.removeprefix('/')}" for topic in topics}
    for record in log.records():
        channel = record[1]
        if channel is not None and (not wanted or channel.topic in wanted):
            yield record


def _key(record: Any) -> tuple[Any, ...]:
    schema, channel, message = record
    name = schema.name if schema else ""
    return (
        channel.topic,
        name,
        channel.message_encoding,
        message.log_time,
        message.publish_time,
        message.sequence,
    )


def _value(record: Any) -> dict[str, Any]:
    """What can be compared field by field."""
    schema, channel, message = record
    names = ("topic", "schema", "encoding", "log_time", "publish_time", "sequence")
    value: dict[str, Any] = dict(zip(names, _key(record)))
    try:
        decoded = decode(schema, channel, message)
    except FusionError:
        decoded = None
    if decoded is None:
        return value | {"data": np.frombuffer(message.data, np.uint8)}
    return value | msgspec.to_builtins(decoded, enc_hook=lambda array: array, builtin_types=(np.ndarray,))


def first_difference(
    a: Any, b: Any, ignore: frozenset[str] = frozenset(), path: str = ""
) -> tuple[str, str, str] | None:
    """Path and both values; None where they are equal. NaN equals NaN, -0 is not 0."""
    if isinstance(a, dict) and isinstance(b, dict):
        for key in dict.fromkeys((*a, *b)):
            if key in ignore:
                continue
            inner = f"{path}.{key}" if path else str(key)
            if key not in a or key not in b:
                return inner, _short(a.get(key, _ABSENT)), _short(b.get(key, _ABSENT))
            found = first_difference(a[key], b[key], ignore, inner)
            if found is not None:
                return found
        return None
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        for i, (one, other) in enumerate(zip(a, b)):
            found = first_difference(one, other, ignore, f"{path}[{i}]")
            if found is not None:
                return found
        return None if len(a) == len(b) else (f"len({path})", str(len(a)), str(len(b)))
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return _array_difference(a, b, path)
    return None if repr(a) == repr(b) else (path, _short(a), _short(b))


def _array_difference(a: Any, b: Any, path: str) -> tuple[str, str, str] | None:
    if a.shape != b.shape or a.dtype != b.dtype:
        return path, f"{a.dtype} {a.shape}", f"{b.dtype} {b.shape}"
    width = a.dtype.itemsize
    raw = [np.ascontiguousarray(x).reshape(-1).view(np.uint8).reshape(-1, width) for x in (a, b)]
    wrong = np.flatnonzero((raw[0] != raw[1]).any(axis=1))
    if not len(wrong):
        return None
    place = tuple(map(int, np.unravel_index(int(wrong[0]), a.shape)))
    return f"{path}[{', '.join(map(str, place))}]", _short(a[place].item()), _short(b[place].item())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _difference(where: str, found: tuple[str, str, str] | None) -> Difference:
    if found is None:
        return Difference(where=where, field="", a="other bytes", b="of the same meaning")
    return Difference(where=where, field=found[0], a=found[1], b=found[2])


def _only_one(where: str, one: Any, other: Any) -> Difference:
    texts = [_ABSENT if value is None else "more" for value in (one, other)]
    return Difference(where=where, field="", a=texts[0], b=texts[1])
