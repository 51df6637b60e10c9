"""Everything that is said, into MCAP files; or its last seconds, when something happens."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from fusion_rt.bus import Bus, Subscriber, detach
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.logs.arrivals import Arrivals
from fusion_rt.logs.buffered import BufferedLog
from fusion_rt.logs.losses import Loss, topic_of
from fusion_rt.logs.parts import LogParts, free_path, parse_size
from fusion_rt.logs.snapshots import Snapshots
from fusion_rt.messages import Command, Message
from fusion_rt.payloads import H264
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig
from fusion_rt.scenario import load_plan, load_rig

LOOK_S = 0.1  # how often a command may have to wait
DRAIN_S = 10.0  # what had been sent when it was told to stop is still taken
OF_RIG, OF_PLAN = ("prediction",), ("voice", "scene")  # what is said besides the sensors


class RecorderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """path           the file; where it exists, NAME-1.mcap, NAME-2.mcap, ... is taken
    rig            a vehicle's sensors, which the recording holds too: a YAML file, or another recording
    plan           a home's, the same: a YAML file, a bundled name, or another recording
    topics         empty: every sensor of the rig, and prediction; every sensor of the plan, voice and scene
    buffer_mb      what may wait for a slow disk, or how much a snapshot may hold; beyond it messages are
                   lost, and the log says which
    compression    lz4 takes a third of zstd's time from what runs beside it, for two fifths more of the disk
    h264           keep images as H.264 (extra `video`): {crf, max_mbit_s, key_every, preset}, {} for the
                   usual values. Encoding that does not keep up loses messages as a slow disk does
    split_size     a new file, NAME_000.mcap, NAME_001.mcap, ..., before one is larger: 1GB
    split_seconds  and before one is longer
    snapshot_s     write nothing but keep so many seconds in memory, and save them to NAME-<time>.mcap on
                   SIGUSR1, on the command `snapshot`, and on any message of the topics `snapshot_on`
    snapshot_on    such as that of a node that notices emergency braking
    commands       where commands come from: `fusion-rt tell recorder snapshot`
    """

    path: str
    rig: str | None = None
    plan: str | None = None
    topics: tuple[str, ...] = ()
    buffer_mb: Annotated[int, Meta(ge=1)] = 512
    compression: Literal["lz4", "zstd", "none"] = "lz4"
    h264: H264 | None = None
    split_size: str | None = None
    split_seconds: Annotated[float, Meta(gt=0)] | None = None
    snapshot_s: Annotated[float, Meta(gt=0)] | None = None
    snapshot_on: tuple[str, ...] = ()
    commands: str = "tell.recorder"

    def __post_init__(self) -> None:
        if self.rig is None and self.plan is None:
            raise ConfigError(
                "neither rig nor plan: which sensors are recorded? Give a vehicle's or a home's"
            )
        split = self.split_size is not None or self.split_seconds is not None
        if self.snapshot_s is None and self.snapshot_on:
            raise ConfigError("snapshot_on without snapshot_s: how many seconds are to be saved?")
        if self.snapshot_s is not None and split:
            raise ConfigError("a snapshot is one file: leave out split_size and split_seconds")
        if self.split_size is not None:
            parse_size(self.split_size)


def run(config: RecorderConfig, bus: Bus) -> list[Path]:
    """Until told to stop, and then until all that was received is in the file. Returns what was written.

    Raises LogError where the folder cannot be made, or the disk refuses to the end."""
    sensors = _Sensors(
        rig=None if config.rig is None else load_rig(config.rig),
        plan=None if config.plan is None else load_plan(config.plan),
    )
    path = Path(config.path).expanduser()
    with bus.subscriber(config.topics or sensors.topics(), keep_all=True) as inputs:
        if config.snapshot_s is not None:
            _make_folder(path.parent)
            return _snapshots(config, bus, inputs, sensors, path)
        return _record(config, bus, inputs, sensors, path)


class _Sensors(Struct, frozen=True, kw_only=True):
    """What a recording says of who speaks in it."""

    rig: Rig | None
    plan: Plan | None

    def topics(self) -> tuple[str, ...]:
        """Each once."""
        of_rig = () if self.rig is None else (*self.rig.modalities(), *OF_RIG)
        of_plan = () if self.plan is None else (*self.plan.modalities(), *OF_PLAN)
        return tuple(dict.fromkeys(of_rig + of_plan))


def _make_folder(folder: Path) -> None:
    """Now, and not when something has happened and a snapshot is to be saved. Raises LogError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LogError(f"{folder}: the folder cannot be made: {error.strerror}") from error


def _record(
    config: RecorderConfig, bus: Bus, inputs: Subscriber, sensors: _Sensors, path: Path
) -> list[Path]:
    log = LogParts(
        path if config.split_size or config.split_seconds else free_path(path),
        sensors.rig,
        plan=sensors.plan,
        compression=config.compression,
        video=config.h264,
        split_bytes=parse_size(config.split_size) if config.split_size else None,
        split_ns=round(config.split_seconds * 1e9) if config.split_seconds else None,
    )
    with BufferedLog(log, config.buffer_mb << 20) as buffer:
        try:
            for message, losses in _received(bus, inputs):
                if message is not None:
                    buffer.put(detach(message))
                for loss in losses:
                    buffer.missing(loss)
                bus.detail |= {"written": buffer.written, "lost": buffer.lost, "files": len(log.paths)}
        finally:
            bus.detail["lost"] = buffer.lost
    bus.detail |= {"written": buffer.written, "lost": buffer.lost, "files": len(log.paths)}
    return log.paths


def _snapshots(
    config: RecorderConfig, bus: Bus, inputs: Subscriber, sensors: _Sensors, path: Path
) -> list[Path]:
    assert config.snapshot_s is not None
    ring = Snapshots(
        path,
        sensors.rig,
        plan=sensors.plan,
        seconds=config.snapshot_s,
        limit_bytes=config.buffer_mb << 20,
        compression=config.compression,
        video=config.h264,
    )
    look_at = 0.0
    with bus.subscriber((config.commands, *config.snapshot_on)) as events, _on_signal() as asked:
        for message, losses in _received(bus, inputs):
            if message is not None:
                ring.put(detach(message))
            for loss in losses:
                ring.missing(loss)
            if time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_S
                if _happened(events, config.commands, asked) and (saved := ring.save()):
                    print(f"saving the last {ring.held_s:.1f} s to {saved}", file=sys.stderr, flush=True)
                bus.detail |= {
                    "snapshots": len(ring.paths),
                    "written": ring.written,
                    "held": ring.held,
                }
    ring.wait()
    bus.detail |= {"snapshots": len(ring.paths), "written": ring.written}
    if ring.errors:
        raise ring.errors[0]
    return ring.paths


def _received(bus: Bus, inputs: Subscriber) -> Iterator[tuple[Message | None, list[Loss]]]:
    """Each message with what is missing before it; (None, []) where none came for a while. In the end what is
    missing behind the last."""
    arrivals, counters = Arrivals(), inputs.counters
    stop_at = None
    while stop_at is None or time.monotonic() < stop_at:
        if stop_at is None and bus.stopping:
            stop_at = time.monotonic() + DRAIN_S
        message = inputs.recv(LOOK_S if stop_at is None else LOOK_S / 2)
        if message is not None:
            topic = _topic(message)
            if topic not in counters:
                topic = message.header.sensor_id  # a command that is replayed comes where its sensor does
            missing = counters[topic].missing if topic in counters else 0
            yield message, arrivals.seen(message, missing, topic)
        elif stop_at is not None:
            break
        else:
            yield None, []
    yield None, arrivals.rest({topic: counter.missing for topic, counter in counters.items()})


def _topic(message: Message) -> str:
    """Where it came on the bus."""
    return message.header.frame_id if isinstance(message, Command) else topic_of(message).removeprefix("/")


def _happened(events: Subscriber, commands: str, asked: threading.Event) -> bool:
    """Whether a snapshot is due; what else a command says is said to be unknown."""
    due = asked.is_set()
    asked.clear()
    while (message := events.recv(0)) is not None:
        of_tell = isinstance(message, Command) and message.header.frame_id == commands
        if of_tell and message.intent != "snapshot":
            print(f"{message.intent!r} is no command of the recorder: snapshot", file=sys.stderr)
        else:
            due = True
    return due


@contextmanager
def _on_signal() -> Iterator[threading.Event]:
    """Set by SIGUSR1, where this is the main thread."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = signal.signal(signal.SIGUSR1, lambda number, frame: asked.set())
    try:
        yield asked
    finally:
        signal.signal(signal.SIGUSR1, before)
