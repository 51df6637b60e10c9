"""ONNX Runtime: where OpenVINO is not available, and to check it by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from fusion_rt.engine.buffers import Buffers, check_finite, check_precision, identity, make_buffers
from fusion_rt.errors import EngineError


class OnnxRuntimeEngine:
    """One session bound to our own memory; idle threads sleep."""

    name = "onnxruntime"

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        model = path.read_bytes()
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions share no base but this
            raise EngineError(
                f"{path}: ONNX Runtime cannot load it ({error}); export the model again"
            ) from error
        check_precision(path, precision, **held_by(self._session, model))
        self.precision = precision
        self.identity = identity(self.name, onnxruntime.__version__, precision, path)
        self._path = path
        self.inputs: Buffers = make_buffers(path, [(t.name, t.shape) for t in self._session.get_inputs()])
        self.outputs: Buffers = make_buffers(path, [(t.name, t.shape) for t in self._session.get_outputs()])
        self._binding = self._session.io_binding()
        for name, array in self.inputs.items():
            self._binding.bind_input(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)
        for name, array in self.outputs.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def run(self) -> None:
        self._session.run_with_iobinding(self._binding)
        check_finite(self._path, self.outputs)


def held_by(session: onnxruntime.InferenceSession, model: bytes) -> dict[str, bool]:
    """Whether the file holds quantised layers or half precision; a session does not show its tensors."""
    marks = session.get_modelmeta().custom_metadata_map
    return {"quantised": b"QuantizeLinear" in model, "half": marks.get("precision") == "f16"}
