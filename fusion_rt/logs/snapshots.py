"""The last seconds of everything, in memory, into a file when something has happened."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from datetime import datetime, timezone
from pathlib import Path

from fusion_rt.errors import LogError
from fusion_rt.logs.losses import Loss
from fusion_rt.logs.parts import free_path, nbytes
from fusion_rt.logs.writer import LogWriter
from fusion_rt.messages import Message
from fusion_rt.payloads import H264
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig


class Snapshots:
    """Keeps what came within `seconds`, in at most `limit_bytes`; `save` writes it to NAME-<UTC time>.mcap in
    a thread, while new messages come in.

    paths    of what was saved
    errors   of what could not be
    written  messages saved
    held, held_s  what is in memory now"""

    def __init__(
        self,
        path: Path,
        rig: Rig | None = None,
        *,
        plan: Plan | None = None,
        seconds: float,
        limit_bytes: int,
        compression: str = "lz4",
        video: H264 | None = None,
    ) -> None:
        self.paths: list[Path] = []
        self.errors: list[LogError] = []
        self.written = 0
        self._path, self._rig, self._plan = path, rig, plan
        self._compression, self._video = compression, video
        self._seconds, self._limit = seconds, limit_bytes
        self._kept: deque[tuple[float, Message, int]] = deque()
        self._missing: deque[tuple[float, Loss]] = deque()
        self._bytes = 0
        self._short = False  # whether memory was too small for all the seconds
        self._writing: list[threading.Thread] = []

    @property
    def held(self) -> int:
        """Messages in memory."""
        return len(self._kept)

    @property
    def held_s(self) -> float:
        """From the oldest message in memory to the newest."""
        return self._kept[-1][0] - self._kept[0][0] if self._kept else 0.0

    def put(self, message: Message) -> None:
        """Keep a message, whose arrays are its own, and let go of what is too old."""
        now, size = time.monotonic(), nbytes(message)
        self._kept.append((now, message, size))
        self._bytes += size
        while self._kept and self._kept[0][0] < now - self._seconds:
            self._bytes -= self._kept.popleft()[2]
            self._short = False
        while self._bytes > self._limit:
            self._bytes -= self._kept.popleft()[2]
            self._short = True
        while self._missing and self._missing[0][0] < now - self._seconds:
            self._missing.popleft()

    def missing(self, loss: Loss) -> None:
        """Something did not even come here."""
        self._missing.append((time.monotonic(), loss))

    def save(self) -> Path | None:
        """Begin to write what is there now; None where there is nothing, or the disk refuses."""
        self._writing = [thread for thread in self._writing if thread.is_alive()]
        if not self._kept:
            return None
        messages = [message for _, message, _ in self._kept]
        losses = [loss for _, loss in self._missing]
        why = f"memory held the last {self.held_s:.1f} of {self._seconds:g} s" if self._short else ""
        now = datetime.now(timezone.utc)
        path = free_path(self._path.with_stem(f"{self._path.stem}-{now:%Y%m%dT%H%M%SZ}"))
        try:
            log = LogWriter(
                path, self._rig, plan=self._plan, compression=self._compression, video=self._video
            )
        except LogError as error:
            self._failed(error)
            return None
        thread = threading.Thread(target=self._write, args=(log, messages, losses, why))
        self._writing.append(thread)
        thread.start()
        return path

    def wait(self) -> None:
        """Until what is being written is in its file."""
        for thread in self._writing:
            thread.join()

    def _write(self, log: LogWriter, messages: list[Message], losses: list[Loss], why: str) -> None:
        try:
            with log:
                for message in messages:
                    log.write(message)
                log.report(losses)
                log.end_report(why)
        except LogError as error:
            self._failed(error)
            return
        self.written += len(messages)
        self.paths.append(log.path)

    def _failed(self, error: LogError) -> None:
        print(f"no snapshot: {error}", file=sys.stderr, flush=True)
        self.errors.append(error)
