"""An engine of the CPU beside a card: where a network has no engine of the card's own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from fusion_rt.device.buffers import DeviceBuffer
from fusion_rt.engine import Engine

if TYPE_CHECKING:
    from fusion_rt.device.cuda import CudaDevice


class HostedEngine:
    """engine.Engine on a card's buffers: they come down, the CPU runs, and its outputs go up. It waits for
    the card each time: for checks, and for cards without a runtime; not for speed."""

    recordable = False

    def __init__(self, engine: Engine, device: CudaDevice) -> None:
        self._engine, self._device = engine, device
        self.name, self.precision, self.identity = engine.name, engine.precision, engine.identity
        self.inputs = self._buffers(engine.inputs)
        self.outputs = self._buffers(engine.outputs)

    def run(self) -> None:
        for name, buffer in self.inputs.items():
            self._device.download(buffer, self._engine.inputs[name])
        self._engine.run()
        for name, buffer in self.outputs.items():
            self._device.upload(self._engine.outputs[name], buffer)

    def _buffers(self, arrays: Mapping[str, Any]) -> Mapping[str, DeviceBuffer]:
        made = {name: self._device.empty(array.shape, np.float32) for name, array in arrays.items()}
        return MappingProxyType(made)
