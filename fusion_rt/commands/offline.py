"""fusion-rt replay --fast: one recording, or all of a folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from fusion_rt.commands.common import console, errors, print_json, print_table, progress
from fusion_rt.errors import ConfigError, LogError

if TYPE_CHECKING:
    from fusion_rt.batch.mapping import Workers
    from fusion_rt.batch.replays import LogRow
    from fusion_rt.pipeline import PipelineConfig


def one(path: Path, config: PipelineConfig, out: Path | None, json: bool) -> None:
    """Its answers to `out`, or to standard output where that is -, and what they come to."""
    from fusion_rt import offline

    began = time.monotonic()
    with _sink(out) as sink, progress(path.name) as advance:
        result = offline.replay(path, config, sink, advance)
    elapsed_s = time.monotonic() - began
    _notes(result.notes)
    if str(out) == "-":
        return
    if json:
        report: dict[str, Any] = msgspec.to_builtins(result)
        print_json({"log": str(path), **report, "elapsed_s": round(elapsed_s, 3)})
        return
    seen = ", ".join(f"{n} {label}" for label, n in result.tracks.items()) or "none"
    console.print(
        f"{path}: {result.predictions} predictions of {result.log_s:.1f} s in {elapsed_s:.1f} s, loading"
        f" included ({result.log_s / elapsed_s:.1f} x real time)\ntracks: {seen}\nrungs: {result.rungs}",
        highlight=False,
    )


def folder(
    path: Path, config: PipelineConfig, out: Path | None, workers: Workers, *, again: bool, json: bool
) -> None:
    """Every recording's answers to a file of its name in `out`, and a line for each."""
    from fusion_rt.batch import replays

    if out is None or str(out) == "-":
        raise ConfigError(f"{path} is a folder: --out must be one, too, for a file of answers a recording")
    with progress(path.name) as advance:
        report = replays.replay_folder(path, out, config, workers, again=again, advance=advance)
    for row in report.logs:
        _notes(row.summary.result.notes if row.summary else ())
    if json:
        print_json(report)
    else:
        counts = [f"{len(found)} {s}" for s in ("done", "kept", "failed") if (found := report.of(s))]
        head = f"{report.out}: {', '.join(counts)}; {report.model}"
        console.print(head, highlight=False, markup=False, soft_wrap=True)
        print_table(_table(report.logs))
    failed = report.of("failed")
    for row in failed:
        errors.print(f"failed: {row.log}: {row.reason}", highlight=False, markup=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def _notes(lines: tuple[str, ...]) -> None:
    for line in lines:
        errors.print(line, highlight=False, markup=False)


@contextmanager
def _sink(out: Path | None) -> Iterator[BinaryIO | None]:
    if out is None or str(out) == "-":
        yield None if out is None else sys.stdout.buffer
        return
    try:
        file = out.open("wb")
    except OSError as error:
        raise LogError(f"{out}: cannot be written: {error.strerror}") from error
    with file:
        yield file


def _table(rows: Sequence[LogRow]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("log", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("log s", "took s", "answers", "objects", "mean", "p95", "tracks"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        if row.summary is None:
            table.add_row(Text(row.log), row.state)
            continue
        r = row.summary.result
        times = f"{r.log_s:.1f}", f"{row.summary.elapsed_s:.1f}"
        objects = str(r.objects), f"{r.objects_mean:.1f}", f"{r.objects_p95:.1f}", str(sum(r.tracks.values()))
        table.add_row(Text(row.log), row.state, *times, str(r.predictions), *objects)
    results = [row.summary.result for row in rows if row.summary]
    total = [sum(r.predictions for r in results), sum(r.objects for r in results)]
    table.add_row("all", "", f"{sum(r.log_s for r in results):.1f}", "", *map(str, total), style="bold")
    return table
