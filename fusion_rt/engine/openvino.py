"""OpenVINO: the default on CPUs."""

from __future__ import annotations

import functools
from pathlib import Path

import openvino

from fusion_rt.engine.buffers import Buffers, check_finite, check_precision, identity, make_buffers
from fusion_rt.errors import EngineError
from fusion_rt.heap import give_back


class OpenVinoEngine:
    """One stream, lowest latency, on our own memory."""

    name = "openvino"

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        try:
            model = shared_core().read_model(str(path))
            ops = model.get_ops()
            check_precision(
                path,
                precision,
                quantised=any(op.get_type_name() == "FakeQuantize" for op in ops),
                half=any(
                    op.get_type_name() == "Constant" and op.get_element_type() == openvino.Type.f16
                    for op in ops
                ),
            )
            compiled = compiled_for_cpu(model, threads)
        except RuntimeError as error:
            what = " ".join(str(error).split())  # it comes in several lines
            raise EngineError(f"{path}: OpenVINO cannot load it ({what}); export the model again") from error
        self.precision = precision
        self.identity = identity(self.name, openvino.__version__.split("-")[0], precision, path)
        self._path = path
        self.inputs: Buffers = make_buffers(path, [(p.any_name, _shape(p)) for p in compiled.inputs])
        self.outputs: Buffers = make_buffers(path, [(p.any_name, _shape(p)) for p in compiled.outputs])
        self._request = compiled.create_infer_request()
        for name, array in {**self.inputs, **self.outputs}.items():
            self._request.set_tensor(name, openvino.Tensor(array, shared_memory=True))
        del model
        give_back()

    def run(self) -> None:
        self._request.infer()
        check_finite(self._path, self.outputs)


@functools.cache
def shared_core() -> openvino.Core:
    """One for the life of the process.

    The CPU plugin gives the thread that loads it a signal stack, and takes it back in whatever thread drops
    the last of it: the next signal would then end the process."""
    return openvino.Core()


def _shape(port: openvino.ConstOutput) -> tuple[int, ...]:
    return tuple(int(n.get_length()) if n.is_static else -1 for n in port.get_partial_shape())


def compiled_for_cpu(model: openvino.Model, threads: int) -> openvino.CompiledModel:
    """One stream, the lowest latency. Raises RuntimeError."""
    return shared_core().compile_model(
        model,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(threads),
            # Otherwise float layers silently become bfloat16 where the CPU has it.
            "INFERENCE_PRECISION_HINT": "f32",
        },
    )
