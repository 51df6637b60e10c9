"""What engines on a GPU share: the device they ask, and a way to use one from host memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fusion_rt.engine.buffers import Buffers, check_finite

DeviceBuffers = Mapping[str, Any]  # name -> float32, with __cuda_array_interface__


class GpuDevice(Protocol):
    """What an engine asks of a device; `CudaDevice` is one.

    name           the card, as its driver calls it
    architecture   "sm_90"
    stream_handle  the CUDA stream on which it enqueues now, as a number; it may work on several in turn
    """

    @property
    def name(self) -> str: ...
    @property
    def architecture(self) -> str: ...
    @property
    def stream_handle(self) -> int: ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any: ...
    def upload(self, array: NDArray[Any], out: Any) -> None: ...
    def download(self, buffer: Any, out: NDArray[Any]) -> None: ...
    def synchronize(self) -> None: ...


class DeviceEngine(Protocol):
    """An engine whose buffers are a device's. `run` enqueues on the device's stream and returns; it does not
    look at the outputs."""

    name: str
    precision: str
    identity: str

    @property
    def inputs(self) -> DeviceBuffers: ...

    @property
    def outputs(self) -> DeviceBuffers: ...

    def run(self) -> None: ...


class StagedEngine:
    """A device's engine behind host arrays: `run` uploads the inputs, waits for the outputs and brings them
    back. So a pipeline whose kernels run on the CPU uses it, and so it is compared with other engines."""

    def __init__(self, engine: DeviceEngine, device: GpuDevice, path: Path) -> None:
        self._engine, self._device, self._path = engine, device, path
        self.name, self.precision, self.identity = engine.name, engine.precision, engine.identity
        self.inputs, self.outputs = _host(engine.inputs), _host(engine.outputs)

    def run(self) -> None:
        for name, array in self.inputs.items():
            self._device.upload(array, self._engine.inputs[name])
        self._engine.run()
        for name, array in self.outputs.items():
            self._device.download(self._engine.outputs[name], array)
        self._device.synchronize()
        check_finite(self._path, self.outputs)


def _host(buffers: DeviceBuffers) -> Buffers:
    return MappingProxyType({name: np.zeros(b.shape, np.float32) for name, b in buffers.items()})


def address(buffer: Any) -> int:
    """Where a device buffer's data lies."""
    return int(buffer.__cuda_array_interface__["data"][0])
