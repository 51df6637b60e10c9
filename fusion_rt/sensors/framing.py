"""A stream of bytes cut into frames. Whatever comes, and however it is chopped: what is no frame is left out
and counted, and the next frame is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import Struct

T = TypeVar("T")


class Flaw(Exception):
    """Why a frame is none: the cause under which it is counted."""


class Cut(Struct, Generic[T], frozen=True):
    """One frame. size: its bytes; behind: those of the same `feed` that came after it, so that it ended that
    much earlier."""

    frame: T
    size: int
    behind: int


class Framer(Generic[T]):
    """Frames that begin with `magic` and know their length.

    head    bytes that `length` needs
    length  the first `head` bytes of a frame -> its whole length; raises Flaw where that is absurd
    parse   a whole frame -> what it says; raises Flaw

    counts  cause -> frames left out; "garbage_bytes": bytes that belonged to no frame; "truncated": another
            frame began inside of one

    At most one frame's bytes are kept between two calls."""

    def __init__(
        self, magic: bytes, head: int, length: Callable[[bytes], int], parse: Callable[[bytes], T]
    ) -> None:
        self._magic, self._head, self._length, self._parse = magic, head, length, parse
        self._buffer = bytearray()
        self.counts: Counter[str] = Counter()

    def feed(self, data: bytes) -> list[Cut[T]]:
        """The frames that are complete with `data`, in order."""
        self._buffer += data
        found: list[Cut[T]] = []
        while self._align():
            size = self._size()
            if size is None:
                break
            if size == 0:  # at the magic is no frame: look on behind its first byte
                self._drop(1)
                continue
            try:
                frame = self._parse(bytes(self._buffer[:size]))
            except Flaw as flaw:
                self.counts[str(flaw)] += 1
                self._drop(1)
                continue
            del self._buffer[:size]
            found.append(Cut(frame, size, len(self._buffer)))
        return found

    def _align(self) -> bool:
        """Brings the next magic to the buffer's beginning; False: there is none yet."""
        start = self._buffer.find(self._magic)
        if start < 0:
            ends = (n for n in range(len(self._magic) - 1, 0, -1) if self._buffer.endswith(self._magic[:n]))
            start = len(self._buffer) - next(ends, 0)  # the beginning of a magic may be there
            self._drop(start)
            return False
        self._drop(start)
        return True

    def _size(self) -> int | None:
        """Of the frame at the beginning; None: not complete yet, 0: no frame."""
        if self._cut_short(self._head):
            return 0
        if len(self._buffer) < self._head:
            return None
        try:
            size = self._length(bytes(self._buffer[: self._head]))
        except Flaw as flaw:
            self.counts[str(flaw)] += 1
            return 0
        if self._cut_short(size):
            return 0
        return size if len(self._buffer) >= size else None

    def _cut_short(self, size: int) -> bool:
        """Whether another frame begins within the first `size` bytes. Not to wait for the rest of a frame
        that lost some: it would swallow its followers."""
        second = self._buffer.find(self._magic, 1, size)
        if second < 0:
            return False
        self.counts["truncated"] += 1
        return True

    def _drop(self, n: int) -> None:
        if n:
            self.counts["garbage_bytes"] += n
            del self._buffer[:n]
