"""A benchmark's result as tables, and as Markdown for docs/benchmarks."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.bench.driving import BenchResult, EngineResult
from fusion_rt.metrics.latency import Percentiles

HEADINGS = ("", "count", "p50 ms", "p90 ms", "p99 ms", "max ms")
_WIDTH = len(HEADINGS)


def header(result: BenchResult) -> str:
    """One paragraph: what was measured, on what."""
    return (
        f"fusion_rt {result.version} on {result.machine}\n"
        f"{result.log}: {result.log_s:.1f} s, {result.points_mean:,.0f} points a sweep, image {result.image};"
        f" played at speed {result.speed:g} for {result.seconds:g} s"
    )


def rows(engine: EngineResult) -> list[tuple[str, ...]]:
    """The durations of an engine, one a row, as HEADINGS."""
    named = [
        ("packet published to prediction published", engine.latency_ms),
        ("the same without the network", engine.rest_ms),
        *((f"  {stage}", p) for stage, p in engine.stages_ms.items()),
        ("offline, between answers", engine.offline_ms),
    ]
    return [(name, *_numbers(p)) for name, p in named]


def facts(engine: EngineResult) -> str:
    """What is not a duration distribution."""
    first = "-" if engine.first_prediction_s is None else f"{engine.first_prediction_s:.1f} s"
    nodes = ", ".join(
        f"{name} {rss:.0f} MB and {100 * engine.cpu.get(name, 0.0):.0f} % of a core"
        for name, rss in engine.rss_mb.items()
    )
    ratio = "-"
    if engine.latency_ms.p50 and engine.latency_ms.p99:
        ratio = f"{engine.latency_ms.p99 / engine.latency_ms.p50:.1f}"
    return (
        f"{engine.predictions} predictions, {engine.missing} messages missing, p99/p50 {ratio};"
        f" first prediction after {first}; offline {engine.offline_realtime:.1f} x real time; {nodes}"
    )


def render(result: BenchResult) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = [Text(header(result)), ""]
    for engine in result.engines:
        table = Table(box=None, header_style="bold", pad_edge=False, title_justify="left")
        table.add_column(engine.name)
        for name in HEADINGS[1:]:
            table.add_column(name, justify="right")
        for row in rows(engine):
            table.add_row(*row)
        parts += [table, Text(facts(engine)), ""]
    return Group(*parts)


def markdown(result: BenchResult) -> str:
    """For a file."""
    lines = [header(result).replace("\n", "\n\n"), ""]
    for engine in result.engines:
        lines += [
            f"## {engine.name}",
            "",
            "| " + " | ".join(HEADINGS) + " |",
            "| --- " + "| ---: " * (_WIDTH - 1) + "|",
        ]
        lines += ["| " + " | ".join(cell.strip() for cell in row) + " |" for row in rows(engine)]
        lines += ["", facts(engine), ""]
    return "\n".join(lines)


def _numbers(p: Percentiles) -> tuple[str, ...]:
    values = (p.p50, p.p90, p.p99, p.max)
    return (str(p.count), *("-" if v is None else f"{v:.2f}" for v in values))
