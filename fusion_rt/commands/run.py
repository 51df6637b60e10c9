"""fusion-rt run | node | replay | record: the pipeline at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fusion_rt.commands import offline
from fusion_rt.commands.common import (
    Address,
    AtOnce,
    Json,
    Model,
    Precision,
    Runtime,
    console,
    errors,
    print_json,
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
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=64,
        help="Of the kernels and of the network; else 2, or the share of each of --workers in the cores.",
    ),
]


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
    log: Annotated[
        str, typer.Argument(help="A recording, or bundled:drive.mcap; with --fast also a folder of them.")
    ],
    speed: Annotated[float, typer.Option(min=0.01, max=1000, help="1 is as it was recorded.")] = 1.0,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="As fast as possible, without sockets: the same bytes each time.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="With --fast: a JSON line a prediction, - for stdout; a folder's: a folder."
        ),
    ] = None,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    threads: Threads = None,
    workers: AtOnce = None,
    address: Address = None,
    again: Annotated[bool, typer.Option("--again", help="Of a folder: also what is there already.")] = False,
    duration: Duration = None,
    json: Json = False,
) -> None:
    """Play a recording into the engine: through the live nodes, or offline with --fast.

    fusion-rt replay drive.mcap --fast --out predictions.jsonl

    fusion-rt replay drives --fast --out predictions --workers 4
    """
    from fusion_rt import logs
    from fusion_rt.batch.mapping import Workers
    from fusion_rt.bus import BusConfig
    from fusion_rt.errors import ConfigError
    from fusion_rt.pipeline import PipelineConfig
    from fusion_rt.scenario import Scenario, locate

    path = locate(log)
    hands = Workers.of(workers, address, threads)
    engine: dict[str, Any] = {"model": model, "runtime": runtime, "precision": precision}
    engine["threads"] = hands.threads
    if not path.is_dir() and (workers is not None or address is not None or again):
        raise ConfigError(
            f"{path} is one recording: --workers, --address and --again are for a folder of them"
        )
    if fast:
        if loop or duration is not None:
            raise ConfigError("--fast reads the recording once: leave out --loop and --duration")
        if path.is_dir():
            offline.folder(path, PipelineConfig(**engine), out, hands, again=again, json=json)
        else:
            offline.one(path, PipelineConfig(**engine), out, json)
        return
    if out is not None:
        raise ConfigError("--out goes with --fast; use `fusion-rt record` beside a live replay")
    if path.is_dir():
        raise ConfigError(f"{path}: a folder of recordings is replayed with --fast")
    with logs.open(path):
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
