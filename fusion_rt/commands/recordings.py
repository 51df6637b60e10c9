"""fusion-rt import | info: other recordings into ours, and what is in a recording."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.table import Table

from fusion_rt.commands.common import Json, console, errors, print_json, progress

if TYPE_CHECKING:
    from fusion_rt.logs import Log

importers = typer.Typer(help="Bring other recordings into MCAP logs.", no_args_is_help=True)


@importers.callback()
def _importers() -> None:
    """Bring other recordings into MCAP logs."""


@importers.command()
def kitti(
    folder: Annotated[Path, typer.Argument(help="A raw drive, object frames, or tracking sequences.")],
    out: Annotated[
        Path,
        typer.Option("--out", "-o", help="The log of a raw drive; else a folder, which gets several logs."),
    ],
    sequence: Annotated[
        str | None, typer.Option(help="Of a tracking folder: only this sequence, such as 7.")
    ] = None,
    json: Json = False,
) -> None:
    """KITTI's raw, object or tracking layout; which one it is, is seen from the folder.

    fusion-rt import kitti 2011_09_26/2011_09_26_drive_0005_sync -o drive.mcap

    fusion-rt import kitti data_tracking -o logs --sequence 7

    A damaged file is left out and named; the rest is imported.
    """
    from fusion_rt.logs.importing import import_kitti

    with progress(f"importing {folder.name}") as advance:
        result = import_kitti(folder, out, advance, sequence=sequence)
    if json:
        logs = [{"path": str(g.path), "packets": g.packets, "seconds": g.seconds} for g in result.logs]
        print_json({"logs": logs, "errors": result.errors})
        return
    for log in result.logs:
        _say(f"{log.path}: {log.packets} packets, {log.seconds:.1f} s")
    for error in result.errors:
        errors.print(f"left out: {error}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def info(
    log: Annotated[str, typer.Argument(help="A recording, or bundled:drive.mcap.")],
    check: Annotated[
        bool, typer.Option("--check", help="Read every message too: finds damage within, takes longer.")
    ] = False,
    json: Json = False,
) -> None:
    """What is in a recording: its time, topics with counts and rates, the sensors of its rig, what it lost.

    fusion-rt info drive.mcap --check
    """
    from fusion_rt import logs
    from fusion_rt.scenario import locate

    path = locate(log)
    with logs.open(path) as opened:
        if check:
            _read_all(opened)
        found = _describe(opened, path, checked=check)
    if json:
        print_json(found)
    else:
        _show(found)


def _read_all(log: Log) -> None:
    span = max(log.end_ns - log.start_ns, 1)
    with progress("reading") as advance:
        for packet in log:
            advance((packet.header.stamp_ns - log.start_ns) / span)


def _describe(log: Log, path: Path, *, checked: bool) -> dict[str, Any]:
    seconds = (log.end_ns - log.start_ns) / 1e9
    topics = {
        name: {
            "schema": topic.schema,
            "messages": topic.messages,
            # Gaps, not messages: ten a second for a second are eleven.
            "rate_hz": (topic.messages - 1) / seconds if topic.messages > 1 and seconds > 0 else None,
        }
        for name, topic in log.topics.items()
    }
    sensors: dict[str, dict[str, Any]] = {name: {"kind": kind} for name, kind in log.modalities().items()}
    for name, camera in log.rig.cameras.items():
        sensors[name] |= {"width": camera.width, "height": camera.height}
    for name, sensor in log.plan.sensors.items() if log.plan is not None else ():
        sensors[name] |= {"room": sensor.room}
        if sensor.kind == "camera":
            sensors[name] |= {"width": sensor.width, "height": sensor.height}
    return {
        "path": str(path),
        "bytes": path.stat().st_size,
        "start_ns": log.start_ns,
        "end_ns": log.end_ns,
        "seconds": seconds,
        "messages": sum(topic.messages for topic in log.topics.values()),
        "topics": topics,
        "sensors": sensors,
        "rooms": [] if log.plan is None else list(log.plan.rooms),
        "losses": [msgspec.to_builtins(loss) for loss in log.losses],
        "ended": None if log.ended is None else msgspec.to_builtins(log.ended),
        "recovered": log.recovered,
        "skipped": dict(log.skipped) if checked else None,  # not known without reading
    }


def _show(found: dict[str, Any]) -> None:
    from fusion_rt.logs.losses import Loss, in_words

    start = datetime.fromtimestamp(found["start_ns"] / 1e9, timezone.utc)
    _say(
        f"{found['path']}: {found['seconds']:.2f} s from {start:%Y-%m-%d %H:%M:%S} UTC,"
        f" {found['messages']} messages, {found['bytes'] / 1e6:.1f} MB"
    )
    table = Table("topic", "schema", box=None, header_style="bold")
    table.add_column("messages", justify="right")
    table.add_column("rate", justify="right")
    for name, topic in found["topics"].items():
        rate = topic["rate_hz"]
        table.add_row(name, topic["schema"], str(topic["messages"]), "" if rate is None else f"{rate:.1f} Hz")
    console.print(table)
    described = [
        f"{name} ({sensor['kind']}"
        + (f" {sensor['width']} x {sensor['height']})" if "width" in sensor else ")")
        for name, sensor in found["sensors"].items()
    ]
    _say(f"sensors: {', '.join(described) or 'none'}")
    notes = [found["recovered"]] if found["recovered"] else []
    ended = found["ended"]
    if ended is not None:
        if ended["why"]:
            _say(f"ended: {ended['why']}")
        if not found["losses"]:
            _say("nothing was lost until then" if ended["why"] else "nothing was lost")
    elif found["losses"]:
        notes.append("the recorder was cut off: what it lost in the end is not known")
    notes += [in_words(msgspec.convert(loss, Loss)) for loss in found["losses"]]
    notes += [
        f"{topic}: {n} messages skipped, not ours or damaged" for topic, n in (found["skipped"] or {}).items()
    ]
    for note in notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
    if not notes and found["skipped"] is not None:
        _say("every message is sound")


def _say(text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
