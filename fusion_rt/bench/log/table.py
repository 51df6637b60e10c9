"""The benchmark of logs as tables, and what it is held to."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fusion_rt.bench.log.measure import LogResult
from fusion_rt.metrics.latency import Percentiles

RECORD_MBPS, READ_MBPS, SEEK_MS = 400.0, 1000.0, 50.0
Rows = list[tuple[str, ...]]


class Figure(Struct, frozen=True, kw_only=True):
    """value is to be at least, or at most, `limit`."""

    name: str
    value: float
    limit: float
    at_least: bool

    @property
    def held(self) -> bool:
        return self.value >= self.limit if self.at_least else self.value <= self.limit


def figures(result: LogResult) -> list[Figure]:
    """Those that were measured."""
    return list(_figures(result))


def render(result: LogResult) -> RenderableType:
    """For a terminal."""
    parts: list[RenderableType] = [Text(_header(result)), ""]
    for title, rows in _tables(result):
        table = Table(box=None, header_style="bold", pad_edge=False)
        table.add_column(title)
        for name in rows[0][1:]:
            table.add_column(name, justify="right")
        for row in rows[1:]:
            table.add_row(*row)
        parts += [table, ""]
    return Group(*parts)


def markdown(result: LogResult) -> str:
    """For a file."""
    lines = [_header(result).replace("\n", "\n\n"), ""]
    for title, rows in _tables(result):
        lines += [
            "| " + " | ".join((title, *rows[0][1:])) + " |",
            "| --- " + "| ---: " * (len(rows[0]) - 1) + "|",
        ]
        lines += ["| " + " | ".join(row) + " |" for row in rows[1:]] + [""]
    return "\n".join(lines)


def _figures(result: LogResult) -> Iterator[Figure]:
    whole = [r.reached for r in result.recording if not r.lost]
    yield Figure(
        name="recorder, MB/s without a loss", value=max(whole, default=0.0), limit=RECORD_MBPS, at_least=True
    )
    if result.losses is not None:
        yield Figure(
            name="numbers whose fate the log says wrongly",
            value=float(result.losses.wrong),
            limit=0.0,
            at_least=False,
        )
    for speed in result.reading:
        if speed.name == "read, packets":
            yield Figure(
                name="reading one after the other, MB/s", value=speed.median, limit=READ_MBPS, at_least=True
            )
    if result.seeking is not None and result.seeking.seek_ms.p99 is not None:
        name = f"seek in {result.seeking.gb:.0f} GB, ms, p99"
        yield Figure(name=name, value=result.seeking.seek_ms.p99, limit=SEEK_MS, at_least=False)
        assert result.seeking.both_ms.p50 is not None
        name = f"open and seek in {result.seeking.gb:.0f} GB, ms, p50"
        yield Figure(name=name, value=result.seeking.both_ms.p50, limit=SEEK_MS, at_least=False)


def _header(result: LogResult) -> str:
    text = f"fusion_rt {result.version} on {result.machine}\nwritten to and read from {result.folder}"
    if result.seeking is not None:
        text += f"; the log to seek in lay in {result.seeking.path}"
    return text


def _tables(result: LogResult) -> Iterator[tuple[str, Rows]]:
    rows: Rows = [("", "runs", "median MB/s", "slowest", "fastest")]
    for s in (*result.writing, *result.reading):
        rows.append((s.name, str(s.runs), f"{s.median:.0f}", f"{s.low:.0f}", f"{s.high:.0f}"))
    yield "one process", rows
    rows = [("", "reached MB/s", "sent", "lost", "CPU", "memory", "send p50 ms", "p99", "max")]
    for r in result.recording:
        rows.append(
            (
                f"{r.offered:.0f} MB/s for {r.seconds:g} s",
                f"{r.reached:.0f}",
                str(r.sent),
                _lost(r.lost),
                f"{100 * r.cpu:.0f} %",
                f"{r.rss_mb:.0f} MB",
                *_numbers(r.calls_ms, ("p50", "p99", "max")),
            )
        )
    yield "recorder, 3 cameras, lidar, IMU", rows
    if (i := result.losses) is not None:
        yield (
            "losses made on purpose",
            [
                ("", "sent", "dropped", "never sent", "in the file", "said", "wrong"),
                ("", *map(str, (i.sent, i.dropped, i.skipped, i.in_file)), _lost(i.said), str(i.wrong)),
            ],
        )
    if (s_ := result.seeking) is not None:
        rows = [("", "count", "p50 ms", "p90", "p99", "max")]
        for name, p in (
            ("seek, open log", s_.seek_ms),
            ("seek, open log, file not in memory", s_.cold_ms),
            ("open", s_.open_ms),
            ("open and seek", s_.both_ms),
        ):
            rows.append((name, str(p.count), *_numbers(p, ("p50", "p90", "p99", "max"))))
        yield f"{s_.gb:.1f} GB, {s_.chunks} chunks", rows
    rows = [("", "reached", "held to", "")]
    for figure in figures(result):
        bound = "at least" if figure.at_least else "at most"
        held = "held" if figure.held else "missed"
        rows.append(
            (
                figure.name,
                f"{figure.value:.3g}" if figure.value < 100 else f"{figure.value:.0f}",
                f"{bound} {figure.limit:g}",
                held,
            )
        )
    yield "figures", rows


def _lost(causes: dict[str, int]) -> str:
    return ", ".join(f"{n} {cause}" for cause, n in sorted(causes.items())) or "0"


def _numbers(p: Percentiles, names: tuple[str, ...]) -> tuple[str, ...]:
    values = (getattr(p, name) for name in names)
    return tuple("-" if v is None else f"{v:.2f}" for v in values)
