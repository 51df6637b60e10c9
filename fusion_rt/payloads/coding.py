"""A topic's messages to and from the form that they have between hosts."""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import force_setattr
from numpy.typing import NDArray

from fusion_rt import messages
from fusion_rt.errors import MessageError
from fusion_rt.messages import Image, PointCloud
from fusion_rt.payloads import h264, jpeg, points
from fusion_rt.payloads.h264 import CodedFrame
from fusion_rt.payloads.points import CodedPoints
from fusion_rt.payloads.settings import H264, Jpeg, Payload, Points

Coded: TypeAlias = CodedFrame | CodedPoints


class Encoder:
    """What goes out. What the payload is not for (an IMU sample on a topic with `jpeg`) goes as it is.

    Raises ConfigError where the payload's library is missing."""

    def __init__(self, payload: Payload, stream: int):
        self._payload = payload
        self._h264 = h264.Encoder(payload, stream) if isinstance(payload, H264) else None

    def encode(self, message: Any, *, key: bool = False) -> Any:
        """The message to be sent; `key`: one that a decoder can begin with. Raises MessageError."""
        if self._h264 is not None and isinstance(message, Image):
            return self._h264.encode(message, key=key)
        if isinstance(self._payload, Jpeg) and isinstance(message, Image):
            return jpeg.encode(message, self._payload.quality)
        if isinstance(self._payload, Points) and isinstance(message, PointCloud):
            return points.encode(message, self._payload.resolution_m, self._payload.level)
        return message


class Decoder:
    """What came in. `wants_key`, `waited` as in h264.Decoder."""

    def __init__(self) -> None:
        self._h264: h264.Decoder | None = None

    @property
    def wants_key(self) -> bool:
        return self._h264 is not None and self._h264.wants_key

    @property
    def waited(self) -> int:
        return 0 if self._h264 is None else self._h264.waited

    def decode(self, message: Any) -> Any:
        """As it was, but for the payload's error; None: a frame that cannot be decoded for want of an earlier
        one. JPEG stays JPEG. Raises MessageError, and ConfigError where a library is missing."""
        if isinstance(message, CodedPoints):
            return points.decode(message)
        if isinstance(message, CodedFrame):
            if self._h264 is None:
                self._h264 = h264.Decoder()
            return self._h264.decode(message)
        return message


class _Tagged(Struct):
    type: str


_decoder = msgspec.msgpack.Decoder(Coded)
_tag = msgspec.msgpack.Decoder(_Tagged)
_TAGS = ("coded_frame", "coded_points")


def pack(message: Any) -> tuple[bytes, list[NDArray[Any]]]:
    """As messages.pack, for what encoders give."""
    if not isinstance(message, (CodedFrame, CodedPoints)):
        return messages.pack(message)
    return msgspec.msgpack.encode(message, enc_hook=lambda array: None), [message.data]


def unpack(header: bytes | memoryview, arrays: list[Any]) -> Any:
    """As messages.unpack, for what `pack` gives."""
    try:
        if _tag.decode(header).type not in _TAGS:
            return messages.unpack(header, arrays)
        message = _decoder.decode(header)
    except msgspec.DecodeError as error:
        raise MessageError(f"not a coded message: {error}") from error
    if len(arrays) != 1:
        raise MessageError(f"a coded message with {len(arrays)} arrays, expected 1")
    force_setattr(message, "data", np.frombuffer(arrays[0], np.uint8))
    return message
