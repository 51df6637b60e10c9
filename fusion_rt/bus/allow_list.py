"""Whose public keys may connect: a file that is read again when it changes.

    {"desk": [{"key": "<40 characters of Z85>", "until": "2026-12-01T10:00:00Z"}, {"key": "<the next one>"}]}

A name has several keys while its owner changes from one to the next; one with `until` is refused from then
on."""

from __future__ import annotations

import os
import secrets
import stat
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import msgspec
import zmq.utils.z85
from msgspec import Struct

from fusion_rt.errors import BusError


class AllowedKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One public key; until (UTC) it may be used, None: without end."""

    key: str
    until: datetime | None = None

    def valid(self, now: datetime) -> bool:
        return self.until is None or now < self.until


Entries = dict[str, tuple[AllowedKey, ...]]


def load(path: str | Path) -> Entries:
    """Name -> keys. Raises BusError: missing, damaged, or others may read or write it."""
    try:
        mode = os.stat(path).st_mode
        entries = msgspec.json.decode(Path(path).read_bytes(), type=Entries)
    except (OSError, msgspec.DecodeError) as error:
        raise BusError(f"{path}: no allow-list: {error}; fusion-rt keys allow add {path} NAME KEY") from error
    if mode & 0o077:
        raise BusError(f"{path}: an allow-list that others can reach: chmod 600 {path}")
    for name, keys in entries.items():
        for entry in keys:
            try:
                z85(entry.key)
            except BusError as error:
                raise BusError(f"{path}: {name}: {error}") from error
            if entry.until is not None and entry.until.tzinfo is None:
                raise BusError(f"{path}: {name}: until {entry.until}: without a time zone, add Z")
    return entries


def save(path: str | Path, entries: Entries) -> None:
    """The whole list, mode 0600; a reader sees the old one or the new one, never half of it."""
    write_private(Path(path), msgspec.json.format(msgspec.json.encode(entries), indent=2) + b"\n")


def add(entries: Entries, name: str, key: str, *, overlap: timedelta | None, now: datetime) -> Entries:
    """With one more key; those that `name` has already are accepted for `overlap` from now on.

    Raises BusError: the key is none, is somebody's already, or `name` has one and `overlap` is None."""
    z85(key)
    owners = [owner for owner, keys in entries.items() for entry in keys if entry.key == key]
    if owners:
        raise BusError(f"this key is on the list already, as {owners[0]!r}")
    before = tuple(entry for entry in entries.get(name, ()) if entry.valid(now))
    if before and overlap is None:
        raise BusError(f"{name!r} has a key: --overlap HOURS accepts it beside the new one for so long")
    if overlap is not None:
        end = now + overlap
        before = tuple(
            AllowedKey(key=entry.key, until=end if entry.until is None else min(end, entry.until))
            for entry in before
        )
    return {**entries, name: (*before, AllowedKey(key=key))}


def remove(entries: Entries, name: str) -> Entries:
    """Without this name. Raises BusError where it is not there."""
    if name not in entries:
        raise BusError(f"{name!r} is not on the list; there are: {', '.join(sorted(entries)) or 'none'}")
    return {other: keys for other, keys in entries.items() if other != name}


def write_private(path: Path, data: bytes) -> None:
    """A file with mode 0600, in the place of what was there. Raises BusError."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
        os.replace(new, path)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise BusError(f"{path}: cannot be written: {error.strerror}") from error


def z85(key: str) -> bytes:
    """The key as ZeroMQ takes it. Raises BusError where it is none."""
    try:
        if len(key) == 40 and len(zmq.utils.z85.decode(key.encode())) == 32:
            return key.encode()
    except (ValueError, KeyError, UnicodeEncodeError):
        pass
    raise BusError("a CURVE key is 40 characters of Z85, as `fusion-rt keys make` gives it")


class AllowList:
    """Fixed keys, and those of a file as it is now.

    A file that cannot be read admits nobody. `revocations` counts up when a key that was let in is no longer
    allowed: whoever serves then ends the connections that there are. For the doorkeeper's thread; the
    counters may be read by any. Raises BusError where the file cannot be read at first."""

    def __init__(self, keys: Iterable[str] = (), path: str | Path | None = None):
        self._fixed = frozenset(z85(key) for key in keys)
        self._path = None if path is None else Path(path).expanduser()
        self._entries: Entries = {}
        self._seen: tuple[int, ...] = ()
        self._inside: set[bytes] = set()
        self.revocations = 0
        self.refused = 0
        if self._path is not None:
            self._entries = load(self._path)
            self._seen = _signature(self._path)

    def admits(self, key: bytes) -> bool:
        """Whether a connection with this public key may be made now."""
        admitted = key in self._allowed()
        if admitted:
            self._inside.add(key)
        else:
            self.refused += 1
        return admitted

    def look_again(self) -> None:
        """Notice those that were let in and are no longer allowed."""
        gone = self._inside - self._allowed()
        if gone:
            self._inside -= gone
            self.revocations += 1

    def _allowed(self) -> frozenset[bytes]:
        if self._path is not None and (seen := _signature(self._path)) != self._seen:
            self._seen = seen
            try:
                self._entries = load(self._path)
            except BusError as error:
                self._entries = {}
                print(f"nobody is let in: {error}", file=sys.stderr, flush=True)
        now = datetime.now(timezone.utc)
        listed = (entry for keys in self._entries.values() for entry in keys if entry.valid(now))
        return self._fixed | {entry.key.encode() for entry in listed}


def _signature(path: Path) -> tuple[int, ...]:
    """Changes with the file; empty where there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size, stat.S_IMODE(status.st_mode)
