"""INT8: quantise/dequantise pairs around convolutions, calibrated on training frames.

Zero points are 0 and weights have a scale a channel. What a ReLU leaves is unsigned, which halves its error
and is what CPUs multiply fastest; TensorRT knows signed pairs alone and gets them from `engine/signed.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor

from fusion_rt.train.activation_ranges import Step, activation_steps
from fusion_rt.train.bias_correction import correct_biases
from fusion_rt.train.samples import Batch
from fusion_rt.train.step import TrainingNet
from fusion_rt.transforms import Array

Feed = dict[str, Array]
OPERATORS = ["Conv", "Gemm"]
BIAS_FEEDS = 24  # on which biases are corrected
# Part -> its layers that stay in float: those whose numbers are read as metres, radians and scores, the small
# ones before them, and the lidar's depthwise one, which in eight bits costs five points of AP. The refinement
# is too small to gain.
QUANTISED = {
    "camera": (),
    "bev": ("/merge1/", "/hidden/", "/heatmap/", "/boxes/", "/seen/", "/lidar.1.0/"),
}


@torch.no_grad()
def part_inputs(model: TrainingNet, batch: Batch) -> dict[str, Feed]:
    """part -> the inputs it is given for a batch of one sample; no "camera" where it has none."""
    state = model.remember(batch)
    camera = model.see(batch.now.image)
    feeds: dict[str, Feed] = {}
    if camera is not None:
        feeds["camera"] = {"image": batch.now.image.numpy()}
    pillars, canvas, depth = model.canvases(batch.now, camera)
    feeds["bev"] = {
        "pillars": _channels_last(pillars),
        "camera_bev": _channels_last(canvas),
        "camera_depth": _channels_last(depth),
        "state": _channels_last(state),
        "context": batch.now.context.numpy(),
    }
    return {part: {n: np.ascontiguousarray(a) for n, a in feed.items()} for part, feed in feeds.items()}


def _channels_last(canvas: Tensor) -> Array:
    return canvas.permute(0, 2, 3, 1).numpy()


class _Reader(CalibrationDataReader):
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def quantize_part(part: str, source: Path, target: Path, feeds: Iterable[Feed]) -> None:
    """Write the INT8 file of a part from its float file and what it was given on real inputs."""
    given = list(feeds)
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    reference = onnx.load(str(prepared))
    nodes = reference.graph.node
    kept = {n.name for n in nodes if any(layer in n.name for layer in (*QUANTISED[part], "/film/"))}
    inputs = {n.input[0] for n in nodes if n.op_type in OPERATORS and n.name not in kept}
    steps = activation_steps(reference, sorted(inputs), given)
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # the tool logs advice through the root logger
    try:
        quantize_static(
            str(prepared),
            str(target),
            _Reader(given[:1]),  # it wants some; the steps are ours
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            # Seven bits: CPUs without VNNI add pairs of products in 16 bits, which eight overflow.
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=OPERATORS,
            nodes_to_exclude=sorted(kept),
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # A convolution's input is enough: an output quantised before its ReLU wastes half the steps.
                "OpTypesToExcludeOutputQuantization": OPERATORS,
                "TensorQuantOverrides": {name: [_override(step)] for name, step in steps.items()},
            },
        )
    finally:
        logging.root.setLevel(level)
        prepared.unlink()
    model = onnx.load(str(target))
    correct_biases(model, reference, given[:BIAS_FEEDS])
    onnx.save(model, str(target))
    onnx.checker.check_model(model, full_check=True)


def _override(step: Step) -> dict[str, Any]:
    return {
        "quant_type": QuantType.QUInt8 if step.unsigned else QuantType.QInt8,
        "scale": np.array(step.scale, np.float32),
        "zero_point": np.array(0, np.uint8 if step.unsigned else np.int8),
    }
