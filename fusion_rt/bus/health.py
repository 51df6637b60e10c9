"""What a node says about itself once a second, on the topic `health.<node>`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from fusion_rt.bus.clocks import Clock
from fusion_rt.bus.counters import Received, Sent
from fusion_rt.errors import MessageError
from fusion_rt.messages import Header

PERIOD_S = 1.0
State = Literal["starting", "running", "stopping"]


class NodeHealth(Struct, frozen=True, kw_only=True, tag="health"):
    """One node, now.

    state      starting until its loop first asks whether to stop
    loop_s     since its loop last asked: large in a node that hangs
    cpu_s      of all its threads, since it began
    sent       topic -> what was published
    received   topic -> what came
    rates_hz   topic -> messages published or received a second, since the last report
    detail     the node's own counters and measures
    clocks     host -> its clock against this host's
    """

    header: Header
    node: str
    pid: int
    state: State
    loop_s: float
    rss_bytes: int
    cpu_s: float
    sent: dict[str, Sent] = {}
    received: dict[str, Received] = {}
    rates_hz: dict[str, float] = {}
    detail: dict[str, float] = {}
    clocks: dict[str, Clock] = {}


def topic(node: str) -> str:
    """Where the node's health is published."""
    return f"health.{node}"


def pack(health: NodeHealth) -> tuple[bytes, list[Any]]:
    """As messages.pack: a header, and no arrays."""
    return msgspec.msgpack.encode(health), []


def unpack(header: bytes | memoryview, arrays: list[Any]) -> NodeHealth:
    """As messages.unpack; raises MessageError."""
    try:
        return msgspec.msgpack.decode(header, type=NodeHealth)
    except msgspec.DecodeError as error:
        raise MessageError(f"not a node's health: {error}") from error
