"""torch on the CPU runs the same ONNX file: the reference that the fast engines are held to."""

from __future__ import annotations

from pathlib import Path

import torch

from fusion_rt.engine.buffers import Buffers, check_finite, identity, make_buffers
from fusion_rt.engine.torch_graph import TorchGraph


class TorchEngine:
    """A graph of torch functions; for checking, not for speed."""

    name = "torch"

    def __init__(self, path: Path, precision: str, threads: int) -> None:
        self._graph = TorchGraph(path, precision)
        self.precision = precision
        self.identity = identity(self.name, torch.__version__, precision, path)
        self._path, self._threads = path, threads
        self.inputs: Buffers = make_buffers(path, self._graph.inputs)
        self.outputs: Buffers = make_buffers(path, self._graph.outputs)

    @torch.inference_mode()
    def run(self) -> None:
        threads = torch.get_num_threads()
        torch.set_num_threads(self._threads)
        try:
            values = self._graph({name: torch.from_numpy(a) for name, a in self.inputs.items()})
            for name, array in self.outputs.items():
                array[...] = values[name].numpy()
        finally:
            torch.set_num_threads(threads)
        check_finite(self._path, self.outputs)
