"""fusion-rt eval [sim | drive | kitti | tracking | ego | explain], or driving's all by --suite."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from fusion_rt.commands import reports
from fusion_rt.commands.common import (
    Address,
    AtOnce,
    Json,
    Model,
    Odometry,
    Precision,
    Runtime,
    console,
    left_out,
    print_json,
    print_table,
    progress,
)
from fusion_rt.commands.reports import Engine, Judged
from fusion_rt.errors import LogError

evaluations = typer.Typer(
    help="Judge accuracy by the field's own definitions; alone: on simulated worlds that training never saw.",
    invoke_without_command=True,
)

Draw = Annotated[
    Path | None, typer.Option(help="Write a picture of every frame there: found, missed, false.")
]
Against = Annotated[
    str | None,
    typer.Option(help="Tell the gain over another model, or over another precision of this one: f32, ..."),
]
SCENES, SUITE_SCENES, SEED = 60, 100, 1001
DRIVE_SEED = 1001  # of the first streets from SEED on with a crowd and cyclists along the way


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


class Recordings(NamedTuple):
    """Real recordings for the suite, each where it lies; None: not at hand."""

    kitti: Path | None
    tracking: Path | None
    ego: Path | None


@evaluations.callback()
def default(
    context: typer.Context,
    suite: Annotated[
        str | None, typer.Option(help="driving or home: all that docs/benchmarks says of it, in one run.")
    ] = None,
    kitti: Annotated[
        Path | None, typer.Option(help="For the suite: a folder in KITTI's object layout.")
    ] = None,
    tracking: Annotated[
        Path | None,
        typer.Option(help="For the suite: KITTI tracking's label_02, calib, det_3d* and det_2d*."),
    ] = None,
    ego: Annotated[
        Path | None, typer.Option(help="For the suite: oxts files, or comma2k19 segments.")
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option("--home-data", help="For the suite home: what `eval home-data` and `eval sounds` take."),
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(help="For the suite: keep its scenes, drives and result files there.")
    ] = None,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    json: Json = False,
) -> None:
    if context.invoked_subcommand is not None:
        given = [name for name in context.params if _typed(context, name)]
        if given:
            raise typer.BadParameter(f"give --{given[0]} after {context.invoked_subcommand}, if it has that")
        return
    if suite is None:
        sim(model=model, runtime=runtime, precision=precision, json=json)
        return
    if suite == "home":
        from fusion_rt.commands import home_reports

        parts = home_reports.suite(runtime, recordings)
    elif suite == "driving":
        with tempfile.TemporaryDirectory() as passing:
            parts = _driving(
                Engine(model, runtime, precision), Recordings(kitti, tracking, ego), keep or Path(passing)
            )
    else:
        raise typer.BadParameter(f"suite {suite!r} is not one of driving, home")
    for judged in parts.values():
        left_out(getattr(judged.report, "skipped", ()))
    if json:
        print_json({name: judged.report for name, judged in parts.items()})
        return
    for name, judged in parts.items():
        console.rule(name.replace("_", " "))
        print_table(judged.render(judged.report))


@evaluations.command()
def sim(
    scenes: Annotated[int, typer.Option(min=1, help="How many worlds.")] = SCENES,
    seed: Annotated[int, typer.Option(min=0, help="Of the worlds; the bundled model knows seed 1.")] = SEED,
    frames: Annotated[
        Path | None, typer.Option(help="Keep the scenes there, and take those that are there.")
    ] = None,
    draw: Draw = None,
    disturbed: Annotated[
        bool,
        typer.Option("--disturbed", help="Also in fog, in rain, in the dark, with parts of the lidar lost."),
    ] = False,
    against: Against = None,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Simulated worlds: each is driven through for two frames, with each set of sensors.

    fusion-rt eval sim --scenes 200 --frames out/heldout

    fusion-rt eval sim --scenes 300 --seed 4004 --against f32
    """
    engine = Engine(model, runtime, precision)
    if disturbed:
        if against is not None:
            raise typer.BadParameter("--against does not go with --disturbed: ask for one after the other")
        _show(reports.disturbed_worlds(engine, scenes=scenes, seed=seed, frames=frames, draw=draw), json)
        return
    other = _other(engine, against)
    _show(reports.worlds(engine, scenes=scenes, seed=seed, frames=frames, draw=draw, against=other), json)


@evaluations.command()
def drive(
    folder: Annotated[Path, typer.Argument(help="Recordings NAME.mcap, each with NAME.truth.jsonl.")],
    simulate: Annotated[
        int, typer.Option(min=0, help="Have so many there, of seeds from --seed on: what lacks is simulated.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first drive.")] = DRIVE_SEED,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    odometry: Odometry = False,
    workers: AtOnce = None,
    address: Address = None,
    json: Json = False,
) -> None:
    """The whole engine on drives whose truth is known: tracks, velocities, forecasts.

    fusion-rt eval drive out/drives --simulate 3

    fusion-rt eval drive out/drives --workers 4
    """
    from fusion_rt.batch.mapping import Workers

    engine, hands = Engine(model, runtime, precision, odometry), Workers.of(workers, address)
    _show(reports.drives(engine, folder, simulate=simulate, seed=seed, workers=hands), json)


@evaluations.command()
def home(
    homes: Annotated[int, typer.Option(min=1, help="How many, each with other people.")] = 6,
    hours: Annotated[float, typer.Option(min=0.05, help="Of each; much happens in an hour there.")] = 0.25,
    seed: Annotated[int, typer.Option(min=0, help="Of the first; training knows 1,000 to 9,999.")] = 500_000,
    plan: Annotated[
        str | None, typer.Option(help="One plan for all, a YAML file or a bundled one; else another each.")
    ] = None,
    pace: Annotated[
        float, typer.Option(min=0.1, max=30, help="Of life: 3 hours' moves in one; 1 is as people live.")
    ] = 3.0,
    singles: Annotated[
        bool, typer.Option("--singles", help="With --plan: also what each single sensor is worth.")
    ] = False,
    model: Annotated[str, typer.Option(help="A bundled network by name, or a package's folder.")] = "home-s",
    runtime: Runtime = "openvino",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    json: Json = False,
) -> None:
    """Simulated homes: rooms, people, postures, activities, events; each modality alone and each lost.

    fusion-rt eval home --homes 6 --hours 0.25

    fusion-rt eval home --plan flat --singles --homes 1
    """
    from fusion_rt.evaluation.home import report, simulated
    from fusion_rt.home.config import HomeConfig
    from fusion_rt.scenario import load_plan

    if singles and plan is None:
        raise typer.BadParameter("goes with --plan: other plans have other sensors", param_hint="--singles")
    loaded = None if plan is None else load_plan(plan)
    config = HomeConfig(model=model, runtime=runtime)
    with progress("homes") as advance:
        found = simulated.judge(
            homes, hours, seed=seed, plan=loaded, config=config, singles=singles, pace=pace, show=advance
        )
    if json:
        print_json(found)
    elif markdown:
        console.print(report.markdown(found), markup=False, highlight=False, soft_wrap=True)
    else:
        print_table(report.render(found))


@evaluations.command()
def kitti(
    folder: Annotated[Path, typer.Argument(help="image_2, velodyne, calib, and label_2 if there.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write KITTI result files there.")] = None,
    draw: Draw = None,
    detector: Annotated[
        Path | None,
        typer.Option(help="A folder of `fusion-rt model add`: more rows, with what that detector says."),
    ] = None,
    against: Against = None,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    json: Json = False,
) -> None:
    """A folder in the layout of KITTI's object benchmark: accuracy, and standard result files.

    fusion-rt eval kitti kitti/training --out results
    """
    engine = Engine(model, runtime, precision)
    judged = reports.kitti_frames(
        engine, folder, out=out, draw=draw, detector=detector, against=_other(engine, against)
    )
    _show(judged, json)


@evaluations.command()
def tracking(
    detections: Annotated[
        Path, typer.Option(help="Public boxes in three dimensions: {Car,Pedestrian,Cyclist}/SSSS.txt.")
    ],
    labels: Annotated[Path, typer.Option(help="label_02; calib/ and the vehicle's way lie beside it.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Write KITTI result files there.")],
    image_boxes: Annotated[
        Path | None, typer.Option(help="Public boxes in the image, fused with the others.")
    ] = None,
    poses: Annotated[
        Path | None,
        typer.Option(help="The camera's poses, SSSS.txt; else ego*/ or oxts/ beside the labels."),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, as configs/eval/tracking.yaml.")] = None,
    json: Json = False,
) -> None:
    """Our tracker on detections that others published, in the layout of KITTI's tracking benchmark.

    fusion-rt eval tracking --detections kitti/det_3d_pointrcnn --labels kitti/label_02 --out results
    """
    judged = reports.public_detections(
        detections, labels, out, image_boxes=image_boxes, poses=poses, config=config
    )
    _show(judged, json)


@evaluations.command()
def ego(
    folder: Annotated[Path, typer.Argument(help="oxts files, or segments of comma2k19.")],
    json: Json = False,
) -> None:
    """Our pose filter on recordings of GNSS and IMU: as they are, with noise, multipath and outages.

    fusion-rt eval ego kitti/oxts
    """
    _show(reports.roads(folder), json)


@evaluations.command()
def explain(
    log: Annotated[Path, typer.Argument(help="A recording.")],
    at: Annotated[float | None, typer.Option(help="Only the answer so many seconds after its start.")] = None,
    draw: Annotated[Path | None, typer.Option(help="Write heat maps there, seen from above.")] = None,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Which of lidar, camera and memory carries each object, by its own account and by leaving each out.

    fusion-rt eval explain drive.mcap --at 3
    """
    _show(reports.explanation(Engine(model, runtime, precision), log, at_s=at, draw=draw), json)


def _driving(engine: Engine, real: Recordings, folder: Path) -> dict[str, Judged]:
    """Everything that is said about driving, by name; without a folder of recordings, without that part."""
    # Looked for first: the worlds take minutes.
    detections = [_only(real.tracking, f"det_{n}d*") for n in (3, 2)] if real.tracking else []
    parts = {
        "worlds": reports.worlds(engine, scenes=SUITE_SCENES, seed=SEED, frames=folder / "worlds"),
        "drive": reports.drives(engine, folder / "drives", simulate=1, seed=DRIVE_SEED),
    }
    if real.kitti:
        parts["kitti"] = reports.kitti_frames(engine, real.kitti, out=folder / "kitti")
    if real.tracking:
        (boxes, image_boxes), labels = detections, real.tracking / "label_02"
        parts["tracking"] = reports.public_detections(boxes, labels, folder / "tracks")
        parts["tracking_with_image"] = reports.public_detections(
            boxes, labels, folder / "tracks_with_image", image_boxes=image_boxes
        )
    if real.ego:
        parts["ego"] = reports.roads(real.ego)
    return parts


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(path for path in folder.glob(pattern) if path.is_dir())
    if len(found) != 1:
        raise LogError(f"{folder}: {len(found)} folders {pattern}, expected one")
    return found[0]


def _other(engine: Engine, against: str | None) -> Engine | None:
    """Another precision of the same model, or another model in the same precision."""
    from fusion_rt.models.package import PRECISIONS

    if against is None:
        return None
    if against in PRECISIONS:
        return engine._replace(precision=against)
    return engine._replace(model=against)


def _show(judged: Judged, json: bool) -> None:
    """What was left out as errors, then the report as JSON or drawn."""
    left_out(judged.report.skipped)
    if json:
        print_json(judged.report)
    else:
        print_table(judged.render(judged.report))
