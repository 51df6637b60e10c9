"""One file a peer: how a Python program sends and receives arrays with it, as its own examples do.

Each has `sender(task)` and `listener(task)`. Payloads begin with when they were written and their number,
apart from ours, whose messages have a header."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.bench.bus.loads import Task

Bytes = NDArray[np.uint8]


class Peer(Struct, frozen=True):
    """A column of the result.

    module   of this package
    package  what pip installs, and what it is imported as; None: always there
    only     the loads it is measured in; empty: all
    """

    name: str
    module: str
    package: str | None = None
    imported: str | None = None
    only: tuple[str, ...] = ()

    def installed(self) -> bool:
        """Whether it can be measured here."""
        return self.imported is None or importlib.util.find_spec(self.imported) is not None


LARGE = ("image", "image-3", "points", "rig")
PEERS = {
    peer.name: peer
    for peer in (
        Peer("fusion_rt, send", "ours"),
        Peer("fusion_rt, loan", "ours_in_place", only=(*LARGE, "slow")),
        Peer("pyzmq", "plain_zmq"),
        Peer("pyzmq, CONFLATE", "conflating_zmq", only=("slow",)),
        Peer("iceoryx2", "iceoryx2", "iceoryx2", "iceoryx2"),
        Peer("iceoryx2, in place", "iceoryx2_in_place", "iceoryx2", "iceoryx2", only=LARGE),
        Peer("zenoh, shared memory", "zenoh", "eclipse-zenoh", "zenoh"),
        Peer("dora", "dora", "dora-rs dora-rs-cli", "dora"),
    )
}


class Frame(Struct):
    """One message as its reader has it: the arrays are readable as they are."""

    topic: str
    stamp_ns: int
    seq: int
    arrays: Sequence[NDArray[Any]]


class Sender(Protocol):
    def buffers(self) -> list[Bytes]:
        """Where the driver writes the next message: as many bytes as the stream has."""
        ...

    def send(self, stamp_ns: int, seq: int) -> None: ...

    def close(self) -> None: ...


class Reader(Protocol):
    def recv(self, timeout_s: float) -> Frame | None: ...

    def close(self) -> None: ...


def sender(task: Task) -> Sender:
    """What sends the task's stream."""
    made: Sender = _module(task).sender(task)
    return made


def listener(task: Task) -> Reader:
    """What the task's listener receives with."""
    made: Reader = _module(task).listener(task)
    return made


def stamp(payload: Bytes, stamp_ns: int, seq: int) -> None:
    """Write the first 16 bytes."""
    payload[:16].view("<i8")[:] = stamp_ns, seq


def stamped(topic: str, payload: Bytes) -> Frame:
    """The frame whose first 16 bytes `stamp` wrote."""
    stamp_ns, seq = payload[:16].view("<i8").tolist()
    return Frame(topic, stamp_ns, seq, (payload,))


def _module(task: Task) -> Any:
    return importlib.import_module(f"{__name__}.{PEERS[task.transport].module}")
