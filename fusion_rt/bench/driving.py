"""Engines side by side on one recording: live through real processes, then offline as fast as they can."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from msgspec import Struct

from fusion_rt import __version__, logs, offline, supervisor
from fusion_rt.bench.config import BenchConfig, EngineSettings
from fusion_rt.bus import BusConfig
from fusion_rt.config import convert
from fusion_rt.errors import NodeError
from fusion_rt.messages import Image, PointCloud
from fusion_rt.metrics.latency import Percentiles
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.scenario import Scenario

Say = Callable[[str], None]


class EngineResult(Struct, frozen=True, kw_only=True):
    """One engine's figures.

    first_prediction_s  from the start of the processes to the first answer
    latency_ms          packet that asked published -> prediction published
    rest_ms             the same without what the network took
    stages_ms           stage -> its share
    predictions         live answers, warm-up included
    missing             messages that did not reach a listener
    rss_mb, cpu         of each node: memory at the end, share of one core
    offline_realtime    seconds of the recording that one second of offline replay works off
    offline_ms          the time between offline answers
    """

    name: str
    first_prediction_s: float | None
    latency_ms: Percentiles
    rest_ms: Percentiles
    stages_ms: dict[str, Percentiles]
    predictions: int
    missing: int
    rss_mb: dict[str, float]
    cpu: dict[str, float]
    offline_realtime: float
    offline_ms: Percentiles


class BenchResult(Struct, frozen=True, kw_only=True):
    """The whole run: what was played, where, and every engine's figures."""

    version: str
    machine: str
    log: str
    log_s: float
    points_mean: float
    image: str
    speed: float
    seconds: float
    engines: tuple[EngineResult, ...]


def measure(config: BenchConfig, log: Path, say: Say = lambda line: None) -> BenchResult:
    """Every engine of the config, one after the other. Main thread only. Raises NodeError where an engine
    gives no answer, ConfigError where its settings are wrong."""
    checked = {name: convert(s, EngineSettings, f"engines.{name}") for name, s in config.engines.items()}
    log_s, points, image = _describe(log)
    results = []
    for name, settings in config.engines.items():
        say(f"{name}: live, {config.seconds:g} s")
        summary = _live(config, log, settings)
        say(f"{name}: offline")
        realtime, between = _offline(log, checked[name])
        results.append(
            EngineResult(
                name=name,
                first_prediction_s=summary.first_prediction_s,
                latency_ms=summary.latency_ms,
                rest_ms=summary.rest_ms,
                stages_ms=summary.stages_ms,
                predictions=summary.predictions,
                missing=summary.missing,
                rss_mb={n: node.rss_mb for n, node in summary.nodes.items()},
                cpu={n: node.cpu_s / summary.duration_s for n, node in summary.nodes.items()},
                offline_realtime=realtime,
                offline_ms=between,
            )
        )
    return BenchResult(
        version=__version__,
        machine=machine(),
        log=log.name,
        log_s=log_s,
        points_mean=points,
        image=image,
        speed=config.speed,
        seconds=config.seconds,
        engines=tuple(results),
    )


def _live(config: BenchConfig, log: Path, settings: dict[str, Any]) -> supervisor.Summary:
    lines: list[str] = []
    nodes = {
        "replay": {"log": str(log), "speed": config.speed, "loop": True, "preload": True},
        "fusion": {"rig": str(log), **settings},
    }
    # Starting the processes is not part of the measured time.
    summary = supervisor.run(
        Scenario(bus=BusConfig(), nodes=nodes),
        source="bench",
        duration_s=config.seconds + config.warmup_s + 4.0,
        warmup_s=config.warmup_s,
        say=lambda node, line: lines.append(f"{node}: {line}"),
    )
    if not summary.latency_ms.count:
        raise NodeError("no prediction came: " + ("; ".join(lines[-5:]) or "no node said why"))
    return summary


def _offline(log: Path, engine: PipelineConfig) -> tuple[float, Percentiles]:
    """Times real time, and ms between answers; loading is left out."""
    from fusion_rt.metrics.latency import Histogram

    between, first_ns, last_ns, began, last = Histogram(), 0, 0, 0.0, 0.0
    for prediction in offline.predictions(log, engine):
        now = time.perf_counter()
        if not first_ns:
            first_ns, began = prediction.header.stamp_ns, now
        else:
            between.add((now - last) * 1e3)
        last_ns, last = prediction.header.stamp_ns, now
    return (last_ns - first_ns) / 1e9 / max(last - began, 1e-9), between.percentiles()


def _describe(log: Path) -> tuple[float, float, str]:
    """Seconds, points a sweep, and "width x height"."""
    points, sweeps, image = 0, 0, "no camera"
    with logs.open(log) as recording:
        for packet in recording:
            if isinstance(packet, PointCloud):
                points, sweeps = points + len(packet.xyz), sweeps + 1
            elif isinstance(packet, Image):
                image = f"{packet.width} x {packet.height}"
        return (recording.end_ns - recording.start_ns) / 1e9, points / max(sweeps, 1), image


def machine() -> str:
    """Processor, cores, memory."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(
                (line.split(":")[1].strip() for line in file if line.startswith("model name")), model
            )
    except OSError:
        pass
    return f"{model}, {psutil.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"
