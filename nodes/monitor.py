"""What the other nodes do, a line at a time: for a log file, or a terminal on a machine without a table."""

from __future__ import annotations

import time
from typing import Annotated

from msgspec import Meta, Struct

from fusion_rt.bus import Bus
from fusion_rt.monitor import PREDICTION, Monitor


class MonitorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """nodes       whose health to follow
    prediction  topic of the predictions
    period_s    between lines
    """

    nodes: tuple[str, ...]
    prediction: str = PREDICTION
    period_s: Annotated[float, Meta(gt=0)] = 10.0


def run(config: MonitorConfig, bus: Bus) -> None:
    """Prints until told to stop."""
    due = time.monotonic() + config.period_s
    with Monitor(bus, config.nodes, config.prediction) as monitor:
        while not bus.stopping:
            monitor.poll(0.1)
            if time.monotonic() >= due:
                due += config.period_s
                print(line(monitor), flush=True)


def line(monitor: Monitor) -> str:
    """Predictions, latency, and topics that lose messages."""
    recent = monitor.recent()
    latency = "no latency" if recent.p50 is None else f"p50 {recent.p50:.1f} ms, p99 {recent.p99:.1f} ms"
    missing = [f"{name} {topic.missing}" for name, topic in monitor.topics().items() if topic.missing]
    return f"{monitor.predictions} predictions, {latency}; missing: {', '.join(missing) or 'nothing'}"
