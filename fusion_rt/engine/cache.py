"""Built engines on disk, found by what they were built from.

One file an engine: a line of JSON that says what it is, then its bytes. Names are digests of the whole
description, so another ONNX file, GPU, version, precision or shape is another engine, and two processes that
write the same one write the same name. A file appears by a rename: whoever reads it reads the whole or none.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from fusion_rt.errors import EngineError

ENVIRONMENT = "FUSION_RT_CACHE"
KEPT = 24  # engines: some versions of a few models


class EngineKey(Struct, frozen=True, kw_only=True):
    """Everything that an engine depends on.

    model         SHA-256 of the ONNX file
    part          for people: the file's name
    runtime       "tensorrt" or "tensorrt_rtx", and its whole version
    gpu           the card's name; "" where engines serve every card of an architecture
    architecture  "sm_90"
    precision     "f32", "f16" or "int8"
    shapes        input -> shape; what varies in the file is fixed here
    """

    model: str
    part: str
    runtime: str
    version: str
    gpu: str
    architecture: str
    precision: str
    shapes: dict[str, tuple[int, ...]]

    @property
    def name(self) -> str:
        """The file's name, without its ending."""
        described = msgspec.json.encode(self, order="sorted")
        return f"{self.part}-{self.architecture}-{hashlib.sha256(described).hexdigest()[:24]}"


class _Head(Struct, frozen=True, kw_only=True):
    """The first line of a file."""

    key: EngineKey
    sha256: str
    bytes: int


class EngineCache:
    """A folder of built engines.

    folder: None takes $FUSION_RT_CACHE, else ~/.cache/fusion_rt. A folder that cannot be written is read, and
    what is built goes to a temporary one beside it; `note` says so.
    """

    def __init__(self, folder: Path | None = None) -> None:
        chosen = (
            folder or Path(os.environ.get(ENVIRONMENT) or Path.home() / ".cache" / "fusion_rt") / "engines"
        )
        self.folder, self.note = chosen, ""
        self._others: list[Path] = []
        try:
            _writable(chosen)
        except OSError as error:
            self.folder = Path(tempfile.gettempdir()) / f"fusion_rt-{os.getuid()}" / "engines"
            self.note = f"{chosen} cannot be written ({error.strerror}); engines are kept in {self.folder}"
            self._others = [chosen]
            try:
                _writable(self.folder)
            except OSError as second:
                raise EngineError(
                    f"no folder for built engines: {chosen}: {error}; {self.folder}: {second};"
                    f" name a writable one in ${ENVIRONMENT}"
                ) from second

    def get(self, key: EngineKey) -> bytes | None:
        """The engine, or None: it was never built, or its file is damaged, which `note` then says."""
        for folder in (self.folder, *self._others):
            path = folder / f"{key.name}.engine"
            try:
                return _read(path, key)
            except FileNotFoundError:
                continue
            except (OSError, EngineError) as error:
                self.note = f"{error}; it is built again"
        return None

    def put(self, key: EngineKey, engine: bytes) -> Path:
        """Write it, whole or not at all. Raises EngineError: the disk is full, ..."""
        head = _Head(key=key, sha256=hashlib.sha256(engine).hexdigest(), bytes=len(engine))
        path = self.folder / f"{key.name}.engine"
        _replace(path, msgspec.json.encode(head) + b"\n" + engine)
        self._prune(path)
        return path

    def get_note(self, name: str) -> bytes | None:
        """A small file beside the engines, such as a timing cache; None where there is none."""
        for folder in (self.folder, *self._others):
            with suppress(OSError):
                return (folder / name).read_bytes()
        return None

    def put_note(self, name: str, data: bytes) -> None:
        """Write such a file, whole or not at all. Raises EngineError."""
        _replace(self.folder / name, data)

    @contextmanager
    def building(self, key: EngineKey) -> Iterator[None]:
        """One process at a time builds an engine: the second waits, and then finds it."""
        with open(self.folder / f"{key.name}.lock", "a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _prune(self, newest: Path) -> None:
        """Engines of models and versions that are gone: the oldest go."""
        found = [path for path in self.folder.glob("*.engine") if path != newest]
        with suppress(OSError):  # another process may prune, too
            found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            for path in found[KEPT - 1 :]:
                path.unlink()
                path.with_suffix(".lock").unlink(missing_ok=True)


def _writable(folder: Path) -> None:
    """Raises OSError unless files can be made there."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryFile(dir=folder):
        pass


def _read(path: Path, key: EngineKey) -> bytes:
    """Raises FileNotFoundError; EngineError for a file that is not what `put` wrote for this key."""
    with path.open("rb") as file:
        owner = os.fstat(file.fileno()).st_uid
        if owner not in (0, os.getuid()):  # an engine holds code: a stranger's is not run
            raise EngineError(f"{path}: belongs to user {owner}")
        line, engine = file.readline(1 << 16), file.read()
    try:
        head = msgspec.json.decode(line, type=_Head)
    except msgspec.MsgspecError as error:
        raise EngineError(f"{path}: not a built engine ({error})") from error
    if head.key != key:
        raise EngineError(f"{path}: is of {head.key.part} for {head.key.runtime} {head.key.version}")
    if len(engine) != head.bytes or hashlib.sha256(engine).hexdigest() != head.sha256:
        raise EngineError(f"{path}: damaged, {len(engine)} of {head.bytes} bytes or another digest")
    return engine


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EngineError(f"{path}: cannot be written: {error}") from error
