"""fusion-rt eval [sim | kitti]"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

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
    from fusion_rt.evaluation.report import Report
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
    _show(report, json)


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

    perception = _perception(model, runtime, precision)
    with progress("looking") as advance:
        report = on_kitti.evaluate(folder, perception, out=out, advance=advance)
    _show(report, json)


def _perception(model: str, runtime: str, precision: str | None) -> Perception:
    from fusion_rt.device import CpuDevice
    from fusion_rt.models.package import ModelPackage
    from fusion_rt.perception import Perception

    return Perception(ModelPackage.load(model), CpuDevice(), runtime=runtime, precision=precision)


def _show(report: Report, json: bool) -> None:
    from fusion_rt.evaluation.report import render

    for line in report.skipped:
        errors.print(f"left out: {line}", highlight=False, markup=False, soft_wrap=True)
    if json:
        print_json(report)
    else:
        # A table that is cut to fit a narrow terminal hides its figures.
        Console(width=max(console.width, 104)).print(render(report), highlight=False)
