"""From an ONNX file to a serialised TensorRT engine: TensorRT 10 and 11, and TensorRT-RTX, by the same calls.

Networks are strongly typed: each tensor has the type that the ONNX file gives it, so the file decides about
precision, and version 11, which has no other kind, builds what version 10 built.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fusion_rt.engine.buffers import check_precision
from fusion_rt.engine.signed import with_signed_pairs
from fusion_rt.engine.tensorrt_dla import CORES, use_core
from fusion_rt.errors import EngineError

# The Python modules, and what installs them.
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx", **dict.fromkeys(CORES, "tensorrt")}
WORKSPACE_BYTES = 1 << 30  # at most, for the choice of algorithms
OLDEST = 10

Progress = Callable[[str, int, int], None]  # phase, step, steps


def load_module(runtime: str) -> ModuleType:
    """TensorRT's Python module. Raises EngineError where it is not installed, does not load or is too old."""
    name = MODULES[runtime]
    try:
        trt = importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: its libraries do not load
        raise EngineError(
            f"{runtime} is not installed ({error}); pip install 'fusion-rt[{name.replace('_', '-')}]'"
        ) from error
    if name == "tensorrt" and int(trt.__version__.split(".")[0]) < OLDEST:
        raise EngineError(f"TensorRT {trt.__version__} is too old; 10.0 or newer is wanted")
    return trt


class Log:
    """What TensorRT said: warnings are forgotten, the errors are the cause of what fails next."""

    def __init__(self, trt: ModuleType) -> None:
        self.errors: list[str] = []
        errors = self.errors
        severe = (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR)

        class Collector(trt.ILogger):  # type: ignore[name-defined]
            def __init__(self) -> None:
                trt.ILogger.__init__(self)

            def log(self, severity: Any, message: str) -> None:
                if severity in severe:
                    errors.append(" ".join(message.split()))

        self.logger = Collector()

    def __str__(self) -> str:
        return "; ".join(self.errors[-3:]) or "TensorRT gave no reason"


def build(
    trt: ModuleType,
    model: bytes,
    source: str,
    *,
    precision: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    architecture: str = "",
    timing_cache: bytes = b"",
    dla_core: int | None = None,
    progress: Progress | None = None,
) -> tuple[bytes, bytes]:
    """The serialised engine, and the timing cache with what was learned.

    precision     what the file is expected to hold
    shapes        of the inputs whose extents vary in the file: it runs with these, and takes smaller ones
    architecture  "sm_89": for another GPU than this machine's, where the module can (TensorRT-RTX)
    dla_core      put there what it can take
    Raises EngineError, with TensorRT's own reasons: it does not parse, a type or operator is not supported,
    this GPU is not, out of memory.
    """
    log = Log(trt)
    builder = trt.Builder(log.logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(with_signed_pairs(model, source)):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise EngineError(f"{source}: TensorRT {trt.__version__} cannot parse it: {reasons or log}")
    if not network.num_outputs:
        raise EngineError(f"{source}: not an ONNX model; export it again")
    layers = [network.get_layer(i) for i in range(network.num_layers)]
    check_precision(
        Path(source),
        precision,
        quantised=any(layer.type == trt.LayerType.QUANTIZE for layer in layers),
        half=any(layer.num_outputs and layer.get_output(0).dtype == trt.DataType.HALF for layer in layers),
    )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if architecture:
        _set_architecture(trt, config, architecture)
    if dla_core is not None:
        use_core(trt, builder, config, core=dla_core, precision=precision)
    _add_profile(builder, config, network, source, shapes or {})
    times = trt.__name__ == "tensorrt"  # RTX chooses algorithms when the engine loads
    if times:
        config.set_timing_cache(config.create_timing_cache(timing_cache), ignore_mismatch=False)
    if progress is not None:
        config.progress_monitor = _monitor(trt, progress)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise EngineError(f"{source}: TensorRT {trt.__version__} cannot build it: {log}")
    learned = config.get_timing_cache() if times else None
    return bytes(engine), b"" if learned is None else bytes(learned.serialize())


def _set_architecture(trt: ModuleType, config: Any, architecture: str) -> None:
    name = architecture.replace("sm_", "SM")
    known = getattr(trt, "ComputeCapability", None)
    if known is None or not hasattr(config, "set_compute_capability"):
        raise EngineError(
            f"{trt.__name__} {trt.__version__} builds only for this machine's GPU, not for"
            f" {architecture}; TensorRT-RTX can"
        )
    if not hasattr(known, name):
        offered = sorted(n.replace("SM", "sm_") for n in known.__members__ if n.startswith("SM"))
        raise EngineError(
            f"{trt.__name__} {trt.__version__} has no {architecture}; it builds for {', '.join(offered)}"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(known, name), 0)


def _add_profile(
    builder: Any, config: Any, network: Any, source: str, shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Inputs whose extents vary take 1 to what `shapes` says, and are fastest there."""
    profile, varies = builder.create_optimization_profile(), False
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        given = tuple(tensor.shape)
        if -1 not in given:
            continue
        largest = shapes.get(tensor.name)
        if largest is None or len(largest) != len(given):
            raise EngineError(f"{source}: {tensor.name} has shape {given}; say with which one it shall run")
        if any(n not in (-1, m) for n, m in zip(given, largest)):
            raise EngineError(f"{source}: {tensor.name} has shape {given}, {largest} was asked for")
        smallest = tuple(1 if n == -1 else n for n in given)
        profile.set_shape(tensor.name, smallest, largest, largest)
        varies = True
    if varies:
        config.add_optimization_profile(profile)


def _monitor(trt: ModuleType, progress: Progress) -> Any:
    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self.steps[phase_name] = num_steps
            progress(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            progress(phase_name, step + 1, self.steps.get(phase_name, 0))
            return True  # go on

        def phase_finish(self, phase_name: str) -> None:
            steps = self.steps.pop(phase_name, 0)
            progress(phase_name, steps, steps)

    return Monitor()
