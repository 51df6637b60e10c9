"""fusion-rt eval [sim | drive | kitti | tracking | ego]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console, RenderableType

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
    from fusion_rt.perception import Perception

evaluations = typer.Typer(
    help="Judge accuracy by the field's own definitions; alone: on simulated worlds that training never saw.",
    invoke_without_command=True,
)

SCENES, SEED = 60, 1001


@evaluations.callback()
def default(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is None:
        sim(json=json)
    elif json:
        raise typer.BadParameter(f"give --json after {context.invoked_subcommand}")


@evaluations.command()
def sim(
    scenes: Annotated[int, typer.Option(min=1, help="How many worlds.")] = SCENES,
    seed: Annotated[int, typer.Option(min=0, help="Of the worlds; the bundled model knows seed 1.")] = SEED,
    frames: Annotated[
        Path | None, typer.Option(help="Keep the scenes there, and take those that are there.")
    ] = None,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    json: Json = False,
) -> None:
    """Simulated worlds: each is driven through for two frames, with each set of sensors.

    fusion-rt eval sim --scenes 200 --frames out/heldout
    """
    import tempfile

    from fusion_rt.evaluation import simulated
    from fusion_rt.evaluation.report import render

    perception = _perception(model, runtime, precision)
    with tempfile.TemporaryDirectory() as passing:
        folder = frames or Path(passing)
        with progress("simulating") as advance:
            for done in simulated.make_scenes(folder, scenes=scenes, seed=seed, workers=2):
                advance(done, scenes)
        with progress("looking") as advance:
            report = simulated.evaluate(
                simulated.scene_paths(folder, scenes=scenes, seed=seed),
                perception,
                source=f"{scenes} simulated worlds of seed {seed}",
                advance=advance,
            )
    _show(report, render, json)


@evaluations.command()
def drive(
    folder: Annotated[Path, typer.Argument(help="Recordings NAME.mcap, each with NAME.truth.jsonl.")],
    simulate: Annotated[
        int, typer.Option(min=0, help="Have so many there, of seeds from --seed on: what lacks is simulated.")
    ] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the first drive.")] = SEED,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    json: Json = False,
) -> None:
    """The whole engine on drives whose truth is known: tracks, velocities, forecasts.

    fusion-rt eval drive out/drives --simulate 3
    """
    from fusion_rt.evaluation import drive as on_drives
    from fusion_rt.models.package import ModelPackage
    from fusion_rt.pipeline import PipelineConfig

    with progress("simulating") as advance:
        for done in range(simulate):
            advance(done, simulate)
            on_drives.simulate(folder, seed + done)
    config = PipelineConfig(model=model, runtime=runtime, precision=precision)
    classes = ModelPackage.load(model).spec.classes
    with progress("driving") as advance:
        report = on_drives.evaluate(on_drives.pairs(folder), config, classes, advance=advance)
    _show(report, on_drives.render, json)


@evaluations.command()
def kitti(
    folder: Annotated[Path, typer.Argument(help="image_2, velodyne, calib, and label_2 if there.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write KITTI result files there.")] = None,
    model: Model = "driving-s",
    runtime: Runtime = "openvino",
    precision: Precision = None,
    json: Json = False,
) -> None:
    """A folder in the layout of KITTI's object benchmark: accuracy, and standard result files.

    fusion-rt eval kitti kitti/training --out results
    """
    from fusion_rt.evaluation import kitti as on_kitti
    from fusion_rt.evaluation.report import render

    perception = _perception(model, runtime, precision)
    with progress("looking") as advance:
        report = on_kitti.evaluate(folder, perception, out=out, advance=advance)
    _show(report, render, json)


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
    from fusion_rt.evaluation import tracking as on_tracking

    chosen = on_tracking.settings(config)
    sources = on_tracking.Sources.beside(detections, labels, image_boxes, poses)
    with progress("tracking") as advance:
        report = on_tracking.evaluate(sources, out, chosen, advance=advance)
    _show(report, on_tracking.render, json)


@evaluations.command()
def ego(
    folder: Annotated[Path, typer.Argument(help="oxts files, or segments of comma2k19.")],
    json: Json = False,
) -> None:
    """Our pose filter on recordings of GNSS and IMU: as they are, with noise, multipath and outages.

    fusion-rt eval ego kitti/oxts
    """
    from fusion_rt.evaluation import ego as on_roads

    with progress("driving") as advance:
        report = on_roads.evaluate(folder, advance=advance)
    _show(report, on_roads.render, json)


def _perception(model: str, runtime: str, precision: str | None) -> Perception:
    from fusion_rt.device import CpuDevice
    from fusion_rt.models.package import ModelPackage
    from fusion_rt.perception import Perception

    return Perception(ModelPackage.load(model), CpuDevice(), runtime=runtime, precision=precision)


def _show(report: Any, render: Callable[[Any], RenderableType], json: bool) -> None:
    """What was left out as errors, then the report as JSON or as `render` draws it."""
    for line in report.skipped:
        errors.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
    if json:
        print_json(report)
    else:
        # A table that is cut to fit a narrow terminal hides its figures.
        Console(width=max(console.width, 110)).print(render(report), highlight=False)
