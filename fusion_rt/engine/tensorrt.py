"""TensorRT and TensorRT-RTX: the fastest on NVIDIA, from engines that were built for the very card.

An engine is built once and then found by its content; see `cache.py`. Building takes from seconds to minutes,
so a running pipeline lets another process build (`fusion-rt build`) while another engine serves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np

from fusion_rt.engine import tensorrt_build
from fusion_rt.engine.buffers import identity
from fusion_rt.engine.cache import EngineCache, EngineKey
from fusion_rt.engine.gpu import DeviceBuffers, GpuDevice, address
from fusion_rt.engine.tensorrt_build import Log, Progress, load_module
from fusion_rt.engine.tensorrt_dla import CORES, run_on_core
from fusion_rt.errors import EngineError

Shapes = Mapping[str, tuple[int, ...]]


def engine_key(
    trt: ModuleType, runtime: str, path: Path, precision: str, shapes: Shapes, *, gpu: str, architecture: str
) -> EngineKey:
    """By which the engine of a file is found. TensorRT-RTX compiles for a card when it loads: its engines
    serve every card of the architecture. Raises EngineError where the file cannot be read."""
    try:
        model = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path}: cannot be read: {error}") from error
    return EngineKey(
        model=hashlib.sha256(model).hexdigest(),
        part=path.name.removesuffix(".onnx"),
        runtime=runtime,
        version=trt.__version__,
        gpu="" if runtime == "tensorrt-rtx" else gpu,
        architecture=architecture,
        precision=precision,
        shapes={name: tuple(shape) for name, shape in shapes.items()},
    )


def find_or_build(
    trt: ModuleType,
    path: Path,
    key: EngineKey,
    cache: EngineCache,
    *,
    progress: Progress | None = None,
    here: bool = True,
) -> bytes:
    """The serialised engine; where two processes want the same one, one builds and both have it.

    here: for the GPU of this machine. Raises EngineError."""
    with cache.building(key):
        engine = cache.get(key)
        if engine is not None:
            return engine
        # What TensorRT measured of algorithms holds for one card and one version.
        learned = (
            f"{hashlib.sha256(f'{key.runtime} {key.version} {key.gpu}'.encode()).hexdigest()[:16]}.timing"
        )
        engine, timing = tensorrt_build.build(
            trt,
            path.read_bytes(),
            str(path),
            precision=key.precision,
            shapes=key.shapes,
            architecture="" if here and key.runtime != "tensorrt-rtx" else key.architecture,
            dla_core=CORES.get(key.runtime),
            timing_cache=cache.get_note(learned) or b"",
            progress=progress,
        )
        cache.put(key, engine)
        if timing:
            with suppress(EngineError):  # it only saves time
                cache.put_note(learned, timing)
        return engine


class TensorRtEngine:
    """One execution context on a device's buffers; `run` enqueues on its stream, also while that is recorded.

    shapes: of the inputs whose extents vary in the file. Raises EngineError: TensorRT is not installed, does
    not support the card or the file, there is no memory."""

    recordable = True  # shapes and addresses are fixed, and the first run was made

    def __init__(
        self,
        path: Path,
        precision: str,
        device: GpuDevice,
        *,
        runtime: str = "tensorrt",
        cache: EngineCache | None = None,
        shapes: Shapes | None = None,
        progress: Progress | None = None,
    ) -> None:
        trt = load_module(runtime)
        self.name, self.precision = runtime, precision
        self._path, self._log = path, Log(trt)
        cache = cache or EngineCache()
        key = engine_key(
            trt, runtime, path, precision, shapes or {}, gpu=device.name, architecture=device.architecture
        )
        serialised = find_or_build(trt, path, key, cache, progress=progress)
        # Each holds the next alive.
        self._runtime = trt.Runtime(self._log.logger)
        if runtime in CORES:
            run_on_core(self._runtime, CORES[runtime])
        self._engine = self._runtime.deserialize_cuda_engine(serialised)
        if self._engine is None:
            raise EngineError(f"{path}: TensorRT {trt.__version__} cannot load its engine: {self._log}")
        self._compiled = f"{key.name}.compiled" if runtime == "tensorrt-rtx" else ""
        self._context = self._new_context(cache)
        if self._context is None:
            raise EngineError(f"{path}: no memory for the engine on {device.name}? {self._log}")
        self.identity = identity(runtime, trt.__version__, precision, path)
        self._device = device
        self.inputs, self.outputs = self._bind(trt, device, shapes or {})
        self.run()
        device.synchronize()  # the first run compiles and may fail
        if self._compiled:
            with suppress(EngineError):  # it only saves time
                cache.put_note(self._compiled, bytes(self._kernels.serialize()))

    def _new_context(self, cache: EngineCache) -> Any:
        """With TensorRT-RTX, which compiles its kernels when they first run, those of the last time."""
        if not self._compiled:
            return self._engine.create_execution_context()
        settings = self._engine.create_runtime_config()
        self._kernels = settings.create_runtime_cache()
        compiled = cache.get_note(self._compiled)
        if compiled:
            self._kernels.deserialize(compiled)
        settings.set_runtime_cache(self._kernels)
        return self._engine.create_execution_context(settings)

    def _bind(
        self, trt: ModuleType, device: GpuDevice, shapes: Shapes
    ) -> tuple[DeviceBuffers, DeviceBuffers]:
        """Buffers for every tensor, made once."""
        engine, context = self._engine, self._context
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        inputs = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.INPUT]
        for name in inputs:
            shape = tuple(shapes.get(name, engine.get_tensor_shape(name)))
            if not context.set_input_shape(name, shape):
                raise EngineError(f"{self._path}: {name} cannot have shape {shape}: {self._log}")
        buffers: dict[str, Any] = {}
        for name in names:
            if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
                raise EngineError(f"{self._path}: {name} is not float32; export the model again")
            buffers[name] = device.empty(tuple(context.get_tensor_shape(name)), np.float32)
            if not context.set_tensor_address(name, address(buffers[name])):
                raise EngineError(f"{self._path}: TensorRT refuses the memory of {name}: {self._log}")
        return (
            MappingProxyType({n: buffers[n] for n in inputs}),
            MappingProxyType({n: b for n, b in buffers.items() if n not in inputs}),
        )

    def run(self) -> None:
        """Enqueue. Raises EngineError where TensorRT cannot; what goes wrong later, the device tells when it
        is waited for."""
        if not self._context.execute_async_v3(self._device.stream_handle):
            raise EngineError(f"{self._path}: TensorRT stopped: {self._log}")
