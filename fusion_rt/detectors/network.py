"""Any ONNX file, with tensors of any type and outputs of any length.

The engines of `fusion_rt.engine` keep their buffers for life, which other people's exports do not allow: a
choice of boxes has another length each time, and labels are integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from fusion_rt.detectors.recipe import nearest
from fusion_rt.engine.buffers import identity
from fusion_rt.engine.openvino import compiled_for_cpu, shared_core
from fusion_rt.errors import EngineError

Shapes = Mapping[str, tuple[int, ...] | None]


class Network:
    """A compiled file of which the caller knows the names and shapes; None is any shape. Where the file
    leaves an input's extent open, the caller's is taken.

    identity    runtime, its version, precision and the digest of the file
    Raises EngineError: the file does not load, has other names or other shapes."""

    def __init__(
        self, path: Path, *, inputs: Mapping[str, tuple[int, ...]], outputs: Shapes, threads: int
    ) -> None:
        self._path = path
        if not path.is_file():
            raise EngineError(f"{path}: no such model file")
        try:
            model = shared_core().read_model(str(path))
        except RuntimeError as error:
            raise EngineError(f"{path}: OpenVINO cannot load it ({_line(error)})") from error
        _check(path, "input", inputs, model.inputs)
        _check(path, "output", outputs, model.outputs)
        try:
            model.reshape({name: list(shape) for name, shape in inputs.items()})
            compiled = compiled_for_cpu(model, threads)
        except RuntimeError as error:
            raise EngineError(f"{path}: OpenVINO cannot run it ({_line(error)})") from error
        self.identity = identity("openvino", openvino.__version__.split("-")[0], "f32", path)
        self._request = compiled.create_infer_request()
        self._outputs = {name: compiled.output(name) for name in outputs}
        self.inputs: dict[str, NDArray[Any]] = {}
        for name in inputs:
            port = compiled.input(name)
            array = np.zeros(tuple(port.get_shape()), port.get_element_type().to_dtype())
            self._request.set_tensor(port, openvino.Tensor(array, shared_memory=True))
            self.inputs[name] = array

    def run(self) -> dict[str, NDArray[Any]]:
        """The outputs, until the next run. Raises EngineError when it fails or one is not finite."""
        try:
            self._request.infer()
        except RuntimeError as error:
            raise EngineError(f"{self._path}: {_line(error)}") from error
        outputs = {name: self._request.get_tensor(port).data for name, port in self._outputs.items()}
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                bad = int(np.count_nonzero(~np.isfinite(array)))
                raise EngineError(f"{self._path}: {bad} of {array.size} values of {name} are not finite")
        return outputs


def _check(path: Path, kind: str, wanted: Shapes, ports: list[Any]) -> None:
    """Raises EngineError unless the file has each of `wanted`, and no input beside them."""
    found = {name: port for port in ports for name in port.get_names()}
    for name, shape in wanted.items():
        if name not in found:
            hint = nearest(name, tuple(sorted(found)))
            raise EngineError(f"{path}: no {kind} {name!r}{hint}")
        got = found[name].get_partial_shape()
        if shape is not None and not got.compatible(openvino.PartialShape(list(shape))):
            raise EngineError(f"{path}: {kind} {name!r} is {_shown(got)}, the recipe expects {shape}")
    if kind == "input":
        more = [port.get_any_name() for port in ports if not set(wanted) & port.get_names()]
        if more:
            raise EngineError(f"{path}: input {more[0]!r} is not in the recipe, which gives {list(wanted)}")


def _shown(shape: openvino.PartialShape) -> str:
    if shape.rank.is_dynamic:
        return "of any shape"
    extents = (str(n.get_length()) if n.is_static else "any" for n in shape)
    return f"({', '.join(extents)})"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
