"""Where the bytes of a serial device come from: a port, a port behind a network (ser2net), a captured
file."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from fusion_rt.errors import ConfigError, NodeError

WAIT_S = 0.1
AT_ONCE = 4096
SETUP_BAUD = 115_200
ANSWER_S = 2.0


class Gone(NodeError):
    """The port cannot be opened, or was unplugged."""


class Port(Protocol):
    """Bytes, as they come."""

    def read(self) -> bytes:
        """What came within WAIT_S at most; b"" nothing. Raises Gone; EOFError at a file's end."""

    def close(self) -> None:
        """Let others have it."""


def open_port(source: str, baud: int) -> Port:
    """source: /dev/ttyUSB0 or another device, tcp://HOST:PORT, rfc2217://HOST:PORT, or a file of captured
    bytes.

    Raises Gone, ConfigError: pyserial is missing."""
    path = Path(source).expanduser()
    if path.is_file():
        return _Captured(path, baud)
    return _Serial(source.replace("tcp://", "socket://", 1), baud)


class _Serial:
    def __init__(self, url: str, baud: int) -> None:
        serial = _pyserial()
        self._url = url
        try:
            self._port = serial.serial_for_url(url, baudrate=baud, timeout=WAIT_S)
        except (OSError, ValueError) as error:  # pyserial's errors are OSErrors
            raise Gone(f"{url}: {error}") from error

    def read(self) -> bytes:
        try:
            first = self._port.read(1)  # wakes at the first byte, not when a buffer is full
            if not first:
                return b""
            more = min(self._port.in_waiting, AT_ONCE)
            return bytes(first + (self._port.read(more) if more else b""))
        except (
            OSError,
            TypeError,
        ) as error:  # TypeError: pyserial's own, where the port vanishes within a read
            raise Gone(f"{self._url}: {error}") from error

    def write(self, data: bytes) -> None:
        """Raises Gone."""
        try:
            self._port.write(data)
        except OSError as error:
            raise Gone(f"{self._url}: {error}") from error

    def close(self) -> None:
        self._port.close()


class _Captured:
    """A file, as fast as the port would have given it."""

    def __init__(self, path: Path, baud: int) -> None:
        self._file = path.open("rb")
        self._chunk = max(int(baud / 10 * WAIT_S / 10), 1)

    def read(self) -> bytes:
        data = self._file.read(self._chunk)
        if not data:
            raise EOFError
        time.sleep(WAIT_S / 10)
        return data

    def close(self) -> None:
        self._file.close()


def configure(source: str, lines: list[str]) -> None:
    """Sends a TI radar's configuration to its command port, a line at a time, each answered by "Done".

    Raises NodeError: a line was refused, or not answered within ANSWER_S."""
    port = _Serial(source.replace("tcp://", "socket://", 1), SETUP_BAUD)
    try:
        for line in lines:
            port.write(line.encode() + b"\n")
            answer, end = b"", time.monotonic() + ANSWER_S
            while b"Done" not in answer:
                if b"Error" in answer or b"not recognized" in answer:
                    text = answer.decode("utf-8", "replace").strip()
                    raise NodeError(f"{source}: the radar refuses {line!r}: {text[-200:]}")
                if time.monotonic() > end:
                    raise NodeError(f"{source}: no answer to {line!r}; is this the command port?")
                answer += port.read()
    finally:
        port.close()


def setup_lines(path: Path) -> list[str]:
    """The commands of a TI .cfg file; "%" begins a comment. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    return [line for raw in text.splitlines() if (line := raw.partition("%")[0].strip())]


def _pyserial():  # type: ignore[no-untyped-def]
    try:
        import serial
    except ImportError as error:
        raise ConfigError("a serial port needs pyserial: pip install 'fusion-rt[home]'") from error
    return serial
