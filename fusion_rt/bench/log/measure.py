"""Runs of the benchmark: writing, recording (`recording`), reading, seeking."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mcap.reader import make_reader
from msgspec import Struct

from fusion_rt import __version__, logs
from fusion_rt.bench.driving import machine
from fusion_rt.bench.log import loads, recording
from fusion_rt.bench.log.recording import Injected, Recorded
from fusion_rt.errors import ConfigError
from fusion_rt.logs import LogWriter
from fusion_rt.metrics.latency import Percentiles

SHM = Path("/dev/shm")
REPEATS = 5
SEEKS, OPENINGS = 200, 20
ROOM = 1.3  # times what is written must be free
Say = Callable[[str], None]


class Speed(Struct, frozen=True, kw_only=True):
    """MB/s (10^6 bytes of the file a second) over `runs` runs."""

    name: str
    runs: int
    median: float
    low: float
    high: float


class Sought(Struct, frozen=True, kw_only=True):
    """seek_ms: an open log, from asking to the first packet; open_ms: the index alone; both_ms: opening and
    seeking. cold: after the kernel was told to forget the file."""

    path: str
    gb: float
    chunks: int
    seek_ms: Percentiles
    open_ms: Percentiles
    both_ms: Percentiles
    cold_ms: Percentiles


class LogResult(Struct, frozen=True, kw_only=True):
    """All of it. None: left out."""

    version: str
    machine: str
    folder: str
    writing: tuple[Speed, ...]
    recording: tuple[Recorded, ...]
    losses: Injected | None
    reading: tuple[Speed, ...]
    seeking: Sought | None


def measure(
    *,
    folder: Path | None = None,
    seek_folder: Path | None = None,
    seconds: float = 5.0,
    seek_gb: float = 10.0,
    rates: tuple[float, ...] = (400.0, 600.0, 800.0),
    say: Say = lambda line: None,
) -> LogResult:
    """folder: for what is written and read, memory where there is one; seek_folder: for the log of seek_gb,
    else the temporary folder, 0 GB leaves seeking out; rates: offered to the recorder, MB/s.

    Raises ConfigError where there is no room, NodeError where a process fails."""
    base = folder or (SHM if SHM.is_dir() else Path(tempfile.gettempdir()))
    largest = max([*rates, 620.0]) * seconds / 1e3
    _need(base, largest)
    if seek_gb:
        _need(seek_folder or Path(tempfile.gettempdir()), seek_gb)
    with tempfile.TemporaryDirectory(prefix="fusion-rt-", dir=base) as place:
        here = Path(place)
        say("writing")
        writing = tuple(_write(here, compression, seconds) for compression in ("none", "lz4", "zstd"))
        recorded = []
        for rate in rates:
            say(f"recording {rate:g} MB/s")
            recorded.append(recording.record(here, rate, seconds))
        say("recording with losses")
        injected = recording.inject(here, seconds + 1.0)
        say("reading")
        reading = _read_all(here, seconds)
    sought = None
    if seek_gb:
        with tempfile.TemporaryDirectory(prefix="fusion-rt-", dir=seek_folder) as place:
            say(f"writing {seek_gb:g} GB to seek in")
            sought = _seek(Path(place), seek_gb)
    return LogResult(
        version=__version__,
        machine=machine(),
        folder=str(base),
        writing=writing,
        recording=tuple(recorded),
        losses=injected,
        reading=reading,
        seeking=sought,
    )


def _need(folder: Path, gb: float) -> None:
    free = shutil.disk_usage(folder).free / 1e9
    if free < ROOM * gb:
        raise ConfigError(
            f"{folder}: {free:.1f} GB are free, {ROOM * gb:.1f} are needed: name another folder, or less"
        )


def _write(folder: Path, compression: str, seconds: float) -> Speed:
    """One camera, lidar, IMU, from memory, as fast as it goes."""
    path, streams, rig = folder / "w.mcap", loads.streams(1), loads.rig(1)
    speeds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        with LogWriter(path, rig, compression=compression) as log:
            for message in loads.messages(streams, seconds if compression == "none" else seconds / 5):
                log.write(message)
        speeds.append(_bytes(path) / (time.perf_counter() - began) / 1e6)
        path.unlink()
    return _speed(f"write, compression {compression}", speeds)


def _bytes(path: Path) -> int:
    return path.stat().st_size


def _speed(name: str, speeds: list[float]) -> Speed:
    return Speed(
        name=name, runs=len(speeds), median=statistics.median(speeds), low=min(speeds), high=max(speeds)
    )


def _read_all(folder: Path, seconds: float) -> tuple[Speed, ...]:
    """A log of raw images and sweeps, as packets; as records; and as the mcap package reads it."""
    path = folder / "read.mcap"
    with LogWriter(path, loads.rig(1), compression="none") as log:
        for message in loads.messages(loads.streams(1), seconds):
            log.write(message)

    def packets() -> None:
        with logs.open(path) as log:
            for _ in log:
                pass

    def records() -> None:
        with logs.open(path) as log:
            for _ in log.records():
                pass

    def official() -> None:
        with path.open("rb") as file:
            for _ in make_reader(file, validate_crcs=True).iter_messages():
                pass

    speeds: dict[str, list[float]] = {}
    for _ in range(REPEATS):
        for name, read in (
            ("read, packets", packets),
            ("read, records", records),
            ("read, mcap package, records", official),
        ):
            began = time.perf_counter()
            read()
            speeds.setdefault(name, []).append(_bytes(path) / (time.perf_counter() - began) / 1e6)
    path.unlink()
    return tuple(_speed(name, of) for name, of in speeds.items())


def _seek(folder: Path, gb: float) -> Sought:
    """Three cameras of JPEG, lidar and IMU, repeated until the log is so large."""
    path, streams = folder / "seek.mcap", loads.streams(3, jpeg=True)
    with LogWriter(path, loads.rig(3), compression="none") as log:
        for message in loads.messages(streams):
            log.write(message)
            if log.size >= gb * 1e9:
                break
    rng = np.random.default_rng(1)
    with logs.open(path) as opened:
        chunks = len(opened._contents.chunks)
        times = rng.integers(opened.start_ns, opened.end_ns - 10**9, SEEKS).tolist()
        warm = [_timed(_first, opened, t) for t in times]
        cold = []
        for t in times:
            _forget(path)
            cold.append(_timed(_first, opened, t))
    return Sought(
        path=str(folder.parent),
        gb=_bytes(path) / 1e9,
        chunks=chunks,
        seek_ms=_percentiles(warm),
        open_ms=_percentiles([_timed(_open_and_close, path) for _ in range(OPENINGS)]),
        both_ms=_percentiles([_timed(_open_and_seek, path, t) for t in times[:OPENINGS]]),
        cold_ms=_percentiles(cold),
    )


def _first(log: logs.Log, time_ns: int) -> None:
    next(log.packets(time_ns))


def _open_and_close(path: Path) -> None:
    logs.open(path).close()


def _open_and_seek(path: Path, time_ns: int) -> None:
    with logs.open(path) as log:
        _first(log, time_ns)


def _timed(act: Callable[..., None], *arguments: Any) -> float:
    began = time.perf_counter()
    act(*arguments)
    return (time.perf_counter() - began) * 1e3


def _forget(path: Path) -> None:
    """Ask the kernel to drop the file from its cache; in memory there is nothing to drop."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


def _percentiles(values: list[float]) -> Percentiles:
    p50, p90, p99 = (float(np.percentile(values, q)) for q in (50, 90, 99))
    return Percentiles(count=len(values), p50=p50, p90=p90, p99=p99, max=max(values))
