"""What goes through the sockets: one frame a message.

    topic, a zero byte                 what ZeroMQ filters by
    version                            one byte, messages.PROTOCOL_VERSION
    length of the envelope             u32, little-endian
    envelope                           msgpack array, `Envelope`
    padding to 16 bytes, inline arrays each padded to 16 bytes

One frame and not several, so that a socket can never hold half a message."""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from numpy.typing import NDArray

from fusion_rt.errors import BusError, MessageError
from fusion_rt.messages import PROTOCOL_VERSION, Index

Kind = Literal["sensor", "event", "state", "log"]
"""How a topic is kept. sensor, state: a reader that is behind sees the newest. event: everything, in order,
until 1000 wait. log: everything; the publisher waits for its readers."""
NEWEST_WINS: tuple[Kind, ...] = ("sensor", "state")

Unsigned = Annotated[int, Meta(ge=0)]
TOPIC = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
INLINE_ALIGN = 16
_LENGTH = struct.Struct("<BI")


class Slot(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Which slot of which segment holds the arrays, and the generation it must have."""

    segment: Annotated[str, Meta(max_length=64)]
    index: Index
    generation: Annotated[int, Meta(ge=1)]


class Place(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where one array lies: bytes of the slot, or of the frame behind the envelope."""

    in_slot: bool
    offset: Index
    nbytes: Index


class Envelope(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Everything but the arrays.

    instance      names this life of the publisher: a restart is not a loss
    seq           counts the publisher's messages, sent or not
    published_ns  CLOCK_MONOTONIC of `host`
    header        what messages.pack gave
    """

    kind: Kind
    instance: Unsigned
    seq: Unsigned
    published_ns: int
    host: Annotated[str, Meta(max_length=255)]
    header: bytes
    arrays: tuple[Place, ...] = ()
    slot: Slot | None = None


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Envelope)


def prefix(topic: str) -> bytes:
    """What a subscription to exactly this topic filters by. Raises BusError for a name that cannot be one."""
    if not TOPIC.fullmatch(topic):
        raise BusError(
            f"topic {topic[:80]!r}: use 1 to 64 letters, digits, '_', '-', '.'; the first is no '-' or '.'"
        )
    return topic.encode() + b"\0"


def encode(topic: bytes, envelope: Envelope, inline: Sequence[NDArray[Any]]) -> bytes:
    """The frame; `topic` as `prefix` gives it, `inline` the arrays whose places are not in a slot."""
    body = _encoder.encode(envelope)
    if not inline:
        return topic + _LENGTH.pack(PROTOCOL_VERSION, len(body)) + body
    parts = [topic, _LENGTH.pack(PROTOCOL_VERSION, len(body)), body]
    length = sum(map(len, parts))
    for array in inline:
        parts += [b"\0" * (-length % INLINE_ALIGN), array.tobytes()]
        length += -length % INLINE_ALIGN + array.nbytes
    return b"".join(parts)


def inline_places(arrays: Sequence[NDArray[Any]]) -> tuple[Place, ...]:
    """Where `encode` puts them, counted from the first."""
    places, end = [], 0
    for array in arrays:
        end += -end % INLINE_ALIGN
        places.append(Place(False, end, array.nbytes))
        end += array.nbytes
    return tuple(places)


def after_topic(frame: bytes) -> int:
    """Where the frame's topic ends, its zero byte included; 0: it has none."""
    return frame.find(b"\0", 0, 65) + 1


def decode(frame: bytes, start: int) -> tuple[Envelope, memoryview]:
    """The envelope, and the bytes that inline places count from; `start` as `after_topic` gave it.

    Raises MessageError for anything that `encode` does not make."""
    if not start or len(frame) < start + _LENGTH.size:
        raise MessageError(f"a frame of {len(frame)} bytes without a topic or a length")
    version, length = frame[start], int.from_bytes(frame[start + 1 : start + 5], "little")
    if version != PROTOCOL_VERSION:
        raise MessageError(f"protocol {version}, this is {PROTOCOL_VERSION}: update the older side")
    start += _LENGTH.size
    if start + length > len(frame):
        raise MessageError(f"an envelope of {length} bytes in a frame of {len(frame)}")
    stop = start + length
    try:
        envelope = _decoder.decode(frame[start:stop])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError(f"not an envelope: {error}") from error
    return envelope, memoryview(frame)[stop + -stop % INLINE_ALIGN :]


def inline_view(body: memoryview, place: Place) -> memoryview:
    """The bytes of one inline array, read-only. Raises MessageError beyond the frame's end."""
    if place.offset + place.nbytes > len(body):
        raise MessageError(f"bytes from {place.offset}, {place.nbytes} of them, in a frame with {len(body)}")
    return body[place.offset : place.offset + place.nbytes]
