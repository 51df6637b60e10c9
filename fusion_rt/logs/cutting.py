"""A part of a log: from one time to another, of some topics."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from fusion_rt.errors import LogError
from fusion_rt.logs import scene
from fusion_rt.logs.losses import Loss
from fusion_rt.logs.reader import Log
from fusion_rt.logs.writer import LogWriter

WITH_PREDICTION = ("/prediction/scene", "/ego/pose", "/tf")  # drawn from predictions


def cut(
    log: Log,
    out: Path,
    *,
    start_ns: int | None = None,
    end_ns: int | None = None,
    topics: Collection[str] = (),
    without: Collection[str] = (),
    compression: str = "zstd",
    progress: Callable[[int, int], None] = lambda done, all_: None,
) -> int:
    """Messages logged from start_ns on and before end_ns, as they are, to `out`; returns how many. The rig
    and the plan stay whole, since the vehicle and the home are the same.

    topics, without: sensors, or prediction; no topics are all. Raises LogError: nothing is overwritten; a
    topic is not there; nothing is left."""
    if out.exists():
        raise LogError(f"{out}: is there already; choose another place")
    chosen = _chosen(log, topics, without)
    first, last = start_ns or log.start_ns, end_ns or log.end_ns
    try:
        with LogWriter(out, log.rig, plan=log.plan, compression=compression) as writer:
            for schema, channel, message in log.records(start_ns, end_ns):
                if channel is None or channel.topic not in chosen:
                    continue
                if (
                    schema is not None
                    and schema.name in scene.DRAWN
                    and scene.of_rig(schema.name, message.data)
                ):
                    continue  # written anew at the beginning
                writer.copy(schema, channel, message)
                progress(message.log_time - first, max(last - first, 1))
            losses = [loss for loss in log.losses if loss.topic in chosen and _within(loss, first, last)]
            writer.report(losses)
            if log.ended is not None:
                writer.end_report(f"cut from {log.path.name}")
            written = sum(writer.counts.values())
            if not written:
                raise LogError(f"{log.path}: holds nothing of that there: {out} is not written")
    except BaseException:
        out.unlink(missing_ok=True)
        raise
    return written


def _chosen(log: Log, topics: Collection[str], without: Collection[str]) -> set[str]:
    drawn = {name for name, topic in log.topics.items() if set(topic.schema.split(", ")) <= scene.DRAWN}
    known = log.topics.keys() - drawn
    for name in (*topics, *without):
        if f"/{name.removeprefix('/')}" not in known:
            there = ", ".join(sorted(topic.removeprefix("/") for topic in known))
            raise LogError(f"{log.path}: no topic {name!r}; there are: {there}")
    chosen = {f"/{name.removeprefix('/')}" for name in topics} or set(known)
    chosen -= {f"/{name.removeprefix('/')}" for name in without}
    return chosen | (set(WITH_PREDICTION) if "/prediction" in chosen else set())


def _within(loss: Loss, start_ns: int, end_ns: int) -> bool:
    return loss.end_ns >= start_ns and loss.start_ns <= end_ns
