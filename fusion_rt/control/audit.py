"""What was done to the home, and why: JSON, a line each, in a file that never grows beyond a bound."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from fusion_rt.errors import ConfigError, NodeError

MAX_BYTES = 2_000_000


class AuditLog:
    """Appends to `path`; before it is larger than half of max_bytes, it becomes `path`.1 and one before that
    is gone.

    A line is one write: after a kill -9 all lines but the last are whole, and the next start begins a new
    one. Raises ConfigError where the file cannot be opened."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES):
        self.path, self._half = path, max(max_bytes // 2, 1)
        self._fd = self._open()

    def write(self, record: Any) -> None:
        """One line. Raises NodeError: what is not written down is not done."""
        line = msgspec.json.encode(record) + b"\n"
        try:
            if 0 < self._size < self._size + len(line) > self._half:
                os.close(self._fd)
                self.path.replace(_older(self.path))
                self._fd = self._open()
            os.write(self._fd, line)
        except OSError as error:
            raise NodeError(f"audit: {self.path}: cannot be written: {error.strerror}") from error
        self._size += len(line)

    def close(self) -> None:
        """Nothing waits to be written."""
        os.close(self._fd)

    def __enter__(self) -> AuditLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> int:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # What happens at home is for its people alone.
            fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            self._size = os.fstat(fd).st_size
            if self._size and os.pread(fd, 1, self._size - 1) != b"\n":
                self._size += os.write(fd, b"\n")
        except OSError as error:
            raise ConfigError(f"audit: {self.path}: cannot be opened: {error.strerror}") from error
        return fd


def read(path: Path) -> Iterator[dict[str, Any] | None]:
    """The records, oldest first; None for a line that is torn. Raises ConfigError."""
    there = [file for file in (_older(path), path) if file.is_file()]
    if not there:
        raise ConfigError(f"{path}: no such file: has the node `control` decided anything yet?")
    for file in there:
        for line in file.read_bytes().splitlines():
            try:
                record = msgspec.json.decode(line, type=dict)
            except msgspec.DecodeError:
                yield None
                continue
            yield record


def default_path(site: str) -> Path:
    """$XDG_STATE_HOME/fusion_rt/control-SITE.jsonl, or in ~/.local/state."""
    root = os.environ.get("XDG_STATE_HOME")
    folder = Path(root) if root else Path.home() / ".local" / "state"
    return folder / "fusion_rt" / f"control-{site}.jsonl"


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")
