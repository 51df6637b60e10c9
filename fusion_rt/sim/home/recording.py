"""A simulated home as a log: its packets in the order in which they come, and the truth in `/truth`."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from pathlib import Path

from fusion_rt.home_truth import HomeTruth
from fusion_rt.logs import LogWriter
from fusion_rt.messages import Packet
from fusion_rt.plan import Plan
from fusion_rt.sim.home.config import HomeSimConfig
from fusion_rt.sim.home.home import SimulatedHome, simulate


def record(
    plan: Plan,
    config: HomeSimConfig,
    seed: int,
    path: Path,
    *,
    compression: str = "zstd",
    on_time: Callable[[float], None] = lambda seconds: None,
) -> tuple[SimulatedHome, dict[str, int]]:
    """Writes the log; returns the home, and how many messages each topic has.

    on_time: told the simulated seconds so far. Raises ConfigError or LogError."""
    home = simulate(plan, config, seed)
    with LogWriter(path, plan=plan, compression=compression) as log:
        for at_ns, message in in_order(home):
            log.write(message, came_ns=at_ns)
            on_time((at_ns - config.start_ns) * 1e-9)
        counts = dict(log.counts)
    return home, counts


def in_order(home: SimulatedHome) -> Iterator[tuple[int, Packet | HomeTruth]]:
    """(when it comes in ns, what): a truth stands before the packets of its moment."""
    truths = ((truth.stamp_ns, 0, truth) for truth in home.truths())
    packets = ((at_ns, 1, packet) for at_ns, packet in home.arrivals())
    merged: Iterator[tuple[int, int, Packet | HomeTruth]] = heapq.merge(
        truths, packets, key=lambda item: item[:2]
    )
    return ((at_ns, message) for at_ns, _, message in merged)
