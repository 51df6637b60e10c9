"""fusion-rt log ...: is a log sound, what is in it, and logs made of logs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fusion_rt.commands.common import Json, console, errors, print_json, print_table, progress
from fusion_rt.commands.recordings import info

if TYPE_CHECKING:
    from fusion_rt.logs.checking import Report

tools = typer.Typer(
    help="Recordings: is one sound, what is in it, parts of it, several as one.", no_args_is_help=True
)
tools.command()(info)

Recording = Annotated[str, typer.Argument(help="A recording, or bundled:drive.mcap.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="The log to write; nothing is overwritten.")]


@tools.command()
def check(log: Recording, json: Json = False) -> None:
    """Read all of it: checksums, index, order, numbers. Exit code 1 where something is wrong.

    fusion-rt log check drive.mcap

    Wrong is what is damaged, and every missing sequence number that the log's own report of losses does not
    explain.
    """
    from fusion_rt.logs import checking
    from fusion_rt.scenario import locate

    path = locate(log)
    with progress(f"checking {path.name}") as advance:
        report = checking.check(path, advance)
    if json:
        print_json(report)
    else:
        _show(report)
    if not report.sound:
        raise typer.Exit(1)


@tools.command()
def repair(
    log: Annotated[Path, typer.Argument(help="A recording that was cut off, or is damaged.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The log to write, else NAME-repaired.mcap.")
    ] = None,
    rig: Annotated[
        Path | None,
        typer.Option(help="The sensors, where the log's own rig is damaged: YAML, or a recording."),
    ] = None,
    json: Json = False,
) -> None:
    """Write all that is sound into a new log with an index, and say what is lost. The old one stays.

    fusion-rt log repair torn.mcap -o whole.mcap
    """
    from fusion_rt.logs.losses import in_words
    from fusion_rt.logs.repairing import repair as work
    from fusion_rt.scenario import load_rig

    target = out or log.with_stem(f"{log.stem}-repaired")
    with progress(f"repairing {log.name}") as advance:
        result = work(log, target, rig=None if rig is None else load_rig(str(rig)), progress=advance)
    if json:
        print_json(result)
        return
    _say(f"{result.path}: {result.messages} messages")
    for damage in result.damage:
        known = f"; {sum(damage.counts.values())} messages were there" if damage.counts else ""
        _warn(f"at byte {damage.offset}, {damage.length} bytes are lost: {damage.what}{known}")
    for loss in result.losses:
        _warn(in_words(loss))
    if result.nameless:
        _warn(f"{result.nameless} messages are left out: which topic they are of is lost")
    if not result.damage:
        _say("nothing is damaged")


@tools.command()
def cut(
    log: Recording,
    out: Out,
    start: Annotated[float | None, typer.Option("--from", min=0, help="Seconds after its beginning.")] = None,
    until: Annotated[float | None, typer.Option(min=0, help="Up to this second, not included.")] = None,
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Only this sensor, or prediction; repeat it.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Not this sensor, or not prediction; repeat it.")
    ] = None,
    json: Json = False,
) -> None:
    """A part of a recording as a recording: of its time, of its topics. Messages stay as they are.

    fusion-rt log cut drive.mcap -o turn.mcap --from 12.5 --until 20 --without prediction
    """
    from fusion_rt import logs
    from fusion_rt.logs.cutting import cut as work
    from fusion_rt.scenario import locate

    with logs.open(locate(log)) as opened, progress(f"writing {out.name}") as advance:
        written = work(
            opened,
            out,
            start_ns=None if start is None else opened.start_ns + round(start * 1e9),
            end_ns=None if until is None else opened.start_ns + round(until * 1e9),
            topics=topic or (),
            without=without or (),
            progress=advance,
        )
        note = opened.recovered
    _done(out, written, note, json)


@tools.command()
def merge(
    log: Annotated[list[Path], typer.Argument(help="Two recordings or more.")],
    out: Out,
    rename: Annotated[
        list[str] | None,
        typer.Option(help="N:SENSOR=NAME: this sensor of the Nth recording is another one. Repeat it."),
    ] = None,
    json: Json = False,
) -> None:
    """Several recordings as one, in the order of time: parts that follow each other, or sensors side by side.

    fusion-rt log merge drive_000.mcap drive_001.mcap -o drive.mcap

    fusion-rt log merge front.mcap rear.mcap -o both.mcap --rename 2:lidar=lidar_rear
    """
    from contextlib import ExitStack

    from fusion_rt import logs
    from fusion_rt.errors import ConfigError
    from fusion_rt.logs.merging import merge as work

    names: list[dict[str, str]] = [{} for _ in log]
    for word in rename or []:
        number, colon, pair = word.partition(":")
        old, equals, new = pair.partition("=")
        if not (colon and equals and old and new and number.isdigit() and 0 < int(number) <= len(log)):
            raise ConfigError(f"--rename {word}: expected N:SENSOR=NAME, N from 1 to {len(log)}")
        names[int(number) - 1][old] = new
    with ExitStack() as stack, progress(f"writing {out.name}") as advance:
        opened = [stack.enter_context(logs.open(path)) for path in log]
        written = work(opened, out, rename=names, progress=advance)
        note = "; ".join(one.recovered for one in opened if one.recovered)
    _done(out, written, note, json)


@tools.command()
def diff(
    a: Annotated[Path, typer.Argument(help="A recording, or a file of predictions (JSON lines).")],
    b: Annotated[Path, typer.Argument(help="Another of the same kind.")],
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Of recordings: only this; repeat it.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="A field that may differ, wherever it is: trace, stage_ms; repeat it."),
    ] = None,
    json: Json = False,
) -> None:
    """The first difference, to the last bit. Exit code 1 where there is one.

    fusion-rt log diff one.mcap other.mcap --ignore trace

    fusion-rt log diff a.jsonl b.jsonl    # of `fusion-rt replay drive.mcap --fast --out a.jsonl`, twice
    """
    from fusion_rt.logs.comparing import diff as work

    with progress("comparing") as advance:
        found = work(a, b, topics=topic or (), ignore=ignore or (), progress=advance)
    if json:
        print_json({"equal": found is None, "difference": found})
    elif found is None:
        _say("no difference")
    else:
        field = f", {found.field}" if found.field else ""
        _say(f"{found.where}{field}:\n  {a}: {found.a}\n  {b}: {found.b}")
    if found is not None:
        raise typer.Exit(1)


def _show(report: Report) -> None:
    from fusion_rt.logs.losses import in_words

    seconds = (report.end_ns - report.start_ns) / 1e9
    count = sum(topic.messages for topic in report.topics.values())
    size = f"{count} messages in {report.chunks} chunks, {report.bytes / 1e6:.1f} MB"
    _say(f"{report.path}: {seconds:.2f} s, {size}")
    table = Table("topic", box=None, header_style="bold", pad_edge=False)
    for name in ("messages", "MB", "rate", "missing", "unexplained", "went back", "late", "not ours"):
        table.add_column(name, justify="right")
    for topic in report.topics.values():
        span_s = (topic.end_ns - topic.start_ns) / 1e9
        rate = f"{(topic.messages - 1) / span_s:.1f} Hz" if span_s > 0 else ""
        counts = (topic.missing, topic.unexplained, topic.went_back, topic.late, topic.undecodable)
        cells = (str(n) if n else "" for n in counts)
        table.add_row(topic.topic, str(topic.messages), f"{topic.bytes / 1e6:.2f}", rate, *cells)
    print_table(table)
    for loss in report.losses:
        _say(in_words(loss))
    for problem in report.problems:
        where = "" if problem.offset is None else f"at byte {problem.offset}: "
        _warn(f"{where}{problem.what}")
    if report.sound:
        _say("sound")
    else:
        errors.print(f"{len(report.problems)} problems", style="red", highlight=False)


def _done(out: Path, written: int, note: str, json: bool) -> None:
    if json:
        print_json({"path": str(out), "messages": written, "recovered": note})
        return
    _say(f"{out}: {written} messages, {out.stat().st_size / 1e6:.1f} MB")
    if note:
        _warn(note)


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _warn(text: str) -> None:
    console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)
