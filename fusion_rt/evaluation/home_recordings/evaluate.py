"""fusion-rt eval home-data: all data sets that a folder holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table as Drawn
from rich.text import Text

from fusion_rt.errors import ConfigError, LogError
from fusion_rt.evaluation.home_recordings import parts
from fusion_rt.evaluation.home_recordings.figures import Figure, Report, Row, Table
from fusion_rt.evaluation.home_recordings.parts import Advance, Options

PARTS: dict[str, tuple[str, Callable[[Options, Advance], Table]]] = {
    "occupancy": (parts.OFFICE_SET.folder, lambda o, a: parts.room_table(parts.OFFICE_SET, o, a)),
    "rooms": (parts.ROOM_SET.folder, lambda o, a: parts.room_table(parts.ROOM_SET, o, a)),
    "activities": (parts.radhar.FOLDER, parts.radar_table),
    "falls": (parts.umafall.FOLDER, parts.fall_table),
}
SHARES = ("accuracy", "F1", "exact", "within 1", "worst day", "recordings", "found", *parts.radhar.ACTIVITIES)


def evaluate(options: Options, only: Sequence[str], *, advance: Callable[[str], Any]) -> Report:
    """The parts that are there, or those of `only`. advance: part -> a context with a progress bar's call.

    Raises ConfigError: no such part; LogError: nothing is there, or a file of a part is wrong."""
    if wrong := [name for name in only if name not in PARTS]:
        raise ConfigError(f"{', '.join(wrong)}: no such part; known are {', '.join(PARTS)}")
    if options.head and len(only) != 1:
        raise ConfigError("--head needs one --part: a head answers one question")
    tables, skipped = [], []
    for name, (folder, judge) in PARTS.items():
        if only and name not in only:
            continue
        if not (options.data / folder).is_dir():
            if only:
                raise LogError(f"{options.data / folder}: not there; the part {name!r} needs it")
            skipped.append(f"{name}: no folder {folder} in {options.data}")
            continue
        with advance(name) as bar:
            tables.append(judge(options, bar))
    if not tables:
        folders = ", ".join(folder for folder, _ in PARTS.values())
        raise LogError(f"{options.data}: none of the folders {folders} is there")
    return Report(source=str(options.data), tables=tuple(tables), skipped=tuple(skipped))


def render(report: Report) -> RenderableType:
    drawn: list[RenderableType] = []
    for table in report.tables:
        drawn.append(Text(f"\n{table.title}; {', '.join(table.heads)}", style="bold"))
        for judged in dict.fromkeys(row.judged for row in table.rows):
            drawn += [Text(f"\n{judged}"), _draw([row for row in table.rows if row.judged == judged])]
        drawn += [Text(note, style="dim") for note in table.notes]
        drawn += [Text(f"in the files: {line}", style="dim") for line in _shortened(table.files)]
        drawn.append(Text(f"data: {table.licence}", style="dim"))
    return Group(*drawn)


def markdown(report: Report) -> str:
    """The same for a document."""
    lines: list[str] = []
    for table in report.tables:
        lines += [f"## {table.title}", "", f"Package {', '.join(table.heads)}; data: {table.licence}.", ""]
        for judged in dict.fromkeys(row.judged for row in table.rows):
            rows = [row for row in table.rows if row.judged == judged]
            names = list(rows[0].figures)
            lines += [f"### {judged}", "", f"| method | inputs | {' | '.join(names)} |"]
            lines.append(f"| --- | --- | {' | '.join('---:' for _ in names)} |")
            for row in rows:
                cells = [_written(name, row.figures.get(name, Figure(None))) for name in names]
                lines.append(f"| {row.method} | {row.inputs} | {' | '.join(cells)} |")
            lines.append("")
        lines += [f"- {note}" for note in table.notes]
        lines += [f"- In the files: {line}." for line in _shortened(table.files)] + [""]
    return "\n".join(lines)


def _draw(rows: Sequence[Row]) -> Drawn:
    drawn = Drawn(box=None, pad_edge=False, header_style="bold")
    drawn.add_column("method")
    drawn.add_column("inputs")
    names = list(rows[0].figures)
    for name in names:
        drawn.add_column(name, justify="right")
    for row in rows:
        cells = [_written(name, row.figures.get(name, Figure(None))) for name in names]
        drawn.add_row(row.method, row.inputs, *cells)
    return drawn


def _written(name: str, figure: Figure) -> str:
    if figure.value is None:
        return "-"
    scale, digits = (100, 1) if name in SHARES else (1, 0)
    if name in ("delay s", "minutes", "a day"):
        digits = 2 if name == "delay s" else 1
    text = f"{figure.value * scale:.{digits}f}"
    if figure.low is not None and figure.high is not None:
        text += f" [{figure.low * scale:.{digits}f}-{figure.high * scale:.{digits}f}]"
    return text


def _shortened(lines: Sequence[str], most: int = 8) -> list[str]:
    """Many files have the same: the first of them, and how many more."""
    return [
        *lines[:most],
        *([f"and {len(lines) - most} lines more (all with --json)"] if len(lines) > most else []),
    ]
