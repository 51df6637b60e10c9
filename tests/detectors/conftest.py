"""ONNX files made on the spot, small enough to say by hand what they should give."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

CLASSES = ("car", "pedestrian", "cyclist")
# A detector of two classes on a grid of 2 x 3 cells, for images of 30 x 20 px.
GRID = {
    "family": "grid",
    "name": "tiny",
    "image": {"name": "image", "width": 30, "height": 20},
    "output": "cells",
    "rows": 2,
    "columns": 3,
    "score_threshold": 0.3,
    "classes": ["auto", "person"],
    "class_map": {"auto": "car", "person": ["pedestrian", "cyclist"]},
}


def grid_cells(*filled) -> np.ndarray:
    """(1, 7, 2, 3); filled: (row, column, class, objectness). Their boxes are a third and a half of the input
    wide and high, their middles on the corners of the cells."""
    cells = np.zeros((1, 7, 2, 3), np.float32)
    for row, column, kind, objectness in filled:
        cells[0, 0, row, column] = objectness
        cells[0, 3:5, row, column] = (np.log(0.5), 0.0)
        cells[0, 5 + kind, row, column] = 1.0
    return cells


@pytest.fixture(scope="session")
def make_onnx() -> Callable[..., Path]:
    """A file whose outputs are the given arrays whatever it is shown; NaN where an input's largest number is
    `nan_at`."""
    onnx = pytest.importorskip("onnx")
    helper, tensor = onnx.helper, onnx.numpy_helper.from_array

    def make(path, inputs, outputs, *, open_outputs=(), nan_at=1.0):
        nodes, constants = (
            [],
            [tensor(np.array(nan_at, np.float32), "bad"), tensor(np.array(0, np.float32), "zero")],
        )
        nothing = "zero"
        for k, (name, (_, kind)) in enumerate(inputs.items()):
            given = name
            if kind != onnx.TensorProto.FLOAT:
                given = f"float{k}"
                nodes.append(helper.make_node("Cast", [name], [given], to=onnx.TensorProto.FLOAT))
            nodes += [
                helper.make_node("ReduceMax", [given], [f"most{k}"], keepdims=0),
                helper.make_node("Sub", ["bad", f"most{k}"], [f"left{k}"]),
                helper.make_node("Abs", [f"left{k}"], [f"size{k}"]),
                helper.make_node("Log", [f"size{k}"], [f"log{k}"]),
                helper.make_node("Mul", ["zero", f"log{k}"], [f"nothing{k}"]),
                helper.make_node("Add", [nothing, f"nothing{k}"], [f"sum{k}"]),
            ]
            nothing = f"sum{k}"
        for name, array in outputs.items():
            constants.append(tensor(array, f"{name}_value"))
            if array.dtype == np.float32:
                nodes.append(helper.make_node("Add", [f"{name}_value", nothing], [name]))
            else:
                nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
        graph = helper.make_graph(
            nodes,
            "detector",
            [helper.make_tensor_value_info(name, kind, shape) for name, (shape, kind) in inputs.items()],
            [
                helper.make_tensor_value_info(
                    name,
                    helper.np_dtype_to_tensor_dtype(array.dtype),
                    [None] * array.ndim if name in open_outputs else array.shape,
                )
                for name, array in outputs.items()
            ],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString())
        return path

    return make


@pytest.fixture
def grid_onnx(make_onnx, tmp_path) -> Callable[..., Path]:
    """A file for GRID that shows the cells of `grid_cells`."""

    def make(*filled, shape=(1, 3, 20, 30), name="image"):
        return make_onnx(tmp_path / "grid.onnx", {name: (shape, 1)}, {"cells": grid_cells(*filled)})

    return make


@pytest.fixture
def write_recipe(tmp_path) -> Callable[..., Path]:
    """A recipe file: GRID, or another base, with changes; `image` merges into the one there."""

    def write(base=GRID, *, image=None, **changes):
        recipe = base | changes
        if image is not None:
            recipe["image"] = recipe["image"] | image
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write
