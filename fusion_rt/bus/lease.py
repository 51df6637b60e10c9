"""The reader's side of the ring: a slot is held as long as any array of it lives.

A lease is one file descriptor with a shared lock on the slot's byte; closing it ends the lease, and so does
the reader's death. Order matters and is the whole protocol: the lock first, then the generation."""

from __future__ import annotations

import errno
import os
import stat
from mmap import MAP_POPULATE, MAP_SHARED, PROT_READ, mmap
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fusion_rt.bus.locks import lock_shared
from fusion_rt.bus.ring import FOLDER, HEAD, MAGIC, MAX_SLOTS, NAME, PAGE, slot_byte
from fusion_rt.errors import BusError, MessageError
from fusion_rt.messages import Message


class Segment:
    """A segment mapped for reading only.

    Raises MessageError where `name` is not one of ours, and FileNotFoundError where its writer has removed
    it."""

    def __init__(self, name: str):
        if not NAME.fullmatch(name):
            raise MessageError(f"{name[:80]!r} is not the name of a segment")
        self._fd = _open(f"{FOLDER}/{name}")
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_size < PAGE:
            raise MessageError(f"{name} is not a segment of this user")
        self._map = mmap(self._fd, status.st_size, flags=MAP_SHARED | MAP_POPULATE, prot=PROT_READ)
        magic, self.slots, _, self.slot_bytes = HEAD.unpack_from(self._map)
        if magic != MAGIC or self.slots > MAX_SLOTS or PAGE + self.slots * self.slot_bytes != status.st_size:
            raise MessageError(f"{name} has a broken head")
        everything = np.frombuffer(self._map, np.uint8)
        self._generations = everything[HEAD.size : HEAD.size + 8 * self.slots].view("<u8")
        self._address = int(everything.__array_interface__["data"][0])

    def lease(self, slot: int, generation: int) -> Lease | None:
        """Hold the slot; None when it no longer, or not yet, holds this generation."""
        if slot >= self.slots:
            raise MessageError(f"slot {slot} of a ring of {self.slots}")
        # Through /proc, since the name may be gone while the segment lives on in this mapping.
        fd = _open(f"/proc/self/fd/{self._fd}", follow=True)
        if lock_shared(fd, slot_byte(slot)) and int(self._generations[slot]) == generation:
            return Lease(fd, self._map, self._address + PAGE + slot * self.slot_bytes, self.slot_bytes)
        os.close(fd)
        return None

    def __del__(self) -> None:
        fd, self._fd = getattr(self, "_fd", -1), -1
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

    __slots__ = ("_address", "_fd", "_map", "nbytes")

    def __init__(self, fd: int, map_: mmap, address: int, nbytes: int):
        self._fd, self._map, self._address, self.nbytes = fd, map_, address, nbytes

    def view(self, offset: int, nbytes: int) -> NDArray[np.uint8]:
        """Bytes of the slot, read-only. Raises MessageError beyond its end."""
        if offset + nbytes > self.nbytes:
            raise MessageError(f"bytes {offset} to {offset + nbytes} of a slot of {self.nbytes}")
        array: NDArray[np.uint8] = np.asarray(_View(self, self._address + offset, nbytes))
        return array

    def release(self) -> None:
        """End the lease; later calls do nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.release()


class _View:
    """What numpy keeps as the base of every array of a lease."""

    __slots__ = ("__array_interface__", "lease")

    def __init__(self, lease: Lease, address: int, nbytes: int):
        self.lease = lease
        self.__array_interface__ = {
            "version": 3,
            "typestr": "|u1",
            "shape": (nbytes,),
            "data": (address, True),
        }


def release(message: msgspec.Struct) -> None:
    """End the message's lease now. Its arrays must not be read afterwards: the writer may reuse them."""
    for field in message.__struct_fields__:
        base: Any = getattr(message, field)
        while base is not None and not isinstance(base, _View):
            base = base.obj if isinstance(base, memoryview) else getattr(base, "base", None)
        if base is not None:
            base.lease.release()


def detach(message: Message) -> Message:
    """The same message with arrays of its own, which hold no slot: for whoever keeps messages for long."""
    copies = {
        name: value.copy()
        for name in message.__struct_fields__
        if isinstance(value := getattr(message, name), np.ndarray)
    }
    return msgspec.structs.replace(message, **copies) if copies else message
