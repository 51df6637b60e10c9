"""ONNX Runtime on a GPU, through its CUDA provider."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime

from fusion_rt.engine.buffers import check_precision, identity
from fusion_rt.engine.gpu import DeviceBuffers, GpuDevice, address
from fusion_rt.engine.onnxruntime import held_by
from fusion_rt.errors import EngineError

PROVIDER = "CUDAExecutionProvider"


class OnnxRuntimeCudaEngine:
    """One session bound to a device's buffers, on the device's stream.

    Raises EngineError: the package is the one for CPUs, CUDA's libraries or the card are not there, ..."""

    name = "onnxruntime-cuda"
    recordable = False

    def __init__(self, path: Path, precision: str, device: GpuDevice) -> None:
        if PROVIDER not in onnxruntime.get_available_providers():
            raise EngineError(
                f"onnxruntime {onnxruntime.__version__} is the one for CPUs; pip uninstall onnxruntime, then"
                " pip install onnxruntime-gpu"
            )
        self._once = onnxruntime.RunOptions()  # enqueues and does not wait
        self._once.add_run_config_entry("disable_synchronize_execution_providers", "1")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Without this, what the provider cannot run goes to the CPU and back, unseen.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self._device, self._stream = device, device.stream_handle
        cuda = {"user_compute_stream": str(self._stream), "do_copy_in_default_stream": "0"}
        model = path.read_bytes()
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=[(PROVIDER, cuda)])
        except Exception as error:  # its exceptions share no base but this
            raise EngineError(f"{path}: ONNX Runtime cannot run it on {device.name} ({error})") from error
        if self._session.get_providers()[0] != PROVIDER:
            raise EngineError(
                f"{path}: ONNX Runtime found no CUDA libraries that fit; see `fusion-rt doctor`"
            )
        check_precision(path, precision, **held_by(self._session, model))
        self.precision = precision
        self.identity = identity(self.name, onnxruntime.__version__, precision, path)
        self._path = path
        self._binding = self._session.io_binding()
        self.inputs: DeviceBuffers = self._bind(self._session.get_inputs(), device, self._binding.bind_input)
        self.outputs: DeviceBuffers = self._bind(
            self._session.get_outputs(), device, self._binding.bind_output
        )
        self.run()
        device.synchronize()

    def _bind(self, tensors: list[Any], device: GpuDevice, bind: Callable[..., None]) -> DeviceBuffers:
        buffers = {t.name: device.empty(tuple(t.shape), np.float32) for t in tensors}
        for name, buffer in buffers.items():
            bind(name, "cuda", 0, np.float32, buffer.shape, address(buffer))
        return MappingProxyType(buffers)

    def run(self) -> None:
        """Enqueue. Raises EngineError. A session has one stream: on another, it is waited for."""
        elsewhere = self._device.stream_handle != self._stream
        try:
            if elsewhere:
                self._device.synchronize()
            self._session.run_with_iobinding(self._binding, self._once)
            if elsewhere:
                self._device.synchronize()
        except Exception as error:
            raise EngineError(f"{self._path}: ONNX Runtime stopped: {error}") from error
