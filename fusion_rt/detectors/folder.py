"""A detector's folder: model.onnx and detector.yaml."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from fusion_rt import config
from fusion_rt.detectors.image_detector import ImageDetector
from fusion_rt.detectors.image_recipe import BoxesRecipe, GridRecipe, ImageRecipe, YoloxRecipe
from fusion_rt.detectors.point_detector import PointDetector
from fusion_rt.detectors.point_recipe import AnchorsRecipe, BevHeatmapRecipe, PointRecipe
from fusion_rt.detectors.recipe import Recipe, nearest
from fusion_rt.device import CpuDevice, Device
from fusion_rt.errors import ConfigError, EngineError
from fusion_rt.models.package import digest

MODEL, RECIPE = "model.onnx", "detector.yaml"
FAMILIES: dict[str, type[Recipe]] = {
    str(family.__struct_config__.tag): family
    for family in (GridRecipe, YoloxRecipe, BoxesRecipe, BevHeatmapRecipe, AnchorsRecipe)
}


class Described(NamedTuple):
    """A folder that was read: its recipe, and its identity "name-<8 hex digits of recipe and model>"."""

    folder: Path
    recipe: Recipe
    identity: str


def load_recipe(path: str | Path) -> Recipe:
    """The recipe of a YAML file. Raises ConfigError."""
    data: dict[str, Any] = config.load(path, dict[str, Any])
    family = data.get("family")
    if not isinstance(family, str) or family not in FAMILIES:
        what = "missing" if family is None else f"{family!r} is not known"
        raise ConfigError(f"{path}: family: {what}{nearest(str(family), tuple(FAMILIES))}")
    return config.convert(data, FAMILIES[family], str(path))


def read(folder: str | Path) -> Described:
    """The folder's recipe, checked against its model. Raises ConfigError, EngineError."""
    place = Path(folder).expanduser()
    if not (place / RECIPE).is_file():
        raise ConfigError(f"{folder}: no {RECIPE} there; make the folder with `fusion-rt model add`")
    recipe = load_recipe(place / RECIPE)
    if not (place / MODEL).is_file():
        raise EngineError(f"{place / MODEL}: missing; add the model again")
    found = digest(place / MODEL)
    if found != recipe.sha256:
        raise EngineError(
            f"{place / MODEL}: sha256 {found[:12]}... is not {recipe.sha256[:12]}... of {RECIPE}: the file is"
            " damaged or another one; add the model again"
        )
    described = hashlib.sha256(msgspec.json.encode(recipe)).hexdigest()
    return Described(place, recipe, f"{recipe.name}-{described[:8]}")


def load(folder: str | Path, *, classes: tuple[str, ...], device: Device) -> ImageDetector | PointDetector:
    """The detector of a folder, ready to look; classes: ours. Raises ConfigError, EngineError."""
    described = read(folder)
    try:
        return _detector(described, described.folder / MODEL, classes, device)
    except ConfigError as error:
        raise ConfigError(f"{described.folder / RECIPE}: {error}") from error


def add(model: Path, recipe_path: Path, out: Path, *, classes: tuple[str, ...]) -> Described:
    """Checks an ONNX file against a recipe, runs it once, and writes the folder `out`.

    Raises ConfigError: the recipe is wrong, names a class that is not ours, or the folder cannot be written.
    EngineError: the file is none, or has other names or shapes than the recipe says. Then nothing is
    written."""
    recipe = load_recipe(recipe_path)
    if not model.is_file():
        raise EngineError(f"{model}: no such model file")
    weights = model.with_name(f"{model.name}.data")
    if weights.is_file():
        raise EngineError(
            f"{model}: its weights are in {weights.name}; one file is needed:"
            " torch.onnx.export(..., external_data=False)"
        )
    found = digest(model)
    if recipe.sha256 not in ("", found):
        raise ConfigError(
            f"{recipe_path}: sha256 {recipe.sha256[:12]}... is of another file than {model}"
            f" ({found[:12]}...); take the file that the recipe is for, or leave sha256 out"
        )
    recipe = msgspec.structs.replace(recipe, sha256=found)
    try:
        _detector(Described(out, recipe, recipe.name), model, classes, CpuDevice(1))
    except ConfigError as error:
        raise ConfigError(f"{recipe_path}: {error}") from error
    try:
        out.mkdir(parents=True, exist_ok=True)
        if model.resolve() != (out / MODEL).resolve():
            shutil.copyfile(model, out / MODEL)
        (out / RECIPE).write_text(_yaml(recipe), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out}: cannot be written: {error}") from error
    return read(out)


def _detector(
    described: Described, model: Path, classes: tuple[str, ...], device: Device
) -> ImageDetector | PointDetector:
    recipe, identity = described.recipe, described.identity
    if isinstance(recipe, ImageRecipe):
        return ImageDetector(model, recipe, identity, classes=classes, threads=device.threads)
    assert isinstance(recipe, PointRecipe)
    return PointDetector(model, recipe, identity, classes=classes, device=device)


def _yaml(recipe: Recipe) -> str:
    plain: dict[str, Any] = msgspec.to_builtins(recipe)
    return yaml.safe_dump(plain, sort_keys=False, width=110, default_flow_style=None)
