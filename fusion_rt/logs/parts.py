"""A recording as one file, or as several, each of which can be read alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from fusion_rt.errors import ConfigError, LogError
from fusion_rt.logs.losses import Loss
from fusion_rt.logs.writer import LogWriter
from fusion_rt.messages import Message
from fusion_rt.payloads import H264
from fusion_rt.plan import Plan
from fusion_rt.rig import Rig

MIN_SPLIT_BYTES = 1 << 20
_MARGIN_BYTES = 128 << 10  # for schemas, topics and the end of the index
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


class LogParts:
    """Opens `path`, or with a limit NAME_000.mcap, NAME_001.mcap, ...; nothing that exists is overwritten.

    video        as `LogWriter` has it; each file begins with a key frame
    split_bytes  no file becomes larger, unless by one message
    split_ns     no file's stamps span more than about this

    paths    of the files so far
    pending  messages accepted and not in a file yet
    written  messages in the files, or pending
    refused  whether the latest LogError was the disk's: the file is closed then, readable as far as it goes,
             and the next message opens another. A message that no log can hold is a LogError, too.
    unwritten  what the closed file does not hold although it was accepted: the caller's to write again"""

    def __init__(
        self,
        path: Path,
        rig: Rig | None = None,
        *,
        plan: Plan | None = None,
        compression: str = "zstd",
        video: H264 | None = None,
        split_bytes: int | None = None,
        split_ns: int | None = None,
    ) -> None:
        if split_bytes is not None and split_bytes < MIN_SPLIT_BYTES:
            raise ConfigError(f"files of {split_bytes} bytes: the least is {MIN_SPLIT_BYTES}")
        self.paths: list[Path] = []
        self.refused = False
        self.unwritten: list[Loss] = []
        self._rig, self._plan = rig, plan
        self._compression, self._video = compression, video
        self._split_bytes, self._split_ns = split_bytes, split_ns
        self._numbered = split_bytes is not None or split_ns is not None
        self._path = _free_stem(path) if self._numbered else path
        self._written = 0
        self._reported = False
        self._span_ns: tuple[int, int] | None = None  # of the present file's stamps
        self._newest_ns: dict[str, int] = {}  # stamp of each sensor
        self._log: LogWriter | None = None
        self.open()

    @property
    def pending(self) -> int:
        """Messages that a killed process would take with it."""
        return self._log.pending if self._log is not None else 0

    @property
    def written(self) -> int:
        """In the files, or pending. For any thread."""
        log = self._log
        return self._written + (sum(list(log.counts.values())) if log is not None else 0)

    def open(self) -> None:
        """The next file, where none is open. Raises LogError."""
        if self._log is None:
            self.refused = True
            self._log, self.unwritten, self._reported = self._open(), [], False
            self.refused = False

    def write(self, message: Message) -> None:
        """Append, in a new file where the present one is full. Raises LogError."""
        header, overtaken = message.header, self._overtaken(message)
        if self._log is not None and not overtaken and self._full(message):
            self.close()
        self.open()
        assert self._log is not None
        self._newest_ns[header.sensor_id] = header.stamp_ns
        if not overtaken:
            self._span_ns = self._with(header.stamp_ns)
        self._guarded(lambda log: log.write(message))

    def report(self, losses: list[Loss]) -> None:
        """Say in the present file what is missing. Raises LogError."""
        self._guarded(lambda log: log.report(losses))
        self._reported = self._reported or bool(losses)

    def flush(self) -> None:
        """Bring what is pending into the file. Raises LogError."""
        self._guarded(lambda log: log.flush())

    def close(self, why: str = "") -> None:
        """End the present file; a later message opens the next. Raises LogError."""
        self._guarded(lambda log: log.end_report(why))
        self._guarded(lambda log: log.close())
        self._done()

    def _guarded(self, act: Callable[[LogWriter], None]) -> None:
        if self._log is None:
            return
        try:
            act(self._log)
        except LogError:
            if self._log.ended:
                self.refused, self.unwritten = True, self._log.unwritten
                if not self._reported and not any(self._log.counts.values()):
                    self.paths.remove(self._log.path)
                    self._log.path.unlink(missing_ok=True)  # it holds nothing
                self._done()
            raise

    def _done(self) -> None:
        if self._log is not None:
            self._written += sum(self._log.counts.values())
        self._log, self._span_ns = None, None

    def _full(self, message: Message) -> bool:
        assert self._log is not None
        if not self._log.counts:
            return False
        first_ns, last_ns = self._with(message.header.stamp_ns)
        if self._split_ns is not None and last_ns - first_ns >= self._split_ns:  # a looped replay goes back
            return True
        return (
            self._split_bytes is not None
            and self._log.expected_size + nbytes(message) + _MARGIN_BYTES > self._split_bytes
        )

    def _overtaken(self, message: Message) -> bool:
        """Whether other sensors' time has jumped, as that of a replay in a loop does, and this one's not yet:
        it is far from all that is in the file, and comes after its sensor's last as ever."""
        if self._split_ns is None or self._span_ns is None:
            return False
        header = message.header
        first_ns, last_ns = self._span_ns
        after_ns = header.stamp_ns - self._newest_ns.get(header.sensor_id, 1 << 63)
        far = not first_ns - self._split_ns < header.stamp_ns < last_ns + self._split_ns
        return far and 0 <= after_ns < self._split_ns

    def _with(self, stamp_ns: int) -> tuple[int, int]:
        """The first and last stamp of the file with one more."""
        first_ns, last_ns = self._span_ns or (stamp_ns, stamp_ns)
        return min(first_ns, stamp_ns), max(last_ns, stamp_ns)

    def _open(self) -> LogWriter:
        path = self._path
        if self._numbered:
            path = path.with_stem(f"{path.stem}_{len(self.paths):03d}")
        path = free_path(path)
        try:
            log = LogWriter(
                path, self._rig, plan=self._plan, compression=self._compression, video=self._video
            )
        except LogError:
            if path.is_file():
                path.unlink()  # it holds nothing
            raise
        self.paths.append(path)
        return log


def free_path(path: Path) -> Path:
    """The path, or the first numbered one beside it that does not exist: nothing is overwritten."""
    candidate, number = path, 0
    while candidate.exists():
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


def _free_stem(path: Path) -> Path:
    """The path, or the first numbered one of which no part exists."""
    candidate, number = path, 0
    while any(candidate.parent.glob(f"{candidate.stem}_[0-9][0-9][0-9]*{candidate.suffix}")):
        number += 1
        candidate = path.with_stem(f"{path.stem}-{number}")
    return candidate


def nbytes(message: Message) -> int:
    """About what the message takes."""
    arrays = (getattr(message, name) for name in message.__struct_fields__)
    return 1000 + sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


def parse_size(text: str) -> int:
    """ "1GB", "512 MiB", "1000000" as bytes. Raises ConfigError."""
    digits = text.strip().upper().replace(" ", "")
    unit = digits.lstrip("0123456789.")
    number = digits[: len(digits) - len(unit)]
    try:
        return int(float(number) * _UNITS[unit or "B"])
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{text!r} is no size: write 500MB or 1GB") from error
