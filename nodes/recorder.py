"""Everything that is said, into an MCAP file."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Annotated, Literal

from msgspec import Meta, Struct

from fusion_rt.bus import Bus, detach
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter
from fusion_rt.messages import Message
from fusion_rt.scenario import load_rig


class RecorderConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """path         the file; where it exists, NAME-1.mcap, NAME-2.mcap, ... is taken
    rig          the sensors, which the recording holds too: a YAML file, or another recording
    topics       empty: every sensor of the rig, and prediction
    buffer_mb    what may wait for a slow disk; beyond it messages are dropped and counted
    compression  lz4 takes a third of zstd's time from what runs beside it, for two fifths more of the disk
    """

    path: str
    rig: str
    topics: tuple[str, ...] = ()
    buffer_mb: Annotated[int, Meta(ge=1)] = 512
    compression: Literal["lz4", "zstd", "none"] = "lz4"


def run(config: RecorderConfig, bus: Bus) -> None:
    """Until told to stop, and then until all that was received is in the file. Raises LogError."""
    rig = load_rig(config.rig)
    topics = config.topics or (*rig.modalities(), "prediction")
    with (
        bus.subscriber(topics, keep_all=True) as inputs,
        LogWriter(free_path(Path(config.path).expanduser()), rig, compression=config.compression) as log,
        Buffer(log, config.buffer_mb << 20) as buffer,
    ):
        for message in bus.each(inputs, drain_s=10.0):
            buffer.put(detach(message))
            bus.detail["written"] = buffer.written
            bus.detail["dropped"] = buffer.dropped
    bus.detail["written"] = buffer.written


def free_path(path: Path) -> Path:
    """The path, or the first numbered one beside it that does not exist: nothing is overwritten."""
    candidate, number = path, 0
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


class Buffer:
    """Between the bus, which does not wait, and the disk, which sometimes does: a thread writes.

    Leaving the `with` block writes the rest. Raises LogError, from `put` or there, when the disk refuses."""

    def __init__(self, log: LogWriter, limit_bytes: int):
        self.written = self.dropped = 0
        self._log, self._limit = log, limit_bytes
        self._waiting: deque[tuple[Message, int]] = deque()
        self._bytes = 0
        self._ended = False
        self._error: LogError | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="recorder", daemon=True)

    def put(self, message: Message) -> None:
        """Queue one message; dropped and counted where the buffer is full."""
        size = 1000 + sum(getattr(getattr(message, n), "nbytes", 0) for n in message.__struct_fields__)
        with self._changed:
            if self._error is not None:
                raise self._error
            if self._bytes + size > self._limit:
                self.dropped += 1
                return
            self._waiting.append((message, size))
            self._bytes += size
            self._changed.notify()

    def __enter__(self) -> Buffer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()
        if self._error is not None and error is None:
            raise self._error

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    return
                message, size = self._waiting.popleft()
            try:
                self._log.write(message)
            except LogError as error:
                with self._changed:
                    self._error = error
                return
            with self._changed:
                self._bytes -= size
                self.written += 1
