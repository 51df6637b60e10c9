"""Inference engines behind one protocol.

    engine = load(path, runtime="openvino", precision="int8", threads=2)
    engine.inputs["image"][...] = image
    engine.run()
    engine.outputs["features"]

Buffers are made once, when the engine is; running allocates no arrays. On a GPU they are the device's, and
`run` enqueues on its stream:

    engine = load(path, runtime="tensorrt", precision="f16", device=device)
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from fusion_rt.engine.gpu import DeviceEngine, GpuDevice
from fusion_rt.engine.tensorrt_dla import CORES
from fusion_rt.errors import EngineError

RUNTIMES = ("openvino", "onnxruntime", "torch")
# Those that run on an NVIDIA card, the fastest first; and those that must be asked for by name.
AUTO_RUNTIMES = ("tensorrt", "tensorrt-rtx", "torch-cuda", "onnxruntime-cuda")
CARD_RUNTIMES = (*AUTO_RUNTIMES, *CORES)

Shapes = Mapping[str, tuple[int, ...]]


class Engine(Protocol):
    """A compiled network.

    inputs, outputs  name -> float32 array, or device buffer; the same memory for the engine's life:
                     fill the inputs in place, read the outputs after `run`
    name             "openvino", ...
    precision        "f32", "f16" or "int8"
    identity         runtime, its version, precision and the digest of the file
    """

    name: str
    precision: str
    identity: str

    @property
    def inputs(self) -> Mapping[str, Any]: ...

    @property
    def outputs(self) -> Mapping[str, Any]: ...

    def run(self) -> None:
        """Outputs from inputs. Raises EngineError when an output is not finite.

        That does not find every NaN in the inputs: max(0, NaN) is 0 in some runtimes' ReLU."""
        ...


def load(
    path: str | Path,
    *,
    runtime: str = "openvino",
    precision: str = "int8",
    threads: int = 2,
    inputs: Shapes | None = None,
    outputs: Shapes | None = None,
    device: GpuDevice | None = None,
) -> Engine:
    """Compile an ONNX file.

    device: the GPU, for the runtimes that need one: inputs and outputs are its own, and `run` waits for
    nothing.

    precision says what the file holds and is checked against it: "int8" has quantised layers, "f16" weights
    in half precision, "f32" neither. inputs, outputs: the names and shapes that the caller relies on.
    Raises EngineError: the runtime is unknown or not installed, the file is missing, damaged or of
    another precision, names or shapes differ.
    """
    path = Path(path)
    if not path.is_file():
        raise EngineError(f"{path}: no such model file; export it, or check the model's name")
    if runtime in CARD_RUNTIMES:
        if device is None:
            raise EngineError(
                f"runtime {runtime!r} needs an NVIDIA GPU, none was found; see `fusion-rt doctor`"
            )
        engine: Any = _create_on(path, runtime, precision, device, inputs or {})
    else:
        engine = _create(path, runtime, precision, threads)
    _expect(path, "input", inputs, engine.inputs)
    _expect(path, "output", outputs, engine.outputs)
    checked: Engine = engine
    return checked


def _create(path: Path, runtime: str, precision: str, threads: int) -> Engine:
    # Imported on demand: each runtime is large, and only OpenVINO is always installed.
    try:
        if runtime == "openvino":
            from fusion_rt.engine.openvino import OpenVinoEngine

            return OpenVinoEngine(path, precision, threads)
        if runtime == "onnxruntime":
            from fusion_rt.engine.onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(path, precision, threads)
        if runtime == "torch":
            from fusion_rt.engine.torch import TorchEngine

            return TorchEngine(path, precision, threads)
    except ImportError as error:
        raise _not_installed(runtime, error) from error
    raise EngineError(f"runtime {runtime!r} is not one of {', '.join((*RUNTIMES, *CARD_RUNTIMES))}")


def _create_on(path: Path, runtime: str, precision: str, device: GpuDevice, inputs: Shapes) -> DeviceEngine:
    try:
        if runtime == "torch-cuda":
            from fusion_rt.engine.torch_cuda import TorchCudaEngine

            return TorchCudaEngine(path, precision, device)
        if runtime == "onnxruntime-cuda":
            from fusion_rt.engine.onnxruntime_cuda import OnnxRuntimeCudaEngine

            return OnnxRuntimeCudaEngine(path, precision, device)
        from fusion_rt.engine.tensorrt import TensorRtEngine

        return TensorRtEngine(path, precision, device, runtime=runtime, shapes=inputs)
    except ImportError as error:
        raise _not_installed(runtime, error) from error


def _not_installed(runtime: str, error: ImportError) -> EngineError:
    extra = {
        "onnxruntime": "onnxruntime",
        "onnxruntime-cuda": "onnxruntime-cuda",
        "torch": "train",
        "torch-cuda": "torch-cuda",
    }.get(runtime)
    how = f"pip install 'fusion-rt[{extra}]'" if extra else "reinstall fusion-rt"
    return EngineError(f"runtime {runtime!r} is not installed ({error}); {how}")


def _expect(path: Path, kind: str, wanted: Shapes | None, found: Mapping[str, NDArray[Any]]) -> None:
    if wanted is None:
        return
    shapes = {name: array.shape for name, array in found.items()}
    if {n: tuple(s) for n, s in wanted.items()} != shapes:
        raise EngineError(
            f"{path}: {kind}s are {_list(shapes)}, expected {_list(wanted)};"
            " the file and model.yaml are of different exports: export the package again"
        )


def _list(shapes: Shapes) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in sorted(shapes.items()))
