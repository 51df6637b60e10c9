"""fusion-rt bench ..."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from fusion_rt.commands.common import DrivingFirst, Json, console, errors, print_json, print_table, progress

benchmarks = typer.Typer(
    help="Measure with real processes: the engines (`driving`, which may be left out), the bus beside its"
    " peers (`bus`), logs (`log`), the home's engine (`scene`), the way from its sensors to MQTT (`home`).",
    no_args_is_help=False,
    cls=DrivingFirst,
)


@benchmarks.command()
def driving(
    config: Annotated[
        str, typer.Argument(help="A file of configs/bench, or its name.", show_default="driving")
    ] = "driving",
    log: Annotated[str | None, typer.Option(help="Play this recording instead.")] = None,
    seconds: Annotated[float | None, typer.Option(min=1.0, help="Measure for so long, each engine.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables there.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw the stages there, as PNG or SVG.")] = None,
    json: Json = False,
) -> None:
    """Measure latency, throughput and memory with real processes on a recording; engines side by side.

    fusion-rt bench --seconds 30 --markdown out/bench.md
    """
    from msgspec.structs import replace

    from fusion_rt import config as typed
    from fusion_rt.bench import driving as engines
    from fusion_rt.bench import table
    from fusion_rt.bench.config import BenchConfig, recording
    from fusion_rt.scenario import find_file

    settings = typed.load(find_file(config, "bench"), BenchConfig)
    if log is not None:
        settings = replace(settings, log=log, sim=None)
    if seconds is not None:
        settings = replace(settings, seconds=seconds)
    with progress("simulating the recording, once") as advance:
        path = recording(settings, advance)
    result = engines.measure(settings, path, lambda line: errors.print(line, highlight=False))
    if json:
        print_json(result)
    else:
        console.print(table.render(result), highlight=False)
    if markdown is not None:
        markdown.write_text(table.markdown(result), encoding="utf-8")
    if plot is not None:
        from fusion_rt.bench.plot import stages

        stages(result, plot)


@benchmarks.command()
def bus(
    seconds: Annotated[float, typer.Option(min=1.0, help="Measure for so long, each row.")] = 10.0,
    load: Annotated[
        list[str] | None, typer.Option(help="Only this: image, image-3, points, imu, slow, rig. Repeat it.")
    ] = None,
    peer: Annotated[
        list[str] | None, typer.Option(help='Only this, such as "fusion_rt, loan" or pyzmq. Repeat it.')
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables there.")] = None,
    json: Json = False,
) -> None:
    """Our bus beside pyzmq, iceoryx2, zenoh and dora, with the same loads in one run.

    The extra bench-bus brings the peers; those that are not installed are left out. All of it takes a quarter
    of an hour, for which the machine should have nothing else to do.

    fusion-rt bench bus --markdown docs/benchmarks/bus.md
    """
    from fusion_rt.bench.bus import measure, table
    from fusion_rt.bench.bus.figures import figures

    result = measure.measure(
        seconds=seconds,
        loads=load or (),
        peers=peer or (),
        say=lambda line: errors.print(line, highlight=False),
    )
    _tell(result, table, json, markdown, figures)


@benchmarks.command()
def log(
    seconds: Annotated[float, typer.Option(min=1.0, help="Record for so long, each rate.")] = 5.0,
    rate: Annotated[
        list[float] | None,
        typer.Option(min=50.0, help="MB/s for the recorder; repeat it. Else 400, 600, 800."),
    ] = None,
    seek_gb: Annotated[float, typer.Option(min=0.0, help="Of the log to seek in; 0 leaves it out.")] = 10.0,
    folder: Annotated[Path | None, typer.Option(help="To write and read in; else /dev/shm.")] = None,
    seek_folder: Annotated[
        Path | None, typer.Option(help="For the log to seek in; else the temporary folder.")
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables there.")] = None,
    json: Json = False,
) -> None:
    """Recorder, its report of losses, reading and seeking, with real processes and files.

    fusion-rt bench log --markdown docs/benchmarks/logs.md

    Memory for `--folder` and a disk with room for `--seek-gb` are needed; both are empty again afterwards.
    """
    from fusion_rt.bench.log import measure, table

    result = measure.measure(
        folder=folder,
        seek_folder=seek_folder,
        seconds=seconds,
        seek_gb=seek_gb,
        rates=tuple(rate or (400.0, 600.0, 800.0)),
        say=lambda line: errors.print(line, highlight=False),
    )
    _tell(result, table, json, markdown, table.figures)


@benchmarks.command()
def home(
    cameras: Annotated[
        list[int] | None,
        typer.Option(min=0, max=4, help="So many cameras; may be repeated. Else 2, then none, then 4."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=1.0, help="Measure for so long: for each number of cameras twice.")
    ] = 30.0,
    rate: Annotated[float, typer.Option(min=0.1, max=200.0, help="Events a second.")] = 5.0,
    stand_in: Annotated[
        bool,
        typer.Option("--stand-in", help="The edge alone: a small home, and scenes without a model."),
    ] = False,
    plan: Annotated[
        str, typer.Option("--plan", "-p", help="With --stand-in: a YAML file, or a bundled name.")
    ] = "flat",
    host: Annotated[str, typer.Option(help="With --stand-in: of a broker, with --port.")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Of a broker; else a Mosquitto of our own is started."),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write the table there.")] = None,
    json: Json = False,
) -> None:
    """A whole home: what each process takes, and the time from an event to the broker's clients.

    fusion-rt bench home --seconds 60

    fusion-rt bench home --stand-in --rate 20

    10 rooms, 40 sensors, 2 microphones and cameras, each node a process of its own beside Mosquitto; the time
    is from the stamp of a contact, a motion sensor or a radar until a client of the broker has what was
    concluded. Whatever else runs on the machine disturbs it.
    """
    from fusion_rt.errors import ConfigError

    if port is not None and not stand_in:
        raise ConfigError("--port goes with --stand-in: the whole home starts a Mosquitto of its own")
    if stand_in:
        _edge_alone(plan, seconds, rate, host, port, markdown, json)
        return
    from fusion_rt.bench.home import whole, whole_table

    result = whole.measure(
        cameras=tuple(cameras or (2, 0, 4)),
        seconds=seconds,
        rate_hz=rate,
        say=lambda line: errors.print(line, highlight=False),
    )
    _tell(result, whole_table, json, markdown, whole_table.figures)


def _edge_alone(
    plan: str, seconds: float, rate: float, host: str, port: int | None, markdown: Path | None, json: bool
) -> None:
    from fusion_rt.bench.home import measure, table
    from fusion_rt.sinks.mqtt import Broker

    result = measure.measure(
        plan=plan,
        seconds=seconds,
        rate_hz=rate,
        broker=None if port is None else Broker(host=host, port=port),
        say=lambda line: errors.print(line, highlight=False),
    )
    _tell(result, table, json, markdown)


@benchmarks.command()
def scene(
    plan: Annotated[str, typer.Option(help="A plan's YAML file, or a bundled one.")] = "flat",
    seconds: Annotated[float, typer.Option(min=5.0, help="Of simulated time.")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the people.")] = 1,
    model: Annotated[str, typer.Option(help="A bundled network by name, or a package's folder.")] = "home-s",
    threads: Annotated[int, typer.Option(min=1, help="Of the network.")] = 1,
    json: Json = False,
) -> None:
    """How long the home's engine takes for a scene, by stage: on simulated packets, as fast as it can.

    fusion-rt bench scene --seconds 120
    """
    from fusion_rt.bench import scene as measuring
    from fusion_rt.home.config import HomeConfig
    from fusion_rt.scenario import load_plan

    loaded = load_plan(plan)
    found = measuring.measure(loaded, HomeConfig(model=model, threads=threads), seconds=seconds, seed=seed)
    if json:
        print_json(found)
    else:
        print_table(measuring.render(found))


def _tell(
    result: Any,
    table: Any,
    json: bool,
    markdown: Path | None,
    figures: Callable[[Any], Any] | None = None,
) -> None:
    """table: the module that draws the result. figures: what it is held to, beside it in JSON."""
    if json:
        print_json(result if figures is None else {"result": result, "figures": figures(result)})
    else:
        print_table(table.render(result))
    if markdown is not None:
        markdown.write_text(table.markdown(result), encoding="utf-8")
