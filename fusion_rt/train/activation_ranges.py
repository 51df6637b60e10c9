"""Steps of eight bits for what convolutions are given: of all steps that which errs least on real inputs.

A largest value that comes once in a thousand frames would make every other coarse, and a mean of largest
values is too small where an input is often empty. What cannot be negative (all that follows a ReLU) has 255
steps above zero, what can has 127 on either side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from msgspec import Struct

from fusion_rt.engine.signed import SIGNED, UNSIGNED
from fusion_rt.transforms import Array

VALUES = 20_000  # of a tensor and a frame that are looked at
RANGES = np.geomspace(0.05, 1.0, 60)  # of the largest value


class Step(Struct, frozen=True):
    """Values are k * scale with whole k: 0..255 where `unsigned`, else -127..127."""

    scale: float
    unsigned: bool


def activation_steps(
    model: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[dict[str, Array]]
) -> dict[str, Step]:
    """The best step of each of these tensors of the float model, on what it is given."""
    given = {i.name for i in model.graph.input}
    inner = [name for name in tensors if name not in given]
    session = tapped(model, inner)
    seen: dict[str, list[Array]] = {name: [] for name in tensors}
    largest, negative = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, False)
    for feed in feeds:
        found = feed | dict(zip(inner, session.run(None, feed)))
        for name in tensors:
            values = found[name].ravel()
            largest[name] = max(largest[name], float(np.abs(values).max(initial=0.0)))
            negative[name] |= bool((values < 0).any())
            some = values[:: max(1, values.size // VALUES)]
            seen[name].append(some[some != 0])  # zero is exact with any step
    return {name: _best(np.concatenate(seen[name]), largest[name], not negative[name]) for name in tensors}


def tapped(model: onnx.ModelProto, tensors: Sequence[str]) -> ort.InferenceSession:
    """A session of one thread that answers with these tensors of the model; nodes are as in the file."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in tensors
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _best(values: Array, largest: float, unsigned: bool) -> Step:
    levels = UNSIGNED if unsigned else SIGNED
    if not len(values):
        return Step(scale=max(largest, 1.0) / levels, unsigned=unsigned)
    lowest = 0 if unsigned else -levels

    def error(scale: float) -> float:
        return float(np.square(np.clip(np.rint(values / scale), lowest, levels) * scale - values).mean())

    return Step(scale=min((float(largest * r / levels) for r in RANGES), key=error), unsigned=unsigned)
