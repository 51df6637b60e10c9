"""The recorder beside real processes: what it sustains, and whether its report of losses is true."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import psutil
from msgspec import Struct

from fusion_rt import logs
from fusion_rt.bench.log import loads
from fusion_rt.bench.log.source import Done, Order
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import NodeError
from fusion_rt.logs.losses import Loss
from fusion_rt.metrics.latency import Percentiles
from fusion_rt.processes import NodeProcess
from fusion_rt.scenario import Node


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


def record(folder: Path, rate: float, seconds: float) -> Recorded:
    """Three cameras, lidar and IMU through the bus, and the recorder's own process."""
    per_hz = 3 * loads.WIDTH * loads.HEIGHT * 3 / 1e6  # MB
    order = {"cameras": 3, "hz": (rate - loads.POINTS * 22 * 10 / 1e6) / per_hz, "seconds": seconds}
    done, path, cpu_s, rss_mb, end_s = _run(folder, {"compression": "none", "buffer_mb": 256}, **order)
    with logs.open(path) as log:
        losses = log.losses
    size = path.stat().st_size
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


def inject(folder: Path, seconds: float) -> Injected:
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
