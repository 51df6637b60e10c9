"""The table in the terminal: nodes, topics, latency, objects."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fusion_rt import home_table
from fusion_rt.bus.clocks import Clock
from fusion_rt.metrics.latency import Percentiles
from fusion_rt.monitor import TopicSummary
from fusion_rt.supervisor import NodeStatus, Status, Summary

REFRESH_S = 0.5
COMMANDS = ("tell.", "keys.")  # begin topics of commands
LINE_S = 5.0  # between lines where there is no terminal to redraw

_COLOURS = {"running": "green", "starting": "yellow", "waiting": "red", "refused": "red"}


class LiveTable:
    """`supervisor.run(..., show=table, say=table.say)` inside `with LiveTable(console) as table`.

    hint  the last line: what keys do"""

    def __init__(self, console: Console, *, hint: str = "Ctrl-C stops"):
        self._console, self._hint = console, hint
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._last = float("-inf")

    def __call__(self, status: Status) -> None:
        now = time.monotonic()
        terminal = self._console.is_terminal
        if now - self._last < (REFRESH_S if terminal else LINE_S):
            return
        self._last = now
        if terminal:
            self._live.update(render(status, self._hint), refresh=True)
        else:
            self._console.print(one_line(status), highlight=False, soft_wrap=True)

    def say(self, node: str, line: str) -> None:
        """A line above the table."""
        self._console.print(Text.assemble((f"{node}: ", "bold"), line), soft_wrap=True)

    def __enter__(self) -> LiveTable:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def render(status: Status, hint: str = "Ctrl-C stops") -> RenderableType:
    """The running scenario."""
    parts: list[RenderableType] = [_nodes(status.nodes, status.elapsed_s), "", _topics(status.topics), ""]
    latest = status.latest
    if latest is None:
        parts.append(Text(f"{status.elapsed_s:6.1f} s   no prediction yet"))
    else:
        stages = "  ".join(f"{stage} {ms:.1f}" for stage, ms in latest.stage_ms.items())
        parts += [
            Text(f"{status.elapsed_s:6.1f} s   {status.predictions} predictions   rung {latest.rung}"),
            Text.assemble(
                "latency  ", (_percentiles(status.recent_ms), "bold"), "   last 100, published to published"
            ),
            Text(f"stages   {stages} ms"),
            Text.assemble("objects  ", (_objects(latest.objects), "bold cyan")),
        ]
        if latest.scene is not None:
            parts += ["", home_table.render(latest.scene, latest.happened)]
    parts += map(Text, _clocks(status.clocks))
    parts += [Text(line) for line in _replays(status.nodes)]
    return Group(*parts, Text(hint, style="dim"))


def one_line(status: Status) -> str:
    """The running scenario, for a log file."""
    objects = _objects(status.latest.objects) if status.latest else "no prediction yet"
    latency = _percentiles(status.recent_ms)
    return f"{status.elapsed_s:.0f} s: {status.predictions} predictions, {latency}, {objects}"


def render_summary(summary: Summary) -> RenderableType:
    """The whole run."""
    rungs = ", ".join(f"{n} {rung}" for rung, n in summary.rungs.items()) or "none"
    objects = ", ".join(f"{n:.1f} {label}" for label, n in summary.objects_mean.items()) or "none"
    first = summary.first_prediction_s
    lines = [
        f"{summary.duration_s:.1f} s, {summary.predictions} predictions ({rungs})"
        + ("" if first is None else f", the first after {first:.1f} s"),
        f"latency: {_percentiles(summary.latency_ms)}, max {_ms(summary.latency_ms.max)}"
        f" (packet published to prediction published); {summary.deadlines_missed} deadlines missed",
        f"objects a prediction: {objects}",
        f"messages that did not arrive: {summary.missing}",
    ]
    lines += _clocks(summary.clocks)
    nodes = _nodes(summary.nodes, summary.duration_s)
    return Group(nodes, "", _topics(summary.topics), "", *(Text(line) for line in lines))


def _nodes(nodes: dict[str, NodeStatus], elapsed_s: float) -> Table:
    table = Table("node", "state", box=None, header_style="bold", pad_edge=False)
    for name in ("restarts", "CPU", "memory"):
        table.add_column(name, justify="right")
    for name, node in nodes.items():
        table.add_row(
            name,
            Text(node.state, style=_COLOURS.get(node.state, "")),
            Text(str(node.restarts), style="red" if node.restarts else ""),
            f"{100 * node.cpu_s / max(elapsed_s, 1e-3):.0f} %",
            f"{node.rss_mb:.0f} MB",
        )
    return table


def _replays(nodes: dict[str, NodeStatus]) -> list[str]:
    """Where each replay stands."""
    lines = []
    for name, node in nodes.items():
        if "position_s" in node.detail:
            state = ", paused" if node.detail.get("paused") else ""
            position, speed = node.detail["position_s"], node.detail.get("speed", 1.0)
            lines.append(f"{name:<9}at {position:.1f} s of the recording, {speed:g} x{state}")
    return lines


def _topics(topics: dict[str, TopicSummary]) -> Table:
    table = Table("topic", box=None, header_style="bold", pad_edge=False)
    for name in ("rate", "published", "received", "age", "max", "missing"):
        table.add_column(name, justify="right")
    for name, topic in topics.items():
        if name.startswith(COMMANDS) and not topic.published and not topic.received:
            continue  # where commands could be given, and none was
        causes = ("dropped", "lost", "skipped", "malformed", "wrong_generation")
        reasons = " ".join(f"{c} {getattr(topic, c)}" for c in causes if getattr(topic, c))
        table.add_row(
            name,
            f"{topic.rate_hz:.1f} Hz",
            str(topic.published),
            str(topic.received),
            _ms(topic.age_ms),
            _ms(topic.age_max_ms),
            Text(reasons or "0", style="yellow" if reasons else ""),
        )
    return table


def _clocks(clocks: dict[str, Clock]) -> list[str]:
    """What ages of other hosts' messages are corrected with, and how right they are."""
    return [
        f"clock of {host}: ± {clock.uncertainty_s * 1e3:.3f} ms, drifts {clock.drift_ppm:+.2f} ppm, round"
        f" trip {clock.round_trip_s * 1e3:.3f} ms; its UNIX time is ours {clock.wall_s * 1e3:+.3f} ms"
        for host, clock in sorted(clocks.items())
    ]


def _objects(objects: dict[str, int]) -> str:
    return ", ".join(f"{n} {label}" for label, n in objects.items()) or "no objects"


def _percentiles(values: Percentiles) -> str:
    return f"p50 {_ms(values.p50)}, p99 {_ms(values.p99)}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
