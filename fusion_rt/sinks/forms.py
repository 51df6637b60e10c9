"""A message as others read it: JSON for everybody, the bus's own frame for who has this library."""

from __future__ import annotations

import socket as system
import time
from typing import Any, Literal

import msgspec
import numpy as np

from fusion_rt import messages
from fusion_rt.bus import wire
from fusion_rt.errors import MessageError
from fusion_rt.messages import Message

Form = Literal["json", "raw"]


def to_json(message: Any) -> bytes:
    """The message's fields; an array is {"dtype", "shape"} alone. NaN and infinities are null."""

    def short(value: Any) -> dict[str, Any]:
        if not isinstance(value, np.ndarray):
            raise NotImplementedError(f"{type(value).__name__} in a message")
        return {"dtype": value.dtype.name, "shape": value.shape}

    return msgspec.json.encode(message, enc_hook=short)


def to_raw(topic: str, message: Message) -> bytes:
    """The whole message as one frame of the bus (docs/bus.md), arrays inside."""
    header, arrays = messages.pack(message)
    envelope = wire.Envelope(
        "event", 0, 0, time.monotonic_ns(), system.gethostname(), header, wire.inline_places(arrays)
    )
    return wire.encode(wire.prefix(topic), envelope, arrays)


def from_raw(frame: bytes) -> Message:
    """What `to_raw` was given; its arrays are views of `frame`. Raises MessageError."""
    envelope, body = wire.decode(frame, wire.after_topic(frame))
    if envelope.slot is not None:
        raise MessageError("a frame whose arrays are in shared memory, on another machine")
    message: Message = messages.unpack(
        envelope.header, [wire.inline_view(body, place) for place in envelope.arrays]
    )
    return message
