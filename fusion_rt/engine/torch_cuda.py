"""torch on a GPU, captured in a CUDA graph: for cards without TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from fusion_rt.engine.buffers import identity
from fusion_rt.engine.gpu import DeviceBuffers, GpuDevice
from fusion_rt.engine.torch_graph import TorchGraph
from fusion_rt.errors import EngineError

_WARM_UP = 3  # runs in which the libraries choose their algorithms and take their memory


class TorchCudaEngine:
    """The operators of the file, recorded once and replayed on the device's stream.

    replay: false puts them on the stream one by one each time, which tells what the recording gains.
    Raises EngineError: torch was built without CUDA, the card has no memory left, ..."""

    name = "torch-cuda"
    recordable = False

    def __init__(self, path: Path, precision: str, device: GpuDevice) -> None:
        if not torch.cuda.is_available():
            built = (
                f"was built for CUDA {torch.version.cuda}" if torch.version.cuda else "was built without CUDA"
            )
            raise EngineError(
                f"torch {torch.__version__} sees no GPU: it {built}; install the one for this driver from"
                " https://pytorch.org, or see `fusion-rt doctor`"
            )
        try:
            network = TorchGraph(path, precision, "cuda")
            self.inputs: DeviceBuffers = _empty(network.inputs, device)
            self.outputs: DeviceBuffers = _empty(network.outputs, device)
            # The same memory, as torch sees it.
            given = {name: torch.as_tensor(b, device="cuda") for name, b in self.inputs.items()}
            taken = {name: torch.as_tensor(b, device="cuda") for name, b in self.outputs.items()}
            device.synchronize()  # what it wrote there before
            aside = torch.cuda.Stream()
            self._recording, self.replay = torch.cuda.CUDAGraph(), True
            with torch.inference_mode(), torch.cuda.stream(aside):
                for _ in range(_WARM_UP):
                    _run(network, given, taken)
                aside.synchronize()
                with torch.cuda.graph(self._recording, stream=aside):
                    _run(network, given, taken)
        except RuntimeError as error:  # torch's own, out of memory among them
            raise EngineError(f"{path}: torch cannot run it on {device.name}: {error}") from error
        self._held = network, given, taken  # the recording uses their memory
        self._path, self._device, self.precision = path, device, precision
        self._streams: dict[int, torch.cuda.ExternalStream] = {}
        self.identity = identity(self.name, torch.__version__, precision, path)

    def run(self) -> None:
        """Enqueue. Raises EngineError where the device is lost."""
        handle = self._device.stream_handle
        try:
            stream = self._streams.setdefault(handle, torch.cuda.ExternalStream(handle))
            with torch.inference_mode(), torch.cuda.stream(stream):
                if self.replay:
                    self._recording.replay()
                else:
                    _run(*self._held)
        except RuntimeError as error:
            raise EngineError(f"{self._path}: torch stopped: {error}") from error


def _empty(shapes: list[tuple[str, tuple[int, ...]]], device: GpuDevice) -> DeviceBuffers:
    return MappingProxyType({name: device.empty(shape, np.float32) for name, shape in shapes})


def _run(graph: TorchGraph, given: Mapping[str, Any], taken: Mapping[str, Any]) -> None:
    for name, value in graph(given).items():
        taken[name].copy_(value)
