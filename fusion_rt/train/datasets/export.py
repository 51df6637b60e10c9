"""A trained network as a head package."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from fusion_rt.models.head import MODEL, HeadSpec, describe

OPSET = 17


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
    examples: tuple[Any, ...] = tuple(torch.zeros(shape) for shape in inputs.values())
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but needs no further package and keeps readable names.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net.eval(),
            examples,
            str(folder / MODEL),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(str(folder / MODEL)), full_check=True)
    return describe(folder, inputs=inputs, outputs=outputs, **fields)
