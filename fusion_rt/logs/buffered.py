"""Between the bus, which does not wait, and the disk, which sometimes does or refuses: a thread writes."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from types import TracebackType

from fusion_rt.errors import LogError
from fusion_rt.logs.losses import Cause, Loss, Losses, loss_of, topic_of
from fusion_rt.logs.parts import LogParts, nbytes
from fusion_rt.messages import Message

IDLE_S = 1.0  # then what is pending goes to the disk, and what is missing is said there
RETRY_S = 2.0  # after the disk has refused


class BufferedLog:
    """Takes messages at any time and writes them in a thread. What does not fit into `limit_bytes` is lost,
    and said in the log. Where the disk refuses, the buffer keeps what comes, and a new file is tried every
    `retry_s`; what was not in the file yet is written there again.

    Leaving the `with` block writes the rest; raises LogError when the disk refuses it.

    losses   what is missing
    written  messages in the files"""

    def __init__(self, log: LogParts, limit_bytes: int, *, retry_s: float = RETRY_S) -> None:
        self.losses = Losses()
        self._log, self._limit, self._retry_s = log, limit_bytes, retry_s
        self._waiting: deque[tuple[Message, int]] = deque()
        self._open: list[tuple[Message, int]] = []  # in the chunk that is not in the file yet
        self._unsaid: list[Loss] = []
        self._bytes = 0
        self._ended = False
        self._error: LogError | None = None
        self._retry_at = 0.0
        self._said_at = time.monotonic()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    @property
    def written(self) -> int:
        """In the files, or about to be."""
        return self._log.written

    @property
    def lost(self) -> int:
        """Messages, from all causes but numbers that were never sent."""
        with self._changed:
            return sum(n for of in self.losses.counts.values() for c, n in of.items() if c != "source")

    def put(self, message: Message) -> None:
        """Queue one message, whose arrays are its own; lost and counted where the buffer is full."""
        size = nbytes(message)
        with self._changed:
            if self._bytes + size > self._limit:
                self.losses.add(loss_of(message, "buffer" if self._error is None else "disk"))
                return
            self._waiting.append((message, size))
            self._bytes += size
            self._changed.notify()

    def missing(self, loss: Loss) -> None:
        """Something did not even come here."""
        with self._changed:
            self.losses.add(loss)

    def __enter__(self) -> BufferedLog:
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

    def _run(self) -> None:
        while not self._finished():
            with self._changed:
                if self._error is not None:
                    self._changed.wait_for(lambda: self._ended, self._retry_at - time.monotonic())
                else:
                    self._changed.wait_for(lambda: self._waiting or self._ended, IDLE_S)
                item = self._waiting.popleft() if self._waiting else None
            try:
                idle = item is None
                if item is not None:
                    self._write(*item)
                    item = None
                if idle or time.monotonic() - self._said_at > IDLE_S:
                    self._tell()
            except LogError as error:
                self._refused(error, item)
            else:
                if self._log.pending == 0:  # only now it is sure that the disk takes something again
                    self._error = None
        self._end()

    def _finished(self) -> bool:
        with self._changed:
            return self._ended and (not self._waiting or self._error is not None)

    def _write(self, message: Message, size: int) -> None:
        try:
            self._log.write(message)
        except LogError as error:
            if self._log.refused:
                raise
            print(error, file=sys.stderr)  # a message that no log can hold
            self._gone(message, size, "refused")
            return
        self._open.append((message, size))
        self._settle()

    def _settle(self) -> None:
        """What has reached the file needs no memory any more."""
        if self._log.pending == 0:
            with self._changed:
                self._bytes -= sum(size for _, size in self._open)
            self._open.clear()

    def _tell(self) -> None:
        """Say in the file what is missing, and bring there what is pending."""
        self._said_at = time.monotonic()
        with self._changed:
            self._unsaid += self.losses.take()
        self._log.open()
        self._log.report(self._unsaid)
        self._unsaid = []
        if not self._waiting:
            self._log.flush()
        self._settle()

    def _refused(self, error: LogError, item: tuple[Message, int] | None) -> None:
        """What is in no file goes back to the head of the queue."""
        if self._error is None:
            print(f"{error}; trying again every {self._retry_s:g} s", file=sys.stderr)
        self._error = error
        self._retry_at = time.monotonic() + self._retry_s
        unwritten = {(loss.topic, loss.first) for loss in self._log.unwritten}
        again = [i for i in self._open if (topic_of(i[0]), i[0].header.seq & 0xFFFFFFFF) in unwritten]
        again += [item] if item is not None else []
        with self._changed:
            self._bytes -= sum(size for _, size in self._open)
            self._bytes += sum(size for _, size in again[: -1 if item is not None else None])
            self._open.clear()
            self._waiting.extendleft(reversed(again))

    def _gone(self, message: Message, size: int, cause: Cause) -> None:
        with self._changed:
            self._bytes -= size
            self.losses.add(loss_of(message, cause))

    def _end(self) -> None:
        """One last try. What the disk refuses to the end is lost; its report may still fit."""
        item = None
        try:
            while self._waiting:
                item = self._waiting.popleft()
                self._write(*item)
            self._error = item = None
        except LogError as error:
            self._refused(error, item)
            while self._waiting:
                self._gone(*self._waiting.popleft(), "disk")
        try:
            self._tell()
            self._log.close("" if self._error is None else str(self._error))
        except LogError as error:
            self._refused(error, None)
            while self._waiting:
                self._gone(*self._waiting.popleft(), "disk")
        if self._error is not None:
            self._error = LogError(f"{self._error}; {self.lost} messages are in no file")
