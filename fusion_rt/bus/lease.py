"""The reader's side of the ring: a slot is held as long as any array of it lives.

A lease is a shared lock on the slot's byte, by an open file description that has no other; it ends with
`release`, and with the reader's death. Order matters and is the whole protocol: the lock first, then the
generation."""

from __future__ import annotations

import errno
import os
import stat
from mmap import MAP_POPULATE, MAP_SHARED, PROT_READ, mmap
from typing import Any

import msgspec
import numpy as np

from fusion_rt.bus.locks import lock_shared, unlock
from fusion_rt.bus.ring import FOLDER, HEAD, MAGIC, MAX_SLOTS, NAME, PAGE, slot_byte
from fusion_rt.errors import BusError, MessageError
from fusion_rt.messages import Message


class Segment:
    """A segment mapped for reading only.

    mapping  its address and size, for a card that reads it by itself
    Raises MessageError where `name` is not one of ours, and FileNotFoundError where its writer has removed
    it."""

    def __init__(self, name: str):
        if not NAME.fullmatch(name):
            raise MessageError(f"{name[:80]!r} is not the name of a segment")
        self._fd = _open(f"{FOLDER}/{name}")
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_size < PAGE:
            raise MessageError(f"{name} is not a segment of this user")
        magic, self.slots, _, self.slot_bytes = HEAD.unpack(os.pread(self._fd, HEAD.size, 0))
        if magic != MAGIC or self.slots > MAX_SLOTS or PAGE + self.slots * self.slot_bytes != status.st_size:
            raise MessageError(f"{name} has a broken head")
        if status.st_blocks * 512 < status.st_size:
            raise MessageError(f"{name} has holes: to map it would take memory that its writer never took")
        self.memory = mmap(self._fd, status.st_size, flags=MAP_SHARED | MAP_POPULATE, prot=PROT_READ)
        self._generations = memoryview(self.memory)[HEAD.size : HEAD.size + 8 * self.slots].cast("Q")
        base = np.frombuffer(self.memory, np.uint8)
        self.mapping = int(base.__array_interface__["data"][0]), status.st_size
        # Through /proc, since the name may be gone while the segment lives on in this mapping.
        self._path = f"/proc/self/fd/{self._fd}"
        self._idle: list[int] = []  # descriptions without a lock: to open one costs more than to lock it

    def lease(self, slot: int, generation: int) -> Lease | None:
        """Hold the slot; None when it no longer, or not yet, holds this generation."""
        if slot >= self.slots:
            raise MessageError(f"slot {slot} of a ring of {self.slots}")
        fd = self.description()
        if not lock_shared(fd, slot_byte(slot)):
            self.put_back(fd)
            return None
        lease = Lease(self, fd, slot)
        if self._generations[slot] == generation:
            return lease
        lease.release()
        return None

    def start(self, slot: int) -> int:
        """Where the slot begins in `memory`."""
        return PAGE + slot * self.slot_bytes

    def give_back(self, fd: int, slot: int) -> None:
        """The lease on the slot ends; its description may serve another."""
        unlock(fd, slot_byte(slot))
        self.put_back(fd)

    def description(self) -> int:
        """One without a lock, for a lease. Raises BusError where no file can be opened any more."""
        try:
            return self._idle.pop()
        except IndexError:
            return _open(self._path, follow=True)

    def put_back(self, fd: int) -> None:
        """It has no lock, and may serve another lease."""
        self._idle.append(fd)

    @property
    def generations(self) -> int:
        """The address of the generation of slot 0."""
        return int(np.frombuffer(self.memory, np.uint8).__array_interface__["data"][0]) + HEAD.size

    def __del__(self) -> None:
        for fd in (getattr(self, "_fd", -1), *getattr(self, "_idle", ())):
            if fd >= 0:
                os.close(fd)


def _open(path: str, *, follow: bool = False) -> int:
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        return os.open(path, flags)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise BusError("too many open files: are messages kept? Every kept one holds a slot") from error
        raise MessageError(f"{path} cannot be opened: {error.strerror}") from error


class Lease:
    """A slot that the writer passes over until `release`, or until the last array of it is collected."""

    __slots__ = ("_fd", "_pid", "_segment", "_slot", "_start", "nbytes")

    def __init__(self, segment: Segment, fd: int, slot: int):
        self._segment, self._fd, self._slot, self._pid = segment, fd, slot, os.getpid()
        self._start, self.nbytes = segment.start(slot), segment.slot_bytes

    @property
    def segment(self) -> Segment:
        return self._segment

    def memory(self) -> memoryview:
        """The slot's bytes, read-only. The lease lives as long as this, or any array over a part of it."""
        slot = _Slot((self.nbytes,), np.uint8, self._segment.memory, self._start)
        slot.lease = self
        return memoryview(slot)

    def release(self) -> None:
        """End the lease; later calls do nothing, nor do a fork's: the lock is its parent's."""
        fd, self._fd = self._fd, -1
        if fd >= 0 and os.getpid() == self._pid:
            self._segment.give_back(fd, self._slot)

    def __del__(self) -> None:
        self.release()


class _Slot(np.ndarray[Any, np.dtype[np.uint8]]):
    """What numpy keeps as the base of every array of a lease."""

    lease: Lease


def release(message: msgspec.Struct) -> None:
    """End the message's lease now. Its arrays must not be read afterwards: the writer may reuse them."""
    for field in message.__struct_fields__:
        lease = lease_of(getattr(message, field))
        if lease is not None:
            lease.release()


def lease_of(value: Any) -> Lease | None:
    """What holds the memory of an array, or of a view of one; None where that is the array itself."""
    while value is not None and not isinstance(value, _Slot):
        value = value.obj if isinstance(value, memoryview) else getattr(value, "base", None)
    return None if value is None else value.lease


def detach(message: Message) -> Message:
    """The same message with arrays of its own, which hold no slot: for whoever keeps messages for long."""
    copies = {
        name: value.copy()
        for name in message.__struct_fields__
        if isinstance(value := getattr(message, name), np.ndarray)
    }
    return msgspec.structs.replace(message, **copies) if copies else message
