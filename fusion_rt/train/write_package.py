"""A checkpoint as a model package: the exported files and the model.yaml that describes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from fusion_rt.errors import ConfigError
from fusion_rt.models.package import (
    LAYERS,
    PARTS,
    GridSpec,
    ImageSpec,
    ModelPackage,
    ModelSpec,
    ScoreFit,
    TensorSpec,
    digest,
)
from fusion_rt.models.presets import Preset
from fusion_rt.sim.frame_files import read_scene
from fusion_rt.train.checkpoint import load_average, read_checkpoint, samples_of
from fusion_rt.train.export import MAX_OBJECTS, export_float, tensor_shapes
from fusion_rt.train.geometry import MOST_POINTS, NEAR_M
from fusion_rt.train.half import write_half
from fusion_rt.train.packaged import mean_net
from fusion_rt.train.predict import DECODE_THRESHOLD, NMS_IOU
from fusion_rt.train.quantize import QUANTISED, Feed, part_inputs, quantize_part
from fusion_rt.train.samples import Use, collate, list_scenes, make_sample
from fusion_rt.train.step import TrainingNet

CONTEXT = (
    "speed m/s / 20",
    "yaw rate rad/s",
    "acceleration m/s^2 / 5",
    "ego state known",
    "lidar present",
    "camera present",
    "state present",
    "age of the state s / 0.2",
    *("0",) * 8,
)
BOX_CHANNELS = (
    "dx cells from the cell's centre",
    "dy cells from the cell's centre",
    "z m",
    "log length m",
    "log width m",
    "log height m",
    "sin 2 yaw",
    "cos 2 yaw",
    "vx m/s",
    "vy m/s",
    "log sigma x m",
    "log sigma y m",
    "log sigma z m",
    "log sigma log size",
    "log sigma yaw rad",
)
BOX_CONTEXT = (
    "x / 70",
    "y / 35",
    "z / 2",
    "log length",
    "log width",
    "log height",
    "sin yaw",
    "cos yaw",
    "vx / 10",
    "vy / 10",
    "logit score / 4",
    "is class 0",
    "is class 1",
    "is class 2",
    "log sigma x / 4",
    "log sigma yaw / 4",
)
DELTAS = (
    "along m",
    "across m",
    "z m",
    "log length",
    "log width",
    "log height",
    "sin 2 turn",
    "cos 2 turn - 1",
)


def write_package(
    checkpoint: Path,
    frames: Path,
    out: Path,
    *,
    scenes: int,
    thresholds: Sequence[float],
    version: str,
    mean_with: str | None = None,
) -> ModelPackage:
    """Export a checkpoint's averaged weights and calibrate INT8 on the first `scenes` scenes.

    thresholds: smallest score worth showing, one a class. mean_with: a package, by folder or name, halfway to
    which the weights are taken. Raises ConfigError for those or the checkpoint, LogError for the frames."""
    model, trained_with = load_average(checkpoint), _trained_with(checkpoint)
    if mean_with is not None:
        other = ModelPackage.load(mean_with)
        model.net = mean_net(model.net, other)
        trained_with += f"; the mean with {other.identity}"
    classes = model.preset.classes
    if len(thresholds) != len(classes) or not all(0 <= t <= 1 for t in thresholds):
        raise ConfigError(f"thresholds {tuple(thresholds)}: must be 0..1 for each of {', '.join(classes)}")
    list_scenes(frames)  # before anything is written
    export_float(model.net, out)
    for part in PARTS:
        write_half(out / f"{part}.onnx", out / f"{part}.f16.onnx")
    for part in QUANTISED:
        quantize_part(
            part, out / f"{part}.onnx", out / f"{part}.int8.onnx", calibration(model, part, frames, scenes)
        )
    spec = describe(model.preset, out, dict(zip(classes, thresholds)), version, trained_with)
    return ModelPackage.described(out, spec)


def calibration(model: TrainingNet, part: str, frames: Path, scenes: int) -> Iterator[Feed]:
    """What a part is given, with every mix of modalities; the same for the same files."""
    uses = (Use(), Use(memory=False), Use(camera=False), Use(lidar=False, memory=False))
    for i, path in enumerate(list_scenes(frames)[:scenes]):
        rng = np.random.default_rng(i)
        sample = make_sample(read_scene(path), uses[i % len(uses)], model.preset, rng)
        feeds = part_inputs(model, collate([sample], model.preset))
        if part in feeds:
            yield feeds[part]


def describe(
    preset: Preset,
    folder: Path,
    thresholds: dict[str, float],
    version: str,
    trained_with: str,
    *,
    measures_velocity: bool = False,
) -> ModelSpec:
    """model.yaml for the files that lie in `folder`.

    measures_velocity: so far the head says "it stands" of nearly everything, as most objects do. The tracker
    tells speeds from positions; such a measurement would hold it back until it loses what moves."""
    p = preset
    precisions = {
        "int8": {part: f"{part}.int8.onnx" if part in QUANTISED else f"{part}.onnx" for part in PARTS},
        "f16": {part: f"{part}.f16.onnx" for part in PARTS},
        "f32": {part: f"{part}.onnx" for part in PARTS},
    }
    files = sorted({name for names in precisions.values() for name in names.values()} | set(LAYERS))
    return ModelSpec(
        name=p.name,
        version=version,
        classes=p.classes,
        grid=GridSpec(x_min=p.x_min, y_min=p.y_min, cell_m=p.cell_m, nx=p.nx, ny=p.ny),
        head=GridSpec(x_min=p.x_min, y_min=p.y_min, cell_m=p.head_cell_m, nx=p.head_nx, ny=p.head_ny),
        z_min=p.z_min,
        z_max=p.z_max,
        z_levels=p.z_levels,
        image=ImageSpec(
            width=p.image_width,
            height=p.image_height,
            mean=p.image_mean,
            std=p.image_std,
            stride=p.camera_stride,
            focal_px=p.focal_px,
        ),
        context=CONTEXT,
        box_channels=BOX_CHANNELS,
        box_context=BOX_CONTEXT,
        points_margin_m=NEAR_M,
        points_most=MOST_POINTS,
        deltas=DELTAS,
        decode_threshold=DECODE_THRESHOLD,
        peak_slack=p.peak_slack,
        scores={label: ScoreFit() for label in p.classes},
        score_thresholds=thresholds,
        nms_iou=dict(zip(p.classes, NMS_IOU)),
        max_objects=MAX_OBJECTS,
        measures_velocity=measures_velocity,
        tensors={part: TensorSpec(inputs=i, outputs=o) for part, (i, o) in tensor_shapes(p).items()},
        precisions=precisions,
        precision="int8",
        sha256={name: digest(folder / name) for name in files},
        trained_with=trained_with,
    )


def _trained_with(checkpoint: Path) -> str:
    data = read_checkpoint(checkpoint)
    c = {"part": "all", "paste": 0.0, "teacher": None, "unroll": 0, **data["config"]}
    begun = "".join(f" --start {path}" for path in c["start"])
    part = f" --part {c['part']}" if c["part"] != "all" else ""
    options = "".join(f" --{name} {c[name]}" for name in ("paste", "teacher", "unroll") if c[name])
    budget = f"--minutes {c['minutes']:g}" if c["minutes"] is not None else f"--steps {c['steps']}"
    return (
        f"fusion-rt train --frames DIR --out DIR --preset {data['preset']}{part}{begun}{options} {budget}"
        f" --batch {c['batch']} --learning-rate {c['learning_rate']:g} --seed {c['seed']}:"
        f" {data['step']} steps, {samples_of(data)} samples,"
        f" {data['spent_s'] / 60:.0f} min on {c['threads']} threads"
    )
