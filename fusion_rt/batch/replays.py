"""All recordings of a folder through the engine: for each its answers, and a summary of what they are of."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from fusion_rt import __version__, offline
from fusion_rt.batch.mapping import Failed, Workers, absolute, map_logs
from fusion_rt.errors import LogError
from fusion_rt.models.package import ModelPackage
from fusion_rt.offline import Replayed
from fusion_rt.pipeline import PipelineConfig

ANSWERS, SUMMARY = ".jsonl", ".summary.json"
ENDS_BYTES = 64 << 10


class Source(Struct, frozen=True, kw_only=True):
    """What answers were made of; equal sources give equal answers. config: a digest of the engine's settings
    without the threads, of which only the certificate tells; log: size and digest of its two ends."""

    fusion_rt: str
    model: str
    config: str
    log: str


class Summary(Struct, frozen=True, kw_only=True):
    """NAME.summary.json beside NAME.jsonl, written last: with it the answers are complete. bytes: of them."""

    source: Source
    result: Replayed
    bytes: int
    elapsed_s: float


class LogRow(Struct, frozen=True, kw_only=True):
    """One recording. state: "done", "kept" (was there already) or "failed"; reason: why it failed."""

    log: str
    state: str
    summary: Summary | None = None
    reason: str = ""


class FolderReport(Struct, frozen=True, kw_only=True):
    """A folder's recordings, by name."""

    folder: str
    out: str
    model: str
    logs: tuple[LogRow, ...]

    def of(self, state: str) -> list[LogRow]:
        """The recordings in one state."""
        return [row for row in self.logs if row.state == state]


class Job(NamedTuple):
    """One recording, where its answers go, by absolute paths, and what makes them. model: its identity."""

    log: Path
    answers: Path
    config: PipelineConfig
    model: str

    @property
    def summary(self) -> Path:
        return self.answers.with_suffix(SUMMARY)


def replay_folder(
    folder: Path,
    out: Path,
    config: PipelineConfig,
    workers: Workers | None = None,
    *,
    again: bool = False,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> FolderReport:
    """FOLDER/NAME.mcap to OUT/NAME.jsonl, for every name of every depth. What is there already of the same
    source is kept, unless `again`; what fails is reported. Raises LogError where there is no recording,
    ConfigError or EngineError where the engine or the workers cannot start."""
    workers = workers or Workers(threads=config.threads)
    folder, out = absolute(folder), absolute(out)
    names = recordings(folder)
    engine = workers.engine(config)
    model = ModelPackage.load(engine.model).identity
    jobs = [Job(folder / name, out / name.with_suffix(ANSWERS), engine, model) for name in names]
    found = {job.log: None if again else finished(job) for job in jobs}
    due = [job for job in jobs if found[job.log] is None]
    kept = len(jobs) - len(due)
    advance(kept, len(jobs))
    made: dict[Path, Summary | Failed] = {}
    for job, result in zip(due, map_logs(replay, due, workers)):
        made[job.log] = result
        advance(kept + len(made), len(jobs))
    rows = (_row(name, found[job.log], made.get(job.log)) for name, job in zip(names, jobs))
    return FolderReport(folder=str(folder), out=str(out), model=model, logs=tuple(rows))


def recordings(folder: Path) -> list[Path]:
    """Every NAME.mcap of a folder and those in it, relative to it, sorted. Raises LogError where there is
    none."""
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.mcap") if path.is_file())
    if not names:
        raise LogError(f"{folder}: no recording NAME.mcap there or in a folder of it")
    return names


def finished(job: Job) -> Summary | None:
    """The summary of complete answers that this job would give again."""
    try:
        summary = msgspec.json.decode(job.summary.read_bytes(), type=Summary)
        complete = job.answers.stat().st_size == summary.bytes
        return summary if complete and summary.source == _source(job) else None
    except (OSError, msgspec.MsgspecError, LogError):
        return None


def replay(job: Job) -> Summary:
    """Writes the answers, then the summary; either is there whole or not at all. Raises LogError where the
    recording cannot be read or they cannot be written; then older ones are gone, too."""
    source, began = _source(job), time.monotonic()
    for old in (job.summary, job.answers):
        with suppress(OSError):
            old.unlink(missing_ok=True)
    with _written(job.answers) as out:
        result = offline.replay(job.log, job.config, out)
        size = out.tell()
    elapsed_s = round(time.monotonic() - began, 3)
    summary = Summary(source=source, result=result, bytes=size, elapsed_s=elapsed_s)
    with _written(job.summary) as out:
        out.write(msgspec.json.format(msgspec.json.encode(summary), indent=2) + b"\n")
    return summary


def _row(name: Path, kept: Summary | None, made: Summary | Failed | None) -> LogRow:
    if isinstance(made, Failed):
        return LogRow(log=str(name), state="failed", reason=made.reason)
    return LogRow(log=str(name), state="done" if made else "kept", summary=made or kept)


def _source(job: Job) -> Source:
    settings = msgspec.json.encode(replace(job.config, model="", threads=1))
    return Source(
        fusion_rt=__version__,
        model=job.model,
        config=hashlib.sha256(settings).hexdigest()[:16],
        log=_fingerprint(job.log),
    )


def _fingerprint(log: Path) -> str:
    """Without reading all of it: the stamps in a recording's index are no other's."""
    try:
        with log.open("rb") as file:
            ends = file.read(ENDS_BYTES)
            size = log.stat().st_size
            file.seek(max(size - ENDS_BYTES, 0))
            ends += file.read(ENDS_BYTES)
    except OSError as error:
        raise LogError(f"{log}: cannot be opened: {error.strerror}") from error
    return f"{size}-{hashlib.sha256(ends).hexdigest()[:16]}"


@contextmanager
def _written(path: Path) -> Iterator[BinaryIO]:
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise LogError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
