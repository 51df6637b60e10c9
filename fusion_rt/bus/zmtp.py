"""ZeroMQ's protocol on a stream (ZMTP 3.0, rfc.zeromq.org/spec/23), what PUB and SUB on one host need of it.

libzmq hands each message to a thread of its own, and takes it from one: two more wake-ups between a sender
and a reader of one machine, each as dear as all else. So these sockets are read and written where the message
is made and wanted. The other side may be libzmq: it sees no difference."""

from __future__ import annotations

import struct

from fusion_rt.errors import MessageError

MORE, LONG, COMMAND = 1, 2, 4  # a frame's flags
_SIGNATURE = b"\xff" + bytes(8) + b"\x7f"
_MECHANISM = b"NULL".ljust(20, b"\0")
GREETING = _SIGNATURE + b"\x03\x00" + _MECHANISM + bytes(32)
_MAX_COMMAND = 4096
_LONG = struct.Struct(">BQ")


def message(body: bytes) -> bytes:
    """A message of one part, as it goes through the stream."""
    size = len(body)
    return (bytes((0, size)) if size < 256 else _LONG.pack(LONG, size)) + body


def ready(socket_type: str, *, announced: bool = False) -> bytes:
    """The command that ends our side of the handshake: "XPUB" or "SUB". announced: we want announcements."""
    body = b"\x05READY" + _property(b"Socket-Type", socket_type.encode()) + (_ANNOUNCED if announced else b"")
    return bytes((COMMAND, len(body))) + body


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + struct.pack(">I", len(value)) + value


_ANNOUNCED = _property(b"X-Announce", b"1")
ANNOUNCEMENT = bytes((COMMAND, 9)) + b"\x08ANNOUNCE"
"""A large message is being copied and will follow. To peers that asked for it: their processor wakes up, and
what they do with a message comes back into its caches, while the copy is made."""


class Handshake:
    """Reads the other side's greeting and READY, and not a byte more."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    @property
    def missing(self) -> int:
        """How many bytes to read next; 0: it is done."""
        have, head = len(self._bytes), len(GREETING) + 2
        if have < head:
            return (head if have >= len(GREETING) else len(GREETING)) - have
        return head + self._bytes[head - 1] - have

    @property
    def announced(self) -> bool:
        """Whether the other side wants announcements."""
        return _ANNOUNCED in self._bytes

    def feed(self, data: bytes) -> None:
        """At most `missing` bytes. Raises MessageError for what is not ZMTP 3 without security."""
        got = self._bytes
        got += data
        start = len(GREETING)
        if len(got) == start:
            if got[0] != 0xFF or not got[9] & 1 or got[10] < 3 or bytes(got[12:32]) != _MECHANISM:
                raise MessageError("not a ZMTP 3 peer without security")
        elif len(got) > start and got[start] != COMMAND:
            raise MessageError("no command ends the greeting")
        elif not self.missing and bytes(got[start + 2 : start + 8]) != b"\x05READY":
            raise MessageError("not ready")


class Frames:
    """Cuts a stream into frames; none may be longer than `limit` bytes."""

    def __init__(self, limit: int):
        self._limit = limit
        self._rest = bytearray()

    @property
    def pending(self) -> bool:
        """Whether a part of a frame has come."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """What is whole by now: (flags, body) each. Raises MessageError for a frame beyond the limit."""
        if self._rest:
            self._rest += data
            data = self._rest  # type: ignore[assignment]
        found, at, have = [], 0, len(data)
        while have - at >= 2:
            flags, size, body = data[at], data[at + 1], at + 2
            if flags & LONG:
                if have - at < _LONG.size:
                    break
                size, body = _LONG.unpack_from(data, at)[1], at + _LONG.size
            if size > self._limit:
                raise MessageError(f"a frame of {size} bytes, more than {self._limit}")
            if have - body < size:
                break
            at = body + size
            found.append((flags, bytes(data[body:at])))
        if data is self._rest:
            del self._rest[:at]
        elif at < have:
            self._rest += data[at:]
        return found
