"""The result as tables, for a terminal and for docs/benchmarks."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.bench.bus.figures import Figure, figures
from fusion_rt.bench.bus.measure import BusResult, Cell

HEADINGS = ("", "p50 ms", "p90 ms", "p99 ms", "max ms", "received", "CPU %", "memory MB, of it shared")
FIGURES = ("ratio", "measured", "at most", "")
HOW = """\
Every row is processes of its own on one machine, one row after the other. A message's age runs from when its
sender's driver has written the data (into its own array; for "loan" and "in place" into the shared memory
itself) until a reader holds an array and has read its first byte; then every reader reads a byte of each 4 kB
page, so that no transport gains by not mapping what it gives. The recorder writes every message to a file
in memory instead; its ages are not counted. Where there are large messages, ages are theirs. CPU is user and
system time of all processes over the measured time, in percent of one core, the driver's own writing (a copy
of the payload) included for everyone. Memory is the resident set of each process, and the part of it that it
shares with others."""


def header(result: BusResult) -> str:
    """What was measured, on what."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    return (
        f"fusion_rt {result.version} on {result.machine}; Python {result.python}, {result.system};"
        f" {versions}; {result.seconds:g} s a row"
    )


def row(cell: Cell) -> tuple[str, ...]:
    """As HEADINGS."""
    if cell.failed is not None:
        return (cell.peer, *("-",) * 4, cell.failed, "", "")
    ages = (cell.p50_ms, cell.p90_ms, cell.p99_ms, cell.max_ms)
    share = 100 * cell.received / max(cell.offered, 1)
    memory = ", ".join(f"{s.name} {s.rss_mb:.0f}, {s.shared_mb:.0f}" for s in cell.processes)
    return (
        cell.peer,
        *("-" if age is None else f"{age:.3f}" if age < 100 else f"{age:.0f}" for age in ages),
        f"{share:.1f} %",
        f"{cell.cpu:.1f}",
        memory,
    )


def render(result: BusResult) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = [Text(header(result)), ""]
    for load in result.loads:
        table = _table(load.title, HEADINGS)
        for cell in result.cells:
            if cell.load == load.name:
                table.add_row(*row(cell))
        parts += [table, ""]
    table = _table("What the bus is held to", FIGURES)
    for figure in figures(result):
        table.add_row(*_figure(figure), style=None if figure.held else "yellow")
    if table.row_count:
        parts += [table, ""]
    parts += [Text(f"left out: {line}") for line in result.left_out]
    return Group(*parts)


def markdown(result: BusResult) -> str:
    """For a file."""
    lines = ["# The bus beside its peers", "", "`fusion-rt bench bus`", "", header(result), "", HOW, ""]
    for load in result.loads:
        rows = [row(cell) for cell in result.cells if cell.load == load.name]
        lines += [f"## {load.title}", "", *_markdown(HEADINGS, rows), ""]
    if held := figures(result):
        lines += ["## What the bus is held to", "", *_markdown(FIGURES, [_figure(one) for one in held]), ""]
    lines += [f"Left out: {line}" for line in result.left_out]
    return "\n".join(lines).rstrip() + "\n"


def _figure(figure: Figure) -> tuple[str, ...]:
    return figure.name, f"{figure.value:.2f}", f"{figure.limit:g}", "held" if figure.held else "missed"


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    table.add_column(headings[0])
    for name in headings[1:]:
        table.add_column(name, justify="left" if "memory" in name else "right")
    return table


def _markdown(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    return [
        "| " + " | ".join(headings) + " |",
        "| --- " + "| ---: " * (len(headings) - 1) + "|",
        *("| " + " | ".join(cells) + " |" for cells in rows),
    ]
