"""An ONNX file as torch functions, operator by operator, on any torch device.

It knows the operators that our exports have and refuses any other. Quantised files run in float with every
QuantizeLinear rounding as the standard says. Nothing in a run waits for the device: numbers that shape the
tensors stay on the host, so that the whole can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import numpy_helper
from torch import Tensor
from torch.nn import functional as F

from fusion_rt.engine.buffers import check_precision
from fusion_rt.errors import EngineError

Attributes = dict[str, Any]
Shapes = list[tuple[str, tuple[int, ...]]]
# Operator -> the inputs that say how, not what: axes, sizes, bounds.
_ON_HOST = {
    **{"Reshape": (1,), "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4), "Split": (1,)},
    **{"ReduceMean": (1,), "ReduceSum": (1,), "Unsqueeze": (1,)},
}


class TorchGraph:
    """inputs, outputs: name and shape of each. Raises EngineError: not ONNX, an operator that our exports do
    not have, another precision."""

    def __init__(self, path: Path, precision: str, device: str = "cpu") -> None:
        try:
            model = onnx.load(str(path))
            onnx.checker.check_model(model)
        except (DecodeError, onnx.checker.ValidationError, ValueError) as error:
            raise EngineError(f"{path}: not an ONNX model ({error}); export the model again") from error
        graph = model.graph
        unknown = sorted({n.op_type for n in graph.node} - set(OPERATORS) - {"Constant"})
        if unknown:
            raise EngineError(f"{path}: torch cannot run {', '.join(unknown)}; use another runtime")
        check_precision(
            path,
            precision,
            quantised=any(n.op_type == "QuantizeLinear" for n in graph.node),
            half=any(t.data_type == onnx.TensorProto.FLOAT16 for t in graph.initializer),
        )
        self.inputs: Shapes = [(v.name, _shape(v)) for v in graph.input]
        self.outputs: Shapes = [(v.name, _shape(v)) for v in graph.output]
        constants = {t.name: t for t in graph.initializer}
        nodes = []
        for node in graph.node:
            attributes = {a.name: _attribute(a) for a in node.attribute}
            if node.op_type == "Constant":
                constants[node.output[0]] = attributes["value"]
            else:
                nodes.append((node.op_type, list(node.input), list(node.output), attributes))
        self.on_host = {
            names[i] for kind, names, _, _ in nodes for i in _ON_HOST.get(kind, ()) if i < len(names)
        }
        self.constants: dict[str, Any] = {}  # those on the host as numpy arrays
        for name, proto in constants.items():
            array = numpy_helper.to_array(proto)
            self.constants[name] = array if name in self.on_host else _placed(array, device)
        self._nodes = [(OPERATORS[kind], names, targets, how) for kind, names, targets, how in nodes]

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs, in order."""
        values: dict[str, Any] = {**self.constants, **inputs}
        for operator, names, targets, attributes in self._nodes:
            result = operator([values[n] if n else None for n in names], attributes)
            values.update(zip(targets, result if isinstance(result, tuple) else (result,)))
        return {name: values[name] for name, _ in self.outputs}


def _placed(array: Any, device: str) -> Tensor:
    """On the device; filters with their channels last, as the canvases have them."""
    moved = torch.from_numpy(array.copy()).to(device)
    return moved.contiguous(memory_format=torch.channels_last) if moved.ndim == 4 else moved


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode() if isinstance(value, bytes) else value


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(d.dim_value if d.HasField("dim_value") else -1 for d in value.type.tensor_type.shape.dim)


def _conv(x: list[Any], a: Attributes) -> Tensor:
    top, left, bottom, right = a.get("pads", [0, 0, 0, 0])
    bias, strides, groups = x[2] if len(x) > 2 else None, tuple(a.get("strides", (1, 1))), a.get("group", 1)
    if (top, left) == (bottom, right):
        return F.conv2d(x[0], x[1], bias, strides, (top, left), 1, groups)
    return F.conv2d(F.pad(x[0], (left, right, top, bottom)), x[1], bias, strides, 0, 1, groups)


def _gemm(x: list[Any], a: Attributes) -> Tensor:
    left = x[0].T if a.get("transA") else x[0]
    right = x[1].T if a.get("transB") else x[1]
    out: Tensor = a.get("alpha", 1.0) * (left @ right)
    return out + a.get("beta", 1.0) * x[2] if len(x) > 2 else out


def _resize(x: list[Any], a: Attributes) -> Tensor:
    if a.get("mode", "nearest") != "nearest":
        raise EngineError(f"Resize by {a['mode']!r} is not one that our exports have; use another runtime")
    size = [int(n) for n in x[3]] if len(x) > 3 else [int(n * s) for n, s in zip(x[0].shape, x[2])]
    return F.interpolate(x[0], size=size[2:], mode="nearest")


def _reduce_mean(x: list[Any], a: Attributes) -> Tensor:
    axes = a["axes"] if "axes" in a else x[1].tolist()
    out: Tensor = x[0].mean(tuple(axes), keepdim=bool(a.get("keepdims", 1)))
    return out


def _reduce_sum(x: list[Any], a: Attributes) -> Tensor:
    axes = a["axes"] if "axes" in a else x[1].tolist()
    out: Tensor = x[0].sum(tuple(axes), keepdim=bool(a.get("keepdims", 1)))
    return out


def _slice(x: list[Any], _: Attributes) -> Tensor:
    out: Tensor = x[0]
    axes = x[3].tolist() if len(x) > 3 else range(len(x[1]))
    steps = x[4].tolist() if len(x) > 4 else [1] * len(x[1])
    for axis, start, end, step in zip(axes, x[1].tolist(), x[2].tolist(), steps):
        if step < 0:
            raise EngineError("a Slice backwards is not one that our exports have; use another runtime")
        first, last, step = slice(start, end, step).indices(out.shape[axis])
        out = torch.ops.aten.slice(out, axis, first, last, step)
    return out


def _split(x: list[Any], a: Attributes) -> tuple[Tensor, ...]:
    sizes = x[1].tolist() if len(x) > 1 else a["split"]
    return tuple(x[0].split(sizes, dim=a.get("axis", 0)))


def _gather(x: list[Any], a: Attributes) -> Tensor:
    axis = a.get("axis", 0)
    index = x[1].long()
    out: Tensor = x[0].index_select(axis, index.reshape(-1))
    return out.reshape(*x[0].shape[:axis], *index.shape, *x[0].shape[axis:][1:])


def _unsqueeze(x: list[Any], a: Attributes) -> Tensor:
    out: Tensor = x[0]
    for axis in sorted(a["axes"] if "axes" in a else x[1].tolist()):
        out = out.unsqueeze(axis)
    return out


def _along(values: Tensor, like: Tensor, a: Attributes) -> Tensor:
    """A scale or zero point, shaped to act along the axis of a per-channel quantisation."""
    if values.ndim == 0 or values.numel() == 1:
        return values.reshape(())
    shape = [1] * like.ndim
    shape[a.get("axis", 1)] = -1
    return values.reshape(shape)


def _quantise(x: list[Any], a: Attributes) -> Tensor:
    scale, zero = _along(x[1], x[0], a), _along(x[2], x[0], a)
    limits = torch.iinfo(zero.dtype)
    return (torch.round(x[0] / scale) + zero).clamp(limits.min, limits.max).to(zero.dtype)


def _dequantise(x: list[Any], a: Attributes) -> Tensor:
    value = x[0].to(torch.float32)
    if len(x) > 2:
        value = value - _along(x[2], x[0], a).to(torch.float32)
    return value * _along(x[1], x[0], a)


CASTS = {onnx.TensorProto.FLOAT: torch.float32, onnx.TensorProto.FLOAT16: torch.float16}
OPERATORS: dict[str, Callable[[list[Any], Attributes], Any]] = {
    "Abs": lambda x, a: x[0].abs(),
    "Add": lambda x, a: x[0] + x[1],
    "Cast": lambda x, a: x[0].to(CASTS[a["to"]]),
    "Clip": lambda x, a: x[0].clamp(x[1], x[2]),
    "Concat": lambda x, a: torch.cat(x, dim=a["axis"]),
    "Conv": _conv,
    "DequantizeLinear": _dequantise,
    "Div": lambda x, a: x[0] / x[1],
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": lambda x, a: x[0],
    "Log": lambda x, a: x[0].log(),
    "MatMul": lambda x, a: x[0] @ x[1],
    "Mul": lambda x, a: x[0] * x[1],
    "QuantizeLinear": _quantise,
    "ReduceMean": _reduce_mean,
    "ReduceSum": _reduce_sum,
    "Relu": lambda x, a: F.relu(x[0]),
    "Reshape": lambda x, a: x[0].reshape([int(n) for n in x[1]]),
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Transpose": lambda x, a: x[0].permute(tuple(a["perm"])),
    "Unsqueeze": _unsqueeze,
}
