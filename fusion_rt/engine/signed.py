"""A quantised ONNX file for a runtime that knows signed pairs alone, as TensorRT."""

from __future__ import annotations

import numpy as np

from fusion_rt.errors import EngineError

UNSIGNED, SIGNED = 255, 127  # levels above zero of either kind of pair


def with_signed_pairs(model: bytes, source: str) -> bytes:
    """The same file, in which what was held in 0..255 is held in 0..127 with steps as much wider. A file
    without such pairs comes back as it is. Raises EngineError where it is quantised and `onnx` is not
    installed."""
    if b"QuantizeLinear" not in model:
        return model
    try:
        import onnx
    except ImportError as error:
        raise EngineError(f"{source}: quantised, and its pairs cannot be read: pip install onnx") from error
    try:
        graph = onnx.load_from_string(model)
    except Exception as error:  # protobuf has a kind of its own
        raise EngineError(f"{source}: not an ONNX model; export it again") from error
    held = {tensor.name: tensor for tensor in graph.graph.initializer}
    done: set[str] = set()
    for node in graph.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or len(node.input) < 3:
            continue
        scale, zero = (held.get(name) for name in node.input[1:3])
        if scale is None or zero is None or zero.data_type != onnx.TensorProto.UINT8:
            continue
        for tensor, value in (
            (scale, onnx.numpy_helper.to_array(scale) * np.float32(UNSIGNED / SIGNED)),
            (zero, np.zeros_like(onnx.numpy_helper.to_array(zero), np.int8)),
        ):
            if tensor.name not in done:
                tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
                done.add(tensor.name)
    return graph.SerializeToString() if done else model
