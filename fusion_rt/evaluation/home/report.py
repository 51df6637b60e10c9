"""The home's rows as a table for the terminal, and as Markdown."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.evaluation.home.scores import Scores
from fusion_rt.evaluation.home.simulated import HomeReport, Row

# title -> of a row's scores, how it is written
COLUMNS: dict[str, tuple[str, str]] = {
    "rooms %": ("rooms", "share"),
    "watched %": ("watched", "share"),
    "flips": ("flips", "number"),
    "count %": ("counts", "share"),
    "activity %": ("activity", "share"),
    "position m": ("position_m", "number"),
    "found %": ("people", "share"),
    "right %": ("precision", "share"),
    "posture %": ("posture", "share"),
    "events F1": ("events", "number"),
}


def render(report: HomeReport) -> RenderableType:
    table = Table("sensors", box=None, header_style="bold", pad_edge=False)
    for title in (*COLUMNS, "cost"):
        table.add_column(title, justify="right")
    for row in report.rows:
        table.add_row(row.sensors, *cells(row))
    return Group(Text(head(report)), table, *(Text(line) for line in notes(report)))


def markdown(report: HomeReport) -> str:
    titles = ("sensors", *COLUMNS, "cost")
    lines = [head(report), "", f"| {' | '.join(titles)} |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    lines += [f"| {row.sensors} | {' | '.join(cells(row))} |" for row in report.rows]
    return "\n".join([*lines, "", *notes(report)])


def head(report: HomeReport) -> str:
    return (
        f"{report.homes} homes of {report.hours:g} h, seeds from {report.seed}, life at {report.pace:g} times"
        f" its pace, {report.model}; rows but the first have a scene a second"
    )


def notes(report: HomeReport) -> list[str]:
    """The best single modality, and F1 by kind of event."""
    alone = [row for row in report.rows if row.sensors.endswith(" alone") and row.scores.rooms is not None]
    best = max(alone, key=lambda row: row.scores.rooms or 0.0, default=None)
    kinds = report.rows[0].scores.by_event
    lines = ["events: " + ", ".join(f"{kind} {_number(f1)}" for kind, f1 in kinds.items())]
    if best is not None:
        lines.append(f"best single modality by rooms: {best.sensors.removesuffix(' alone')}")
    return lines


def cells(row: Row) -> list[str]:
    written = [_cell(row.scores, name, kind) for name, kind in COLUMNS.values()]
    return [*written, "" if row.cost is None else f"{row.cost:.1f}"]


def _cell(scores: Scores, name: str, kind: str) -> str:
    value: float | None = getattr(scores, name)
    if value is None:
        return "-"
    return f"{100 * value:.1f}" if kind == "share" else _number(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
