"""A torch module as an ONNX file."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

OPSET = 17


def export_onnx(
    module: nn.Module, inputs: Mapping[str, Sequence[int]], outputs: Iterable[str], path: Path
) -> None:
    """Traces the module in evaluation mode, float32, with these shapes fixed, and checks the file."""
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but needs no further package and keeps readable names.
        warnings.simplefilter("ignore", DeprecationWarning)
        # What Python decides while it is traced depends on the shapes, which are fixed.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            module.eval(),
            tuple(torch.zeros(tuple(shape)) for shape in inputs.values()),
            str(path),
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=False,
        )
    onnx.checker.check_model(onnx.load(str(path)), full_check=True)
