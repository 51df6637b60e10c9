"""fusion-rt run | node | replay | record: the pipeline at work."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_rt.commands.common import (
    Json,
    Model,
    Precision,
    Runtime,
    console,
    errors,
    print_json,
    progress,
)

if TYPE_CHECKING:
    from fusion_rt.scenario import Scenario

Config = Annotated[
    str, typer.Argument(help="A scenario file, or the name of a bundled one.", show_default="driving")
]
ConfigOption = Annotated[
    str, typer.Option("--config", "-c", help="A scenario file, or the name of a bundled one.")
]
Duration = Annotated[float | None, typer.Option("--duration", min=0.1, help="Stop after so many seconds.")]
Threads = Annotated[int, typer.Option(min=1, max=64, help="Of the kernels and of the network.")]


def run(config: Config = "driving", duration: Duration = None, json: Json = False) -> None:
    """Start all nodes of a scenario, watch them, show what they do; Ctrl-C stops everything.

    fusion-rt run configs/driving.yaml --duration 10 --json
    """
    from fusion_rt import scenario

    path = scenario.find_file(config)
    _supervise(scenario.load(path), str(path), duration, json)


def node(
    name: Annotated[str, typer.Argument(help="Which node of the scenario.")], config: ConfigOption = "driving"
) -> None:
    """Run one node of a scenario in this process; the others may run elsewhere.

    fusion-rt node fusion --config configs/driving.yaml
    """
    from fusion_rt import node as one_node
    from fusion_rt import scenario
    from fusion_rt.errors import ConfigError

    path = scenario.find_file(config)
    loaded = scenario.load(path)
    nodes = {entry.name: entry for entry in loaded.processes(str(path))}
    if name not in nodes:
        raise ConfigError(f"{path}: no node {name!r}; there are: {', '.join(nodes)}")
    one_node.run(nodes[name], loaded.bus)


def replay(
    log: Annotated[str, typer.Argument(help="A recording, or bundled:drive.mcap.")],
    speed: Annotated[float, typer.Option(min=0.01, max=1000, help="1 is as it was recorded.")] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="As fast as possible, without sockets: the same bytes each time.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="With --fast: a JSON line a prediction; - for stdout.")
    ] = None,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    threads: Threads = 2,
    duration: Duration = None,
    json: Json = False,
) -> None:
    """Play a recording into the engine: through the live nodes, or offline with --fast.

    fusion-rt replay drive.mcap --fast --out predictions.jsonl
    """
    from fusion_rt import logs
    from fusion_rt.bus import BusConfig
    from fusion_rt.errors import ConfigError
    from fusion_rt.scenario import Scenario, locate

    engine: dict[str, Any] = {"model": model, "runtime": runtime, "precision": precision, "threads": threads}
    if fast:
        if loop or duration is not None:
            raise ConfigError("--fast reads the recording once: leave out --loop and --duration")
        _replay_fast(log, engine, out, json)
        return
    if out is not None:
        raise ConfigError("--out goes with --fast; use `fusion-rt record` beside a live replay")
    with logs.open(locate(log)):
        pass  # a file that is no recording is said now, not by nodes that are started again and again
    nodes = {
        "replay": {"log": log, "speed": speed, "loop": loop, "ends_run": True},
        "fusion": {"rig": log, **engine},
    }
    _supervise(Scenario(bus=BusConfig(), nodes=nodes), "replay", duration, json)


def record(
    out: Annotated[Path, typer.Option("--out", "-o", help="The log to write; NAME-1.mcap where it exists.")],
    config: ConfigOption = "driving",
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Only this topic; may be repeated.")
    ] = None,
    duration: Duration = None,
    json: Json = False,
) -> None:
    """Record what the nodes of a running scenario say, until Ctrl-C.

    fusion-rt record -o drive.mcap --config configs/driving.yaml
    """
    import threading

    from fusion_rt import scenario
    from fusion_rt.bus import Bus
    from fusion_rt.nodes import recorder

    path = scenario.find_file(config)
    loaded = scenario.load(path)
    target = recorder.free_path(out.expanduser())
    settings = recorder.RecorderConfig(
        path=str(target), rig=scenario.rig_of(loaded, path), topics=tuple(topic or ())
    )
    with Bus(loaded.bus, "recorder") as bus:
        bus.stop_on_signals()
        if duration is not None:
            timer = threading.Timer(duration, bus.stop)
            timer.daemon = True
            timer.start()
        errors.print(f"recording to {target}; Ctrl-C stops", highlight=False)
        recorder.run(settings, bus)
        counts = dict(bus.detail)
    written, dropped = int(counts.get("written", 0)), int(counts.get("dropped", 0))
    if json:
        print_json({"path": str(target), "written": written, "dropped": dropped})
    else:
        size = target.stat().st_size / 1e6
        console.print(f"{target}: {written} messages, {size:.1f} MB, {dropped} dropped", highlight=False)


def _supervise(loaded: Scenario, source: str, duration: float | None, json: bool) -> None:
    from fusion_rt import supervisor
    from fusion_rt.live_table import LiveTable, render_summary

    # Where JSON is wanted, standard output is for it alone.
    with LiveTable(errors if json else console) as table:
        summary = supervisor.run(loaded, source=source, duration_s=duration, show=table, say=table.say)
    if json:
        print_json(summary)
    else:
        console.print(render_summary(summary))
    if duration is not None and not summary.predictions:
        errors.print("no prediction came: see the lines above", style="red")
        raise typer.Exit(1)


def _replay_fast(log: str, engine: dict[str, Any], out: Path | None, json: bool) -> None:
    import contextlib
    import time

    from fusion_rt import offline
    from fusion_rt.errors import LogError
    from fusion_rt.pipeline import PipelineConfig
    from fusion_rt.scenario import locate

    path = locate(log)
    began = time.monotonic()
    count, first_ns, last_ns = 0, 0, 0
    rungs: Counter[str] = Counter()
    tracks: dict[str, set[int]] = {}
    notes: list[str] = []
    with contextlib.ExitStack() as stack:
        advance = stack.enter_context(progress(path.name))
        sink: Any = None
        if out is not None and str(out) == "-":
            sink = sys.stdout.buffer
        elif out is not None:
            try:
                sink = stack.enter_context(out.open("wb"))
            except OSError as error:
                raise LogError(f"{out}: cannot be written: {error.strerror}") from error
        for prediction in offline.predictions(path, PipelineConfig(**engine), advance, notes.append):
            if sink is not None:
                offline.write_line(prediction, sink)
            first_ns = first_ns or prediction.header.stamp_ns
            last_ns = prediction.header.stamp_ns
            count += 1
            rungs[prediction.certificate.rung] += 1
            for thing in prediction.objects:
                tracks.setdefault(thing.label, set()).add(thing.track_id)
    for note in notes:
        errors.print(note, highlight=False, markup=False)
    elapsed_s, span_s = time.monotonic() - began, (last_ns - first_ns) / 1e9
    report = {
        "log": str(path),
        "predictions": count,
        "rungs": dict(rungs),
        "tracks": {label: len(ids) for label, ids in sorted(tracks.items())},
        "log_s": round(span_s, 3),
        "elapsed_s": round(elapsed_s, 3),
    }
    if str(out) == "-":
        return
    if json:
        print_json(report)
        return
    seen = ", ".join(f"{len(ids)} {label}" for label, ids in sorted(tracks.items())) or "none"
    console.print(
        f"{path}: {count} predictions of {span_s:.1f} s in {elapsed_s:.1f} s, loading included"
        f" ({span_s / elapsed_s:.1f} x real time)\ntracks: {seen}\nrungs: {dict(rungs)}",
        highlight=False,
    )
