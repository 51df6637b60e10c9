import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fusion_rt.errors import ConfigError, EngineError
from fusion_rt.models.head import Head, describe


@pytest.fixture
def folder(tmp_path):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph([helper.make_node("Sigmoid", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "head.onnx")
    return tmp_path


def described(folder, **changed):
    fields = {
        "name": "h",
        "version": "1",
        "inputs": {"x": (1, 3)},
        "outputs": {"y": (1, 3)},
        "labels": {"y": ("a", "b", "c")},
        "trained_with": "by hand",
        "licence": "none",
    }
    return describe(folder, **(fields | changed))


def test_a_head_runs(folder):
    described(folder)
    head = Head.load(folder)
    head.inputs["x"][...] = [[0.0, 1.0, -1.0]]
    np.testing.assert_allclose(head.run()["y"], [[0.5, 0.7310586, 0.2689414]], rtol=1e-6)
    assert head.identity.startswith("h-1-")


def test_what_is_wrong_is_said(folder):
    with pytest.raises(ConfigError, match="no head there"):
        Head.load(folder)
    described(folder, labels={"y": ("a", "b")})
    with pytest.raises(ConfigError, match=r"labels\.y: 2 names do not fit"):
        Head.load(folder)
    described(folder, inputs={"x": (1, 4)})
    with pytest.raises(EngineError, match="different exports"):
        Head.load(folder)
    described(folder)
    with (folder / "head.onnx").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(EngineError, match="damaged"):
        Head.load(folder)
    (folder / "head.onnx").unlink()
    with pytest.raises(EngineError, match="missing"):
        Head.load(folder)
