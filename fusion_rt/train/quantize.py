"""INT8: symmetric signed quantise/dequantise pairs around convolutions, calibrated on training frames.

One file serves OpenVINO and TensorRT: zero points are 0, weights have a scale a channel.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

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

from fusion_rt.train.samples import Batch
from fusion_rt.train.step import TrainingNet
from fusion_rt.transforms import Array

Feed = dict[str, Array]
# Part -> its layers that stay in float: those whose numbers are read as metres, radians and scores, and the
# lidar's depthwise one, which in eight bits costs five points of AP. The refinement is too small to gain.
QUANTISED = {"camera": (), "bev": ("/heatmap/", "/boxes/", "/seen/", "/lidar.1.0/")}


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
    prepared = target.with_suffix(".prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    nodes = onnx.load(str(prepared)).graph.node
    kept = [n.name for n in nodes if any(layer in n.name for layer in QUANTISED[part])]
    level = logging.root.level
    logging.root.setLevel(logging.ERROR)  # the tool logs advice through the root logger
    try:
        quantize_static(
            str(prepared),
            str(target),
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            # Seven bits: CPUs without VNNI add pairs of products in 16 bits, which eight overflow.
            reduce_range=True,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=["Conv", "Gemm"],
            nodes_to_exclude=[*kept, *(n.name for n in nodes if "/film/" in n.name)],
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # A convolution's input is enough: an output quantised before its ReLU wastes half the steps.
                "OpTypesToExcludeOutputQuantization": ["Conv", "Gemm"],
                "CalibMovingAverage": True,
            },
        )
    finally:
        logging.root.setLevel(level)
        prepared.unlink()
    onnx.checker.check_model(onnx.load(str(target)), full_check=True)
