"""The writer's side of the shared-memory ring: slots for arrays too large to go through a socket.

One segment is one file in /dev/shm, mode 0600, mapped by its writer for writing and by readers for reading
only. Layout, little-endian:

    0      magic "FRTRING1"
    8      u32 slots, u32 unused
    16     u64 slot_bytes
    24     u64 generation of slot 0, slot 1, ...   (0: being written, or never written)
    4096   slot 0, slot 1, ... each slot_bytes long, a multiple of 4096

Who may touch what is said by locks on single bytes of the file (`locks.py`), which the kernel drops with
the process that held them: byte 0 is held by the living owner, byte 1 + i by the writer alone while it fills
slot i, or shared by every reader that looks at it. To write: lock the slot, set its generation to 0, write,
set the new generation, unlock, send the descriptor. To read: lock the slot, then compare the generation. So
a reader sees its slot whole and unchanged or not at all, and nobody ever waits.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import struct
import weakref
from collections import deque
from collections.abc import Sequence
from mmap import MAP_POPULATE, MAP_SHARED, mmap

import numpy as np

from fusion_rt.bus.forks import Descriptor
from fusion_rt.bus.locks import lock_exclusive, unlock
from fusion_rt.errors import BusError

FOLDER = "/dev/shm"
NAME = re.compile(r"fusion_rt-[0-9]{1,10}-[0-9]{1,10}-[0-9a-f]{16}")
MAGIC = b"FRTRING1"
HEAD = struct.Struct("<8sIIQ")
PAGE = 4096
MAX_SLOTS = (PAGE - HEAD.size) // 8
ALIGN = 64
OWNER_BYTE = 0


def slot_byte(slot: int) -> int:
    """The byte whose lock guards the slot."""
    return 1 + slot


class Ring:
    """One segment and its writer. For one thread at a time, `abandon` excepted.

    slot_bytes  the least that a slot holds; rounded up to whole pages
    slots       2..509; a slot that readers hold is passed over, so give one for each message that readers
                keep, one being written, one waiting in the socket

    Raises BusError: no room in /dev/shm, or the system has no shared memory."""

    def __init__(self, slot_bytes: int, slots: int):
        if not 2 <= slots <= MAX_SLOTS:
            raise BusError(f"a ring of {slots} slots: 2 to {MAX_SLOTS} are possible")
        self.slots = slots
        self.slot_bytes = max(PAGE, -(-slot_bytes // PAGE) * PAGE)
        size = PAGE + self.slots * self.slot_bytes
        sweep()
        self.name, self._file, self._map = _create(size)
        HEAD.pack_into(self._map, 0, MAGIC, slots, 0, self.slot_bytes)
        self._generations = memoryview(self._map)[HEAD.size : HEAD.size + 8 * slots].cast("Q")
        self._address = int(np.frombuffer(self._map, np.uint8).__array_interface__["data"][0])
        self._generation = 0
        self._order = list(range(slots))  # oldest first; a slot on loan is not in it
        self._abandoned: deque[int] = deque()
        self._finalizer = weakref.finalize(self, _remove, self.name, self._file, os.getpid())

    def take(self) -> int | None:
        """The oldest slot that no reader holds, for the caller alone; None when all are held."""
        while self._abandoned:
            self._order.insert(0, slot := self._abandoned.pop())
            unlock(self._file.fd, slot_byte(slot))
        for position, slot in enumerate(self._order):
            if lock_exclusive(self._file.fd, slot_byte(slot)):
                del self._order[position]
                self._generations[slot] = 0
                return slot
        return None

    def address(self, slot: int) -> int:
        """Where the slot's memory is."""
        return self._address + PAGE + slot * self.slot_bytes

    @property
    def committed(self) -> int:
        """How many messages it has carried."""
        return self._generation

    @property
    def on_loan(self) -> int:
        """How many slots were taken and neither committed nor abandoned."""
        return self.slots - len(self._order) - len(self._abandoned)

    def commit(self, slot: int) -> int:
        """The slot is written: readers may take it. Returns its generation."""
        self._generation += 1
        self._generations[slot] = self._generation
        unlock(self._file.fd, slot_byte(slot))
        self._order.append(slot)
        return self._generation

    def abandon(self, slot: int) -> None:
        """The slot was not written after all: it is the next to be taken. From any thread, at any moment,
        also from a finalizer."""
        self._abandoned.append(slot)

    def close(self) -> None:
        """Remove the segment's name; readers keep what they have mapped. Later calls do nothing."""
        self._finalizer()


def layout(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Where arrays of these byte sizes lie behind each other, aligned, and the bytes they need in all."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // ALIGN) * ALIGN
    return offsets, end


def sweep() -> list[str]:
    """Remove this user's segments whose owner is gone; returns their names."""
    removed = []
    for name in segments():
        path = f"{FOLDER}/{name}"
        try:
            fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # removed meanwhile
        try:
            if lock_exclusive(fd, OWNER_BYTE):
                os.unlink(path)
                removed.append(name)
        except FileNotFoundError:
            pass  # another sweeper was faster
        finally:
            os.close(fd)
    return removed


def segments() -> list[str]:
    """The names of this user's segments."""
    mine = f"fusion_rt-{os.getuid()}-"
    try:
        return sorted(n for n in os.listdir(FOLDER) if n.startswith(mine) and NAME.fullmatch(n))
    except FileNotFoundError:
        return []


def _create(size: int) -> tuple[str, Descriptor, mmap]:
    """A segment of `size` bytes that gets its name only when its owner's lock is on it, so that no sweeper
    can take it for a dead one. The locks have a description of their own: a mapping keeps the one that it
    was made from alive, in a fork too."""
    name = f"fusion_rt-{os.getuid()}-{os.getpid()}-{secrets.token_hex(8)}"
    folder = fd = locks = -1
    try:
        folder = os.open(FOLDER, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fd = os.open(FOLDER, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(fd, 0, size)  # a full /dev/shm is an error here, not a SIGBUS later
        locks = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        lock_exclusive(locks, OWNER_BYTE)
        memory = mmap(fd, size, flags=MAP_SHARED | MAP_POPULATE)
        os.link(f"/proc/self/fd/{fd}", name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=True)
    except OSError as error:
        if locks >= 0:
            os.close(locks)
        remedy = (
            "free some, use fewer slots, or give the container more (--shm-size=1g)"
            if error.errno == errno.ENOSPC
            else "is it mounted and writable?"
        )
        raise BusError(f"{FOLDER}: no segment of {size >> 20} MiB: {error.strerror}; {remedy}") from error
    finally:
        for one in (folder, fd):
            if one >= 0:
                os.close(one)
    return name, Descriptor(locks), memory


def _remove(name: str, file: Descriptor, owner: int) -> None:
    if os.getpid() == owner:  # a forked child is not the owner
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{FOLDER}/{name}")
    file.close()
