"""Messages that Foxglove has no schema for, as JSON.

JSON has no NaN and no infinity, and a sensor may well send them. Such a message carries its exact form beside
the readable one, in a field that the schema does not have: viewers ignore it, we read it back, and the round
trip is exact. Arrays are lists of numbers; those of float32 come back bit for bit.
"""

from __future__ import annotations

import base64
import functools
from typing import Any, TypeAlias, get_args

import msgspec
import numpy as np
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.header import F4
from fusion_rt.home_truth import HomeTruth
from fusion_rt.logs.records import Buffer
from fusion_rt.messages import Message, Sight, Sound, message_type, pack, unpack

PREFIX = "fusion_rt."  # of the schema names: fusion_rt.imu, fusion_rt.prediction, ...
COMMAND = f"{PREFIX}command"  # beside a microphone's sounds, and with numbers of its own
Written: TypeAlias = Message | HomeTruth
_OURS = frozenset(get_args(Written))
# What has arrays: field -> shape, of which JSON cannot say that it is (0, 4).
_SHAPES: dict[str, tuple[type, dict[str, tuple[int, ...]]]] = {
    "sight": (Sight, {"boxes": (-1, 4), "scores": (-1,), "keypoints": (-1, 17, 3)}),
    "sound": (Sound, {"embedding": (-1,)}),
}


class _Exact(Struct):
    exact: str | None = None
    arrays: list[str] = []


class _Kind(Struct):
    type: str


def encode(message: Any) -> bytes:
    """A message as one JSON object."""
    data = _ENCODER.encode(message)
    if (b"null" in data or type(message) not in _OURS) and not _same(data, message):
        header, arrays = pack(message)
        data = data[:-1] + b',"exact":"' + base64.b64encode(header) + b'"'
        if arrays:
            packed = (base64.b64encode(array.tobytes()).decode() for array in arrays)
            data += b',"arrays":' + msgspec.json.encode(list(packed))
        data += b"}"
    return data


def decode(data: Buffer) -> Written:
    """The message again. Raises LogError or MessageError."""
    try:
        data = bytes(data)
        if b'"exact":' in data:
            exact = msgspec.json.decode(data, type=_Exact)
            if exact.exact is not None:
                arrays = [base64.b64decode(array, validate=True) for array in exact.arrays]
                return unpack(base64.b64decode(exact.exact, validate=True), arrays)
        return _read(data)
    except ValueError as error:  # msgspec's and base64's errors are among them
        raise LogError(f"a JSON message is damaged: {error}") from error


def schema(type_: type) -> bytes:
    """The JSON schema of a message type."""
    return msgspec.json.encode(msgspec.json.schema(type_, schema_hook=_schema_of_array))


def _read(data: bytes) -> Written:
    of_type = _SHAPES.get(msgspec.json.decode(data, type=_Kind).type)
    if of_type is None:
        plain: Written = _decoder(message_type()).decode(data)
        return plain
    type_, shapes = of_type
    fields = msgspec.json.decode(data)
    for name, shape in shapes.items():
        try:
            fields[name] = np.array(fields[name], F4).reshape(shape)
        except (KeyError, TypeError) as error:  # not there, or no numbers
            raise ValueError(f"{name} is no array of numbers") from error
    message: Written = msgspec.convert(fields, type_, dec_hook=lambda _, array: array)
    return message


def _same(data: bytes, message: Any) -> bool:
    """Whether the readable form says all of it."""
    try:
        back = _read(data)
    except ValueError:
        return False
    if isinstance(message, HomeTruth):
        return bool(back == message)
    (header, arrays), (header_back, arrays_back) = pack(message), pack(back)  # type: ignore[arg-type]
    return header == header_back and all(
        one.tobytes() == other.tobytes() for one, other in zip(arrays, arrays_back, strict=True)
    )


def _list(array: Any) -> Any:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{type(array).__name__} has no place in JSON")
    return array.tolist()


def _schema_of_array(type_: Any) -> dict[str, Any]:
    return {"type": "array"}


@functools.lru_cache(maxsize=4)
def _decoder(messages: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(messages | HomeTruth, dec_hook=_no_array)


def _no_array(type_: Any, value: Any) -> Any:
    raise ValueError("arrays of a packet type of one's own are in its exact form alone")


_ENCODER = msgspec.json.Encoder(enc_hook=_list)
