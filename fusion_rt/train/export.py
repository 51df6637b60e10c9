"""From a checkpoint to the files of a model package: ONNX, and the layers that kernels compute."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fusion_rt.models.presets import Preset
from fusion_rt.train.geometry import VIEW_SIDE
from fusion_rt.train.network import ANSWER, SPARSE, DrivingNet
from fusion_rt.train.onnx_file import export_onnx

MAX_OBJECTS = 128  # rows of the refinement; unused ones are zero


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
    """part -> (inputs, outputs), each name -> shape, in the order of the network's arguments.

    Canvases and image features have their channels last: so the runtimes compute, and a cell's features lie
    side by side for the kernels that scatter and sample them. The image and the heatmap are planes."""
    p = preset
    canvas = (p.head_ny, p.head_nx)
    features = (p.image_height // p.camera_stride, p.image_width // p.camera_stride)
    return {
        "camera": (
            {"image": (1, 3, p.image_height, p.image_width)},
            {"features": (1, *features, p.canvas_channels)},
        ),
        "bev": (
            {
                "pillars": (1, p.ny, p.nx, p.pillar_channels + 1),
                "camera_bev": (1, *canvas, p.canvas_channels),
                "camera_depth": (1, *canvas, 1),
                "state": (1, *canvas, p.state_channels),
                "context": (1, p.context),
            },
            {
                "heatmap": (1, len(p.classes), *canvas),
                "boxes": (1, *canvas, p.box_channels),
                "features": (1, *canvas, p.feature_channels),
                "next_state": (1, *canvas, p.state_channels),
                "contribution": (1, -(-p.head_ny // SPARSE), -(-p.head_nx // SPARSE), 3),
            },
        ),
        "refine": (
            {
                "roi": (MAX_OBJECTS, 5 * p.feature_channels),
                "view": (MAX_OBJECTS, VIEW_SIDE**2 * p.canvas_channels),
                "box": (MAX_OBJECTS, p.box_context),
                "points": (MAX_OBJECTS, p.point_widths[1] + 1),
            },
            {
                name: (MAX_OBJECTS, n)
                for name, n in zip(("score", "deltas", "facing", "log_sigma"), ANSWER, strict=True)
            },
        ),
    }


class ChannelsLast(nn.Module):
    """A part of the network with the layouts of `tensor_shapes` at its inputs and outputs."""

    planes = ("image", "heatmap")

    def __init__(self, part: nn.Module, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        super().__init__()
        self.part, self.inputs, self.outputs = part, inputs, outputs

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        given = [
            t.permute(0, 3, 1, 2) if t.ndim == 4 and name not in self.planes else t
            for name, t in zip(self.inputs, tensors)
        ]
        result = self.part(*given)
        results = result if isinstance(result, tuple) else (result,)
        return tuple(
            # Changes nothing; OpenVINO moves megabytes twice where a quantised tensor is also an output.
            (t.clamp(0, 1e6) if name == "features" else t).permute(0, 2, 3, 1)
            if t.ndim == 4 and name not in self.planes
            else t
            for name, t in zip(self.outputs, results)
        )


def export_part(net: DrivingNet, part: str, path: Path) -> None:
    """Write "camera", "bev" or "refine" as ONNX with fixed shapes."""
    inputs, outputs = tensor_shapes(net.preset)[part]
    module = ChannelsLast(fold_batch_norm(getattr(net, part)), list(inputs), list(outputs))
    export_onnx(module, inputs, outputs, path)


def export_pillars(net: DrivingNet, path: Path) -> None:
    """W (8, C) and b (C,) float32 for the pillars kernel."""
    linear = net.pillars.linear
    np.savez(path, W=linear.weight.detach().numpy().T.copy(), b=linear.bias.detach().numpy())


def export_points(net: DrivingNet, path: Path) -> None:
    """The layers of the roi_points kernel, float32: inputs in rows, the first bias in each class's row."""
    at, box, second = (
        layer.weight.detach().T for layer in (net.points.at, net.points.box, net.points.second)
    )
    layers = {
        "at": at,
        "size": box[:3],
        "kind": box[3:] + net.points.box.bias.detach(),
        "second": second,
        "bias": net.points.second.bias.detach(),
    }
    np.savez(path, **{name: layer.numpy().copy() for name, layer in layers.items()})


def export_float(net: DrivingNet, folder: Path) -> None:
    """The kernels' layers and the three ONNX files."""
    folder.mkdir(parents=True, exist_ok=True)
    export_pillars(net, folder / "pillars.npz")
    export_points(net, folder / "points.npz")
    for part in ("camera", "bev", "refine"):
        export_part(net, part, folder / f"{part}.onnx")
