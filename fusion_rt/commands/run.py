"""fusion-rt run | node | replay | record: the pipeline at work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fusion_rt.commands import offline
from fusion_rt.commands.common import (
    Address,
    AtOnce,
    Json,
    Model,
    Odometry,
    Precision,
    Runtime,
    console,
    errors,
    print_json,
)

if TYPE_CHECKING:
    from fusion_rt.plan import Plan
    from fusion_rt.scenario import Scenario

VEHICLE = "driving-s"  # the network, where none is named and the recording is no home's
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
    start: Annotated[float, typer.Option("--start", "--from", min=0, help="Seconds to leave out.")] = 0.0,
    until: Annotated[float | None, typer.Option(min=0, help="Stop at this second of the recording.")] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end.")] = False,
    paused: Annotated[
        bool, typer.Option("--paused", help="Wait for the space bar before the start.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only this sensor; may be repeated.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Not this sensor, so that a live one can take its place; may be repeated."),
    ] = None,
    remap: Annotated[
        list[str] | None,
        typer.Option(help="SENSOR=NAME: play it under another name, lidar=lidar_top; may be repeated."),
    ] = None,
    stamps: Annotated[
        Literal["kept", "now"],
        typer.Option(help="As recorded, or shifted to now, for use with live sensors."),
    ] = "kept",
    fast: Annotated[
        bool, typer.Option("--fast", help="As fast as possible, without sockets: the same bytes each time.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="With --fast: a JSON line a prediction, - for stdout; a folder's: a folder."
        ),
    ] = None,
    model: Model = VEHICLE,
    runtime: Runtime = "auto",
    precision: Precision = None,
    odometry: Odometry = False,
    threads: Threads = None,
    workers: AtOnce = None,
    address: Address = None,
    again: Annotated[bool, typer.Option("--again", help="Of a folder: also what is there already.")] = False,
    duration: Duration = None,
    json: Json = False,
) -> None:
    """Play a recording into the engine: through the live nodes, or offline with --fast. A home's recording
    goes, live, into the home's engine.

    fusion-rt replay drive.mcap --from 12.5 --speed 0.5

    fusion-rt replay drive.mcap --without camera --stamps now

    fusion-rt replay drive.mcap --fast --out predictions.jsonl

    fusion-rt replay drives --fast --out predictions --workers 4

    Live, the space bar pauses, arrows seek 5 s, + and - change the speed.
    """
    from fusion_rt import config as typed
    from fusion_rt.batch.mapping import Workers
    from fusion_rt.errors import ConfigError
    from fusion_rt.pipeline import PipelineConfig
    from fusion_rt.scenario import locate

    path = locate(log)
    hands = Workers.of(workers, address, threads)
    engine: dict[str, Any] = {"model": model, "runtime": runtime, "precision": precision}
    engine["threads"] = hands.threads
    engine["ego"] = {"odometry": {"enabled": odometry}}
    if not path.is_dir() and (workers is not None or address is not None or again):
        raise ConfigError(
            f"{path} is one recording: --workers, --address and --again are for a folder of them"
        )
    if fast:
        live = loop or paused or start or until is not None or only or without or remap or stamps != "kept"
        if live or duration is not None:
            raise ConfigError(
                "--fast reads the recording once, as it is: leave out --loop, --duration, --from and the"
                " like; `fusion-rt log cut` makes a recording of a part of another"
            )
        config = typed.convert(engine, PipelineConfig, "replay")
        if path.is_dir():
            offline.folder(path, config, out, hands, again=again, json=json)
        else:
            offline.one(path, config, out, json)
        return
    if out is not None:
        raise ConfigError("--out goes with --fast; use `fusion-rt record` beside a live replay")
    if path.is_dir():
        raise ConfigError(f"{path}: a folder of recordings is replayed with --fast")
    settings: dict[str, Any] = {
        "log": log,
        "speed": speed,
        "start_s": start,
        "until_s": until,
        "loop": loop,
        "paused": paused,
        "topics": only or [],
        "without": without or [],
        "remap": _pairs(remap or []),
        "stamps": stamps,
    }
    _replay_live(path, settings, engine, duration, json)


def _pairs(words: list[str]) -> dict[str, str]:
    from fusion_rt.errors import ConfigError

    pairs = dict(word.partition("=")[::2] for word in words)
    if len(pairs) < len(words) or not all(pairs.values()):
        raise ConfigError(f"--remap {' '.join(words)}: expected SENSOR=NAME, each sensor once")
    return pairs


def _replay_live(
    path: Path, settings: dict[str, Any], engine: dict[str, Any], duration: float | None, json: bool
) -> None:
    """What is wrong is said now, not by nodes that are started again and again."""
    import tempfile

    from fusion_rt import config as typed
    from fusion_rt import logs
    from fusion_rt.bus import BusConfig
    from fusion_rt.logs.rigs import renamed
    from fusion_rt.nodes import replay as node
    from fusion_rt.scenario import Scenario

    checked = typed.convert(settings, node.ReplayConfig, "replay")
    with logs.open(path) as opened:
        node.names(checked, opened.modalities())
        rig, plan = opened.rig, opened.plan
    if plan is not None and not rig.modalities():
        _replay_home(plan, settings, engine, duration, json)
        return
    with tempfile.TemporaryDirectory(prefix="fusion-rt-") as folder:
        rig_file = settings["log"]
        if settings["remap"]:
            rig_file = str(Path(folder) / "rig.yaml")
            Path(rig_file).write_text(renamed(rig, settings["remap"]).to_yaml(), encoding="utf-8")
        nodes = {"replay": {**settings, "ends_run": True}, "fusion": {"rig": rig_file, **engine}}
        _supervise(Scenario(bus=BusConfig(), nodes=nodes), "replay", duration, json, steer="replay")


def _replay_home(
    plan: Plan, settings: dict[str, Any], engine: dict[str, Any], duration: float | None, json: bool
) -> None:
    """The home's own engine; of what is said of a vehicle's, only what it has, too."""
    import tempfile

    from fusion_rt.bus import BusConfig
    from fusion_rt.errors import ConfigError
    from fusion_rt.logs.rigs import renamed_plan
    from fusion_rt.scenario import Scenario

    if engine["precision"] is not None or engine["ego"]["odometry"]["enabled"]:
        raise ConfigError(
            f"{settings['log']}: a home's recording: --precision and --odometry are a vehicle's"
        )
    of_home = {} if engine["model"] == VEHICLE else {"model": engine["model"]}
    of_home |= {} if engine["runtime"] == "auto" else {"runtime": engine["runtime"]}
    with tempfile.TemporaryDirectory(prefix="fusion-rt-") as folder:
        plan_file = settings["log"]
        if settings["remap"]:
            plan = renamed_plan(plan, settings["remap"]) or plan
            plan_file = str(Path(folder) / "plan.yaml")
            Path(plan_file).write_text(plan.to_yaml(), encoding="utf-8")
        nodes = {"replay": {**settings, "ends_run": True}, "home": {"plan": plan_file, **of_home}}
        _supervise(Scenario(bus=BusConfig(), nodes=nodes), "replay", duration, json, steer="replay")


def record(
    out: Annotated[Path, typer.Option("--out", "-o", help="The log to write; NAME-1.mcap where it exists.")],
    config: ConfigOption = "driving",
    topic: Annotated[
        list[str] | None, typer.Option("--topic", "-t", help="Only this topic; may be repeated.")
    ] = None,
    rig: Annotated[
        str | None,
        typer.Option(help="The sensors: a YAML file or a recording. Else the `rig` of the scenario's nodes."),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(help="The same of a home. Else the `plan` of the scenario's nodes."),
    ] = None,
    split_size: Annotated[
        str | None, typer.Option(help="A new file, NAME_001.mcap, ..., before one is larger: 1GB.")
    ] = None,
    split_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="A new file when one spans so many seconds.")
    ] = None,
    snapshot: Annotated[
        float | None,
        typer.Option(
            min=0.1,
            help="Keep so many seconds in memory, and save them on SIGUSR1, on `fusion-rt tell recorder"
            " snapshot`, and on messages of --snapshot-on.",
        ),
    ] = None,
    snapshot_on: Annotated[
        list[str] | None, typer.Option(help="A topic whose messages save a snapshot; may be repeated.")
    ] = None,
    compression: Annotated[
        Literal["lz4", "zstd", "none"], typer.Option(help="none is the fastest, zstd the smallest.")
    ] = "lz4",
    h264: Annotated[
        bool, typer.Option("--h264", help="Keep images as H.264: smaller, not exact, a camera a core.")
    ] = False,
    crf: Annotated[
        int, typer.Option(min=0, max=51, help="Quality with --h264: 18 visually lossless, 28 visibly less.")
    ] = 23,
    buffer_mb: Annotated[
        int, typer.Option(min=1, help="May wait for a slow disk, or be in a snapshot.")
    ] = 512,
    name: Annotated[
        str, typer.Option(help="Of this recorder, where several run: what `fusion-rt tell` calls it.")
    ] = "recorder",
    duration: Duration = None,
    json: Json = False,
) -> None:
    """Record what the nodes of a running scenario say, until Ctrl-C. What is lost is said in the log.

    fusion-rt record -o drive.mcap --config configs/driving.yaml

    fusion-rt record -o drive.mcap --split-size 1GB

    fusion-rt record -o event.mcap --snapshot 30

    fusion-rt record -o evening.mcap --config my_home.yaml
    """
    import threading

    from fusion_rt import scenario, telling
    from fusion_rt.bus import Bus
    from fusion_rt.nodes import recorder
    from fusion_rt.payloads import H264

    path = scenario.find_file(config)
    loaded = scenario.load(path)
    sensors = {"rig": rig, "plan": plan} if rig or plan else scenario.sensors_of(loaded, path)
    settings = recorder.RecorderConfig(
        path=str(out.expanduser()),
        **sensors,
        topics=tuple(topic or ()),
        buffer_mb=buffer_mb,
        compression=compression,
        h264=H264(crf=crf) if h264 else None,
        split_size=split_size,
        split_seconds=split_seconds,
        snapshot_s=snapshot,
        snapshot_on=tuple(snapshot_on or ()),
        commands=telling.topic(name),
    )
    with Bus(loaded.bus, name) as bus:
        bus.stop_on_signals()
        if duration is not None:
            timer = threading.Timer(duration, bus.stop)
            timer.daemon = True
            timer.start()
        what = "recording" if snapshot is None else f"keeping {snapshot:g} s in memory for a snapshot"
        errors.print(f"{what}; Ctrl-C stops", highlight=False)
        paths = recorder.run(settings, bus)
        counts = dict(bus.detail)
    written, lost = int(counts.get("written", 0)), int(counts.get("lost", 0))
    if json:
        print_json({"paths": [str(p) for p in paths], "written": written, "lost": lost})
        return
    size = sum(p.stat().st_size for p in paths) / 1e6
    names = ", ".join(map(str, paths)) or "nothing saved"
    text = f"{names}: {written} messages, {size:.1f} MB, {lost} lost"
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    if lost:
        console.print(f"which ones: fusion-rt log info {paths[0]}", markup=False, highlight=False)


def tell(
    name: Annotated[str, typer.Argument(help="The node: recorder, replay.")],
    words: Annotated[
        list[str],
        typer.Argument(help="snapshot; pause, resume, toggle; seek 12.5, seek +5, seek -5; speed 0.5."),
    ],
    config: ConfigOption = "driving",
) -> None:
    """Tell a running node something: a recorder to save its snapshot, a replay to pause.

    fusion-rt tell recorder snapshot

    fusion-rt tell replay seek 12.5
    """
    from fusion_rt import scenario, telling
    from fusion_rt.bus import Bus

    intent, slots = telling.parse(words)
    with Bus(scenario.load(scenario.find_file(config)).bus) as bus:
        telling.tell(bus, name, intent, slots)


def _supervise(
    loaded: Scenario, source: str, duration: float | None, json: bool, steer: str | None = None
) -> None:
    """steer: the node that the keys are for."""
    from fusion_rt import supervisor
    from fusion_rt.keyboard import Keys
    from fusion_rt.live_table import LiveTable, render_summary
    from fusion_rt.telling import Steering

    screen = errors if json else console  # where JSON is wanted, standard output is for it alone
    with Keys() as keys, Steering(loaded.bus, steer) as steering:
        steered = steer is not None and keys.available and screen.is_terminal
        with LiveTable(screen, hint=steering.HINT if steered else "Ctrl-C stops") as table:

            def show(status: supervisor.Status) -> None:
                table(status)
                if steered:
                    steering.press(keys.pressed())

            summary = supervisor.run(loaded, source=source, duration_s=duration, show=show, say=table.say)
    if json:
        print_json(summary)
    else:
        console.print(render_summary(summary))
    if duration is not None and not summary.predictions:
        errors.print("no prediction came: see the lines above", style="red")
        raise typer.Exit(1)
