"""What a forked child must not keep: descriptors whose locks say that their owner lives.

A fork shares open file descriptions, and with them the locks: a child that lived on would keep its dead
parent's topics and segments. So the child closes these at once; the parent keeps its locks, since the
description stays open there. A program that is started (`exec`) inherits none of ours at all (O_CLOEXEC).
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from fusion_rt.errors import BusError

_Owner = TypeVar("_Owner")


class Descriptor:
    """An open file of this process alone: closed in every forked child.

    fd  its number; -1 once it is closed, and in a child"""

    def __init__(self, fd: int):
        self.fd = fd
        _open.add(self)

    def close(self) -> None:
        """Later calls do nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            _open.discard(self)
            os.close(fd)


def check(owner_pid: int, what: str) -> None:
    """Raises BusError in a process other than the owner."""
    if os.getpid() != owner_pid:
        raise BusError(
            f"{what}: opened by process {owner_pid}, and this is a fork of it: open a new one here"
        )


def close_in_child(owner: _Owner, close: Callable[[_Owner], None]) -> None:
    """Have `close(owner)` called in every forked child while the owner lives; it may take no lock."""
    _owners[owner] = close


def _close_in_child() -> None:
    for descriptor in list(_open):
        descriptor.close()
    for owner, close in list(_owners.items()):
        close(owner)
    _owners.clear()


_open: set[Descriptor] = set()
_owners: weakref.WeakKeyDictionary[Any, Callable[[Any], None]] = weakref.WeakKeyDictionary()
os.register_at_fork(after_in_child=_close_in_child)
