"""A trained network as a head package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from fusion_rt.models.head import MODEL, HeadSpec, describe
from fusion_rt.train.onnx_file import export_onnx


def write_head(
    net: nn.Module,
    folder: Path,
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    **fields: Any,
) -> HeadSpec:
    """`net` as head.onnx with fixed float32 shapes, in the order of `inputs` and `outputs`, and head.yaml;
    `fields` as in HeadSpec."""
    folder.mkdir(parents=True, exist_ok=True)
    export_onnx(net, inputs, outputs, folder / MODEL)
    return describe(folder, inputs=inputs, outputs=outputs, **fields)
