"""The usual message of a subscriber with one topic, received by receiving.cpp: the next number of the
publisher, alone, small or in the segment that is mapped. All else goes the subscriber's own, general way."""

from __future__ import annotations

import ctypes
import os

from fusion_rt.bus import native
from fusion_rt.bus.lease import Lease, Segment
from fusion_rt.bus.locks import lock_shared
from fusion_rt.bus.ring import slot_byte
from fusion_rt.bus.zmtp import ANNOUNCEMENT
from fusion_rt.errors import BusError
from fusion_rt.messages import PROTOCOL_VERSION

CHUNK = 64 << 10  # read at a time; of descriptors some two hundred


class Usual:
    """What is expected, and where it is received. For one thread at a time.

    arrived    the usual message is here: `take` it before the next `receive`
    announced  it is being copied by its publisher: time for a rehearsal"""

    def __init__(self, prefix: bytes, host: str):
        self.arrived = self.announced = False
        self._receive = native.library().frt_receive
        self._expected = native.Expected(lock=-1, protocol=PROTOCOL_VERSION, seq=-1)
        self._expected.put("prefix", prefix)
        self._expected.put("host", host.encode())
        self._segment: Segment | None = None
        self._arrived = native.Arrived()
        self._newest: list[int] | None = None  # what `_arrived` was, as long as its header is in `_bytes`
        self._bytes = bytearray(CHUNK)
        self._view = memoryview(self._bytes).toreadonly()
        memory = (ctypes.c_uint8 * CHUNK).from_buffer(self._bytes)
        self._arguments = memory, CHUNK, ctypes.byref(self._expected), self._arrived

    def expect(self, next_: tuple[int, int] | None, name: str, segment: Segment | None) -> None:
        """The instance and number that come next, and the segment that has held the newest message."""
        expected = self._expected
        expected.instance, expected.seq = next_ or (0, -1)
        if segment is not self._segment:
            self.forget()
            self._segment = segment
            if segment is not None:
                expected.put("segment", name.encode())
                expected.slots, expected.slot_bytes = segment.slots, segment.slot_bytes
                expected.generations = segment.generations
        if self._segment is not None and expected.lock < 0:
            try:
                expected.lock = self._segment.description()
            except BusError:
                return  # too many files: the general way says so, where it matters

    def forget(self) -> None:
        """Let go of the segment."""
        if self._segment is not None and self._expected.lock >= 0:
            self._segment.put_back(self._expected.lock)
        self._segment, self._expected.lock, self._newest = None, -1, None

    def receive(self, fd: int, flags: int) -> bytes:
        """What came, or, where it `arrived` or is `announced`, nothing. Raises OSError, as recv does."""
        size = self._receive(fd, flags, *self._arguments)
        if size < 0:
            raise OSError(-size, os.strerror(-size))
        usual = self._arrived[0]
        self.arrived, self.announced = usual == 1, usual == 2
        if not usual or size > len(ANNOUNCEMENT):
            self._newest = None  # its header is overwritten; one announcement is too short for that
        return b"" if usual else bytes(self._view[:size])

    def take(self) -> tuple[int, memoryview, list[memoryview]]:
        """When the message was published, its header (until the next `receive`) and its arrays."""
        self.arrived = False
        self._newest = self._arrived[:]
        return self._open(self._newest)

    def again(self) -> tuple[int, memoryview, list[memoryview]] | None:
        """The newest message once more, if it is large and still there."""
        self.announced = False
        newest, lock = self._newest, self._expected.lock
        if newest is None or newest[2] < 0 or lock < 0 or not lock_shared(lock, slot_byte(newest[2])):
            return None
        return self._open(newest)

    def _open(self, arrived: list[int]) -> tuple[int, memoryview, list[memoryview]]:
        """The slot, if there is one, is locked."""
        _, published_ns, slot, at, size, count, *places = arrived
        arrays = []
        if slot >= 0:
            assert self._segment is not None
            memory = Lease(self._segment, self._expected.lock, slot).memory()
            self._expected.lock = -1
            for i in range(0, 2 * count, 2):
                arrays.append(memory[places[i] : places[i] + places[i + 1]])
        return published_ns, self._view[at : at + size], arrays
