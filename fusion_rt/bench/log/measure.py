"""Runs of the benchmark: writing, recording with real processes, reading, seeking."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import psutil
from mcap.reader import make_reader
from msgspec import Struct

from fusion_rt import __version__, logs
from fusion_rt.bench.driving import machine
from fusion_rt.bench.log import loads
from fusion_rt.bench.log.source import Done, Order
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.logs import LogWriter
from fusion_rt.logs.losses import Loss
from fusion_rt.metrics.latency import Percentiles
from fusion_rt.processes import NodeProcess
from fusion_rt.scenario import Node

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


class Recorded(Struct, frozen=True, kw_only=True):
    """The recorder beside sensors that send `offered` MB/s for `seconds`.

    reached   MB/s of the file, until all of it was there
    sent      messages; lost: by cause, as the log says
    cpu       of the recorder, cores
    rss_mb    its largest memory
    calls_ms  what sending took the sensors' process
    """

    offered: float
    seconds: float
    reached: float
    sent: int
    lost: dict[str, int]
    cpu: float
    rss_mb: float
    calls_ms: Percentiles


class Injected(Struct, frozen=True, kw_only=True):
    """Losses made on purpose, and the log's report of them. wrong: numbers whose fate the log does not say,
    or says wrongly."""

    sent: int
    dropped: int
    skipped: int
    in_file: int
    said: dict[str, int]
    wrong: int


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
        recording = []
        for rate in rates:
            say(f"recording {rate:g} MB/s")
            recording.append(_record(here, rate, seconds))
        say("recording with losses")
        injected = _inject(here, seconds + 1.0)
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
        recording=tuple(recording),
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


def _record(folder: Path, rate: float, seconds: float) -> Recorded:
    """Three cameras, lidar and IMU through the bus, and the recorder's own process."""
    per_hz = 3 * loads.WIDTH * loads.HEIGHT * 3 / 1e6  # MB
    order = {"cameras": 3, "hz": (rate - loads.POINTS * 22 * 10 / 1e6) / per_hz, "seconds": seconds}
    done, path, cpu_s, rss_mb, end_s = _run(folder, {"compression": "none", "buffer_mb": 256}, **order)
    with logs.open(path) as log:
        losses = log.losses
    size = _bytes(path)
    path.unlink()
    return Recorded(
        offered=rate,
        seconds=seconds,
        reached=size / (done.elapsed_s + end_s) / 1e6,
        sent=sum(map(len, done.sent.values())),
        lost=_by_cause(losses),
        cpu=cpu_s / done.elapsed_s,
        rss_mb=rss_mb,
        calls_ms=done.calls_ms,
    )


def _inject(folder: Path, seconds: float) -> Injected:
    """A publisher that drops, a sensor that leaves out numbers, and a buffer that is too small."""
    order = {"cameras": 1, "hz": 30.0, "seconds": seconds, "drop_every": 17, "skip_every": 23}
    done, path, *_ = _run(folder, {"compression": "zstd", "buffer_mb": 10}, **order)
    with logs.open(path) as log:
        there = Counter((packet.header.sensor_id, packet.header.seq) for packet in log)
        losses = log.losses
    path.unlink()
    return Injected(
        sent=sum(map(len, done.sent.values())),
        dropped=sum(map(len, done.dropped.values())),
        skipped=sum(map(len, done.skipped.values())),
        in_file=there.total(),
        said=_by_cause(losses),
        wrong=_wrong(done, there, losses),
    )


def _wrong(done: Done, there: Counter[tuple[str, int]], losses: list[Loss]) -> int:
    """Numbers in the file twice, or not where the log says; losses of a cause more or fewer than were made.

    In a gap with both dropped and skipped numbers the log says how many of each, not which."""
    wrong = sum(n - 1 for n in there.values())
    said: dict[tuple[str, int], set[str]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for loss in losses:
        sensor = loss.topic.removeprefix("/")
        counts[sensor, loss.cause] += loss.messages
        if loss.first is not None and loss.last is not None:
            for number in range(loss.first, loss.last + 1):
                said.setdefault((sensor, number), set()).add(loss.cause)
    wrong += len(there.keys() & said.keys())
    for kind, cause in (("sent", "buffer"), ("dropped", "bus"), ("skipped", "source")):
        for sensor, numbers in getattr(done, kind).items():
            # Behind a sensor's last message no gap can be seen.
            seen = [(sensor, n) for n in numbers if n <= max(done.sent[sensor])]
            missing = [key for key in seen if key not in there]
            wrong += sum(cause not in said.get(key, ()) for key in missing)
            wrong += abs(len(missing) - counts[sensor, cause])
            wrong += 0 if kind == "sent" else len(seen) - len(missing)
    return wrong


def _by_cause(losses: list[Loss]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for loss in losses:
        counts[loss.cause] = counts.get(loss.cause, 0) + loss.messages
    return counts


def _run(folder: Path, config: dict[str, Any], **order: Any) -> tuple[Done, Path, float, float, float]:
    """The source's account, the log, the recorder's CPU seconds and memory, and how long it took to end."""
    rig = folder / "rig.yaml"
    rig.write_text(loads.rig(order["cameras"]).to_yaml(), encoding="utf-8")
    path = folder / "r.mcap"
    config = {"path": str(path), "rig": str(rig)} | config
    with tempfile.TemporaryDirectory(prefix="frt-") as parent:
        bus = BusConfig(run_dir=f"{parent}/run")
        node = Node(name="recorder", use="recorder", source="bench", config=config)
        recorder = NodeProcess(node, bus)
        with Bus(bus):  # holds the folder
            recorder.start()
            try:
                done, rss_mb = _source(Order(run_dir=f"{parent}/run", **order), recorder)
                cpu = psutil.Process(recorder.pid).cpu_times()
                began = time.monotonic()
                recorder.stop()
                if not recorder.wait(60.0) or recorder.exit_code:
                    raise NodeError(f"the recorder failed: {' '.join(recorder.output())}")
                end_s = time.monotonic() - began
            finally:
                if recorder.alive:
                    recorder.stop(9)
                    recorder.wait(10.0)
                recorder.close()
    return done, path, cpu.user + cpu.system, rss_mb, end_s


def _source(order: Order, recorder: NodeProcess) -> tuple[Done, float]:
    """Run it; meanwhile look at the recorder's memory."""
    path = [entry for entry in sys.path if entry]
    boot = f"import sys; sys.path[:] = {path!r}; from fusion_rt.bench.log.source import main; main()"
    with tempfile.TemporaryFile() as output:
        source = subprocess.Popen(
            [sys.executable, "-c", boot, msgspec.json.encode(order).decode()], stdout=output
        )
        process, largest = psutil.Process(recorder.pid), 0
        while source.poll() is None:
            try:
                largest = max(largest, process.memory_info().rss)
            except psutil.Error:
                source.kill()
                raise NodeError(f"the recorder ended: {' '.join(recorder.output())}") from None
            time.sleep(0.1)
        if source.returncode:
            raise NodeError(f"the source of the load failed with exit code {source.returncode}")
        output.seek(0)
        return msgspec.json.decode(output.read(), type=Done), largest / 1e6


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
