"""Locks on single bytes of a file, held by an open file description and never waited for.

The kernel keeps them, so they end with the process that held them, however it ended, and taking or leaving
one orders memory between processes. Linux open-file-description locks: two descriptions in one process
exclude each other just as two processes do.
"""

from __future__ import annotations

import errno
import fcntl
import struct
from functools import lru_cache

from fusion_rt.errors import BusError

_FLOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, pid (0)


def lock_exclusive(fd: int, byte: int) -> bool:
    """Take the byte alone; False where anyone else holds it. `fd` must be open for writing."""
    return _set(fd, byte, fcntl.F_WRLCK)


def lock_shared(fd: int, byte: int) -> bool:
    """Take the byte beside other sharers; False where someone has it alone. `fd` must be readable."""
    return _set(fd, byte, fcntl.F_RDLCK)


def unlock(fd: int, byte: int) -> None:
    """Leave the byte; closing the last descriptor of the description leaves all of them."""
    _set(fd, byte, fcntl.F_UNLCK)


@lru_cache(maxsize=2048)
def _flock(type_: int, byte: int) -> bytes:
    return _FLOCK.pack(type_, 0, byte, 1, 0)


def is_locked(fd: int, byte: int) -> bool:
    """Whether anyone holds the byte alone. Takes nothing, so nobody is kept from taking it meanwhile."""
    question = _flock(fcntl.F_RDLCK, byte)
    return bool(_FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_OFD_GETLK, question))[0] != fcntl.F_UNLCK)


def _set(fd: int, byte: int, type_: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(type_, byte))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise BusError(f"byte {byte} of a shared file cannot be locked: {error.strerror}") from error
    return True
