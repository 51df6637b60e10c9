"""FP16 files: every weight and activation in half precision, as TensorRT's strongly typed networks want.

Inputs and outputs stay float32, whatever the precision: the kernels before and after a network compute in
float32, and the runtimes fold the cast into the first and last layer. INT8 files stay as they are: what they
do not quantise is float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from fusion_rt.errors import EngineError

# Inputs that the standard wants in float32: operator -> their places.
_FLOAT32 = {"Resize": (1, 2)}
LARGEST = float(np.finfo(np.float16).max)


def write_half(source: Path, target: Path) -> None:
    """The float ONNX file `source` in half precision. Raises EngineError where a weight is too large."""
    model = onnx.load(str(source))
    graph = model.graph
    kept = {
        node.input[i] for node in graph.node for i in _FLOAT32.get(node.op_type, ()) if i < len(node.input)
    }
    for tensor in graph.initializer:
        if tensor.name not in kept:
            _convert(tensor, source)
    for node in graph.node:
        if node.op_type == "Constant" and node.output[0] not in kept:
            for attribute in node.attribute:
                if attribute.name == "value":
                    _convert(attribute.t, source)
    del graph.value_info[:]  # they name the old types
    inside = {value.name: f"{value.name}_f16" for value in (*graph.input, *graph.output)}
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = inside.get(name, name)
    nodes = [
        *(_cast(value.name, inside[value.name], TensorProto.FLOAT16) for value in graph.input),
        *graph.node,
        *(_cast(inside[value.name], value.name, TensorProto.FLOAT) for value in graph.output),
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    helper.set_model_props(model, {"precision": "f16"})  # for runtimes that do not show types
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(target))


def _cast(source: str, target: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], name=f"cast/{target}", to=to)


def _convert(tensor: onnx.TensorProto, source: Path) -> None:
    """In place, where it is float32. Limits of a clip may be beyond the range: they become its end."""
    if tensor.data_type != TensorProto.FLOAT:
        return
    values = numpy_helper.to_array(tensor)
    if values.ndim and np.abs(values).max(initial=0.0) > LARGEST:
        raise EngineError(
            f"{source}: {tensor.name} holds {np.abs(values).max():g}, half precision ends at {LARGEST:g}"
        )
    half = np.clip(values, -LARGEST, LARGEST).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
