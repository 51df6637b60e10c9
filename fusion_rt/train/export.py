"""From a checkpoint to a model package: ONNX in float and INT8, the pillars' weights, model.yaml."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from fusion_rt.models.presets import PRESETS, Preset
from fusion_rt.train.loop import read_checkpoint
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.step import TrainingNet

OPSET = 17
MAX_OBJECTS = 128  # rows of the refinement; unused ones are zero


def load_average(checkpoint: Path) -> TrainingNet:
    """The averaged weights of a checkpoint, ready to evaluate."""
    data = read_checkpoint(checkpoint)
    model = TrainingNet(PRESETS[data["preset"]])
    model.load_state_dict(data["average"])
    return model.eval()


def fold_batch_norm(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode with every convolution-and-normalisation pair made one convolution."""
    folded = copy.deepcopy(module).eval()
    for parent in folded.modules():
        if isinstance(parent, nn.Sequential) and len(parent) >= 2:
            conv, norm = parent[0], parent[1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                parent[0] = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
                parent[1] = nn.Identity()
    return folded


def tensor_shapes(preset: Preset) -> dict[str, tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]]:
    """part -> (inputs, outputs), each name -> shape, in the order of the network's arguments."""
    p = preset
    canvas = (p.head_ny, p.head_nx)
    features = (p.image_height // p.camera_stride, p.image_width // p.camera_stride)
    return {
        "camera": (
            {"image": (1, 3, p.image_height, p.image_width)},
            {"features": (1, p.canvas_channels, *features)},
        ),
        "bev": (
            {
                "pillars": (1, p.pillar_channels + 1, p.ny, p.nx),
                "camera_bev": (1, p.canvas_channels, *canvas),
                "camera_valid": (1, 1, *canvas),
                "state": (1, p.canvas_channels, *canvas),
                "context": (1, p.context),
            },
            {
                "heatmap": (1, len(p.classes), *canvas),
                "boxes": (1, p.box_channels, *canvas),
                "features": (1, p.feature_channels, *canvas),
                "next_state": (1, p.canvas_channels, *canvas),
                "contribution": (1, 3, *canvas),
            },
        ),
        "refine": (
            {"roi": (MAX_OBJECTS, 5 * p.feature_channels), "box": (MAX_OBJECTS, p.box_context)},
            {"score": (MAX_OBJECTS, 1), "deltas": (MAX_OBJECTS, 7)},
        ),
    }


def export_part(net: DrivingNet, part: str, path: Path) -> None:
    """Write "camera", "bev" or "refine" as ONNX with fixed shapes."""
    inputs, outputs = tensor_shapes(net.preset)[part]
    module = fold_batch_norm(getattr(net, part))
    examples: tuple[Tensor, ...] = tuple(torch.zeros(shape) for shape in inputs.values())
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but needs no further package and keeps readable names.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module,
            examples,
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)


def export_pillars(net: DrivingNet, path: Path) -> None:
    """W (8, C) and b (C,) float32 for the pillars kernel."""
    linear = net.pillars.linear
    np.savez(path, W=linear.weight.detach().numpy().T.copy(), b=linear.bias.detach().numpy())


def export_float(net: DrivingNet, folder: Path) -> None:
    """pillars.npz and the three ONNX files."""
    folder.mkdir(parents=True, exist_ok=True)
    export_pillars(net, folder / "pillars.npz")
    for part in ("camera", "bev", "refine"):
        export_part(net, part, folder / f"{part}.onnx")
