"""Nodes as processes of their own, and what they take."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
from msgspec import Struct

from fusion_rt.bus import BusConfig
from fusion_rt.processes import NodeProcess
from fusion_rt.scenario import Node


class Taken(Struct, frozen=True, kw_only=True):
    """Of one process. cpu: share of a core; rss_mb: memory, with what it shares; pss_mb: the same with what n
    processes share counted as an n-th (Linux alone)"""

    name: str
    cpu: float
    rss_mb: float
    pss_mb: float | None = None


@contextmanager
def node(use: str, content: dict[str, Any], bus: BusConfig, *, name: str = "") -> Iterator[int]:
    """The pid of a node that runs until the block ends."""
    process = NodeProcess(Node(name=name or use, use=use, source=f"bench: {use}", config=content), bus)
    process.start()
    try:
        yield process.pid
    finally:
        process.stop()
        process.wait(10.0)
        process.close()


@contextmanager
def module(name: str, *arguments: str) -> Iterator[int]:
    """The pid of a module of ours that runs as a program until the block ends."""
    process = subprocess.Popen([sys.executable, "-I", "-m", name, *arguments])
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def cpu_s(pid: int) -> float:
    """Seconds of a core that it has had so far."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def memory_mb(pid: int) -> tuple[float, float | None]:
    """rss_mb, pss_mb as in `Taken`."""
    full = psutil.Process(pid).memory_full_info()
    pss = getattr(full, "pss", None)
    return full.rss / 1e6, None if pss is None else pss / 1e6
