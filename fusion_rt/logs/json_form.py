"""Messages that Foxglove has no schema for, as JSON.

JSON has no NaN and no infinity, and a sensor may well send them. Such a message carries its exact form beside
the readable one, in a field that the schema does not have: viewers ignore it, we read it back, and the round
trip is exact.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
from msgspec import Struct

from fusion_rt.errors import LogError
from fusion_rt.logs.records import Buffer
from fusion_rt.messages import Message, message_type, pack, unpack

PREFIX = "fusion_rt."  # of the schema names: fusion_rt.imu, fusion_rt.prediction, ...


class _Exact(Struct):
    exact: str | None = None


def encode(message: Any) -> bytes:
    """A message without arrays as one JSON object."""
    data = msgspec.json.encode(message)
    if b"null" in data and not _same(data, message):
        header, _ = pack(message)
        data = data[:-1] + b',"exact":"' + base64.b64encode(header) + b'"}'
    return data


def decode(data: Buffer) -> Message:
    """The message again. Raises LogError or MessageError."""
    try:
        data = bytes(data)
        if b'"exact":' in data:
            exact = msgspec.json.decode(data, type=_Exact).exact
            if exact is not None:
                return unpack(base64.b64decode(exact, validate=True), [])
        message: Message = msgspec.json.decode(data, type=message_type())
    except ValueError as error:  # msgspec's and base64's errors are among them
        raise LogError(f"a JSON message is damaged: {error}") from error
    return message


def schema(type_: type) -> bytes:
    """The JSON schema of a message type."""
    return msgspec.json.encode(msgspec.json.schema(type_))


def _same(data: bytes, message: Any) -> bool:
    try:
        return bool(msgspec.json.decode(data, type=type(message)) == message)
    except msgspec.ValidationError:
        return False
