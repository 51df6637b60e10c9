"""fusion-rt model add | show: detectors of one's own beside the network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fusion_rt.commands.common import Json, Model, console, print_json

models = typer.Typer(help="Detectors of your own, as more evidence: docs/detectors.md.", no_args_is_help=True)


@models.command()
def add(
    file: Annotated[Path, typer.Argument(help="An ONNX file.")],
    recipe: Annotated[
        str,
        typer.Option("--as", help="What it wants and gives: a YAML file, or the name of a bundled recipe."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write.", show_default=False)],
    model: Model = "driving-s",
) -> None:
    """Check a detector's file against a recipe, run it once, and make a folder that the engine can use.

    fusion-rt model add FastestDet.onnx --as fastestdet --out detectors/fastestdet
    """
    from fusion_rt.detectors import folder
    from fusion_rt.models.package import ModelPackage
    from fusion_rt.scenario import find_file

    classes = ModelPackage.load(model).spec.classes
    added = folder.add(file, find_file(recipe, "detectors"), out, classes=classes)
    _say(f"{out}: {added.identity}, for a {added.recipe.sensor}")
    _say(f"what it gains: fusion-rt eval kitti DIR --detector {out}")
    use = f"{added.recipe.name}: {{model: {out}, sensor: {added.recipe.sensor}}}"
    _say(f"in a scenario, under `fusion`: detectors: {{{use}}}")


@models.command()
def show(
    folder: Annotated[Path, typer.Argument(help="A folder of `fusion-rt model add`.")], json: Json = False
) -> None:
    """What a detector's folder holds; its file is checked.

    fusion-rt model show detectors/fastestdet
    """
    from fusion_rt.detectors import folder as folders

    described = folders.read(folder)
    recipe = described.recipe
    if json:
        print_json({"identity": described.identity, "recipe": recipe})
        return
    _say(f"{described.identity}: family {recipe.__struct_config__.tag}, for a {recipe.sensor}")
    for theirs in recipe.class_map:
        _say(f"  {theirs} -> {', '.join(recipe.ours(theirs))}")
    dropped = len(recipe.classes) - len(recipe.class_map)
    _say(f"  {dropped} more of its classes are dropped; scores from {recipe.score_threshold:g}")
    _say(f"  sha256 {recipe.sha256}")


def _say(line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
