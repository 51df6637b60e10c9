"""FP16 files: what they hold, and that they say what the float files say."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from fusion_rt.engine import RUNTIMES, load
from fusion_rt.errors import EngineError
from fusion_rt.models.package import PARTS, ModelPackage
from fusion_rt.train.half import LARGEST, write_half


@pytest.fixture(scope="module")
def halves(package, tmp_path_factory):
    """part -> the FP16 file of a network with random weights."""
    folder = tmp_path_factory.mktemp("half")
    for part in PARTS:
        write_half(package / f"{part}.onnx", folder / f"{part}.f16.onnx")
    return {part: folder / f"{part}.f16.onnx" for part in PARTS}


@pytest.mark.parametrize("part", PARTS)
def test_only_inputs_and_outputs_are_float(halves, part):
    model = onnx.shape_inference.infer_shapes(onnx.load(str(halves[part])), strict_mode=True)
    graph = model.graph
    kinds = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.input, *graph.output)}
    outside = {v.name for v in (*graph.input, *graph.output)}
    assert {kinds[name] for name in outside} == {TensorProto.FLOAT}
    # Numbers that say where to cut or how far to enlarge have types of their own.
    computed = {name for n in graph.node if n.op_type != "Constant" for name in n.output} - outside
    assert {kinds[name] for name in computed} == {TensorProto.FLOAT16}
    assert {t.data_type for t in graph.initializer if t.dims} <= {TensorProto.FLOAT16, TensorProto.INT64}


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("part", PARTS)
def test_nearly_what_the_float_file_says(package, halves, part, runtime):
    rng = np.random.default_rng(4)
    whole = load(package / f"{part}.onnx", runtime="openvino", precision="f32")
    half = load(halves[part], runtime=runtime, precision="f16")
    for name, array in whole.inputs.items():
        array[...] = half.inputs[name][...] = rng.random(array.shape, dtype=np.float32)
    whole.run()
    half.run()
    for name, value in half.outputs.items():
        assert value.dtype == np.float32
        error = np.abs(value - whole.outputs[name]).mean() / np.abs(whole.outputs[name]).mean()
        assert error < 0.005, (name, error)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_file_of_another_precision(package, halves, runtime):
    with pytest.raises(EngineError, match="holds f16 layers, f32 was asked for"):
        load(halves["refine"], runtime=runtime, precision="f32")
    with pytest.raises(EngineError, match="holds f32 layers, f16 was asked for"):
        load(package / "refine.onnx", runtime=runtime, precision="f16")


def test_the_package_that_ships_has_it():
    shipped = ModelPackage.load("driving-s")
    for part in PARTS:
        assert shipped.held(part, "f16") == "f16"
        engine = load(shipped.path(part, "f16"), precision="f16")
        whole = load(shipped.path(part, "f32"), precision="f32")
        for name, array in engine.inputs.items():
            array[...] = whole.inputs[name][...] = np.float32(0.25)
        engine.run()
        whole.run()
        for name, value in engine.outputs.items():
            np.testing.assert_allclose(value, whole.outputs[name], atol=0.02, rtol=0.02)


def test_a_weight_that_is_too_large_is_refused(tmp_path):
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy")
    k = helper.make_tensor("k", TensorProto.FLOAT, [4], [1, 2, 3, 1e6])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "k"], ["y"])], "gain", [x], [y], [k])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), str(tmp_path / "a.onnx"))
    with pytest.raises(EngineError, match=rf"a\.onnx: k holds 1e\+06, half precision ends at {LARGEST:g}"):
        write_half(tmp_path / "a.onnx", tmp_path / "b.onnx")
    assert not (tmp_path / "b.onnx").exists()


@pytest.mark.parametrize("precision", ["f16", "int8"])
@pytest.mark.parametrize("part", PARTS)
def test_nothing_in_a_run_waits_for_a_gpu(part, precision):
    """So that torch can capture it. Tensors without data on a GPU that is not there: a look at a value, or a
    host tensor among those of the GPU, raises."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    from fusion_rt.engine.torch_graph import TorchGraph

    shipped = ModelPackage.load("driving-s")
    graph = TorchGraph(shipped.path(part, precision), shipped.held(part, precision))
    with FakeTensorMode(), torch.no_grad():
        for name, value in graph.constants.items():
            if name not in graph.on_host:
                graph.constants[name] = torch.empty(value.shape, dtype=value.dtype, device="cuda")
        given = {name: torch.empty(shape, device="cuda") for name, shape in graph.inputs}
        for name, value in graph(given).items():
            assert value.device.type == "cuda"
            assert tuple(value.shape) == dict(graph.outputs)[name]
