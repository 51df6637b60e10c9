"""Rounded weights shift what a convolution answers in the mean; its bias takes the shift back.

Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, 2019; here with real
inputs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from fusion_rt.train.activation_ranges import tapped
from fusion_rt.transforms import Array


def correct_biases(
    model: onnx.ModelProto, reference: onnx.ModelProto, feeds: Sequence[dict[str, Array]]
) -> None:
    """In place: each convolution of `model` that has a bias answers in the mean, channel by channel, what
    that of the same name answers in `reference`. One after the other, each on what those before it give."""
    held = {i.name: i for i in model.graph.initializer}
    theirs = {node.name: node.output[0] for node in reference.graph.node}
    nodes = [
        node
        for node in model.graph.node
        if node.op_type == "Conv" and node.name in theirs and len(node.input) > 2 and node.input[2] in held
    ]
    wanted = _means(reference, [theirs[node.name] for node in nodes], feeds)
    for node, mean in zip(nodes, wanted):
        (found,) = _means(model, [node.output[0]], feeds)
        bias = held[node.input[2]]
        changed = onnx.numpy_helper.to_array(bias) + (mean - found).astype(np.float32)
        bias.CopyFrom(onnx.numpy_helper.from_array(changed, bias.name))


def _means(model: onnx.ModelProto, tensors: Sequence[str], feeds: Sequence[dict[str, Array]]) -> list[Array]:
    """(channels,) of each tensor (1, channels, h, w), over cells and feeds."""
    session = tapped(model, tensors)
    sums = [0.0] * len(tensors)
    for feed in feeds:
        sums = [s + a.mean(axis=(0, 2, 3), dtype=np.float64) for s, a in zip(sums, session.run(None, feed))]
    return [np.asarray(s) / len(feeds) for s in sums]
