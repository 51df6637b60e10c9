"""What eight bits are made of: steps, biases, and the pairs that TensorRT gets."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fusion_rt.engine.signed import with_signed_pairs
from fusion_rt.errors import EngineError
from fusion_rt.train import quantize
from fusion_rt.train.activation_ranges import activation_steps, tapped
from fusion_rt.train.bias_correction import correct_biases


def network(weights, bias=0.0, name="conv"):
    """x (1, 1, h, w) -> ReLU -> a 1x1 convolution."""
    weights = np.asarray(weights, np.float32).reshape(-1, 1, 1, 1)
    held = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.full(len(weights), bias, np.float32), "bias"),
    ]
    nodes = [
        helper.make_node("Relu", ["x"], ["above"], name="relu"),
        helper.make_node("Conv", ["above", "weights", "bias"], ["y"], name=name, kernel_shape=[1, 1]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 40, 50])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, len(weights), 40, 50])
    graph = helper.make_graph(nodes, "g", [x], [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def inputs(n=4, scale=1.0):
    rng = np.random.default_rng(1)
    return [{"x": scale * rng.normal(size=(1, 1, 40, 50)).astype(np.float32)} for _ in range(n)]


def test_steps_are_unsigned_where_nothing_is_negative():
    steps = activation_steps(network([1.0]), ["x", "above"], inputs())
    assert (steps["x"].unsigned, steps["above"].unsigned) == (False, True)
    assert steps["above"].scale < steps["x"].scale


def test_a_step_errs_least_of_all():
    feeds = inputs()
    feeds[0]["x"][0, 0, 0, 0] = 1000.0  # one value of many must not coarsen the others
    step = activation_steps(network([1.0]), ["above"], feeds)["above"]
    values = np.concatenate([np.maximum(f["x"], 0).ravel() for f in feeds])

    def error(scale):
        return np.square(np.clip(np.rint(values / scale), 0, 255) * scale - values).mean()

    assert error(step.scale) == pytest.approx(min(error(1000 / 255 * r) for r in np.geomspace(0.05, 1, 60)))


def test_nothing_but_zeros_has_a_step_too():
    step = activation_steps(network([1.0]), ["above"], [{"x": np.zeros((1, 1, 40, 50), np.float32)}])["above"]
    assert step.scale > 0


def test_a_bias_takes_back_what_weights_shift():
    feeds, reference, shifted = inputs(), network([1.0, -2.0], 0.5), network([1.1, -2.3], 0.5)
    correct_biases(shifted, reference, feeds)
    found, wanted = (
        np.mean([tapped(model, ["y"]).run(None, f)[0].mean(axis=(0, 2, 3)) for f in feeds], axis=0)
        for model in (shifted, reference)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.fixture
def files(tmp_path):
    onnx.save(network([0.3, -1.7, 0.02]), tmp_path / "bev.onnx")
    quantize.quantize_part("bev", tmp_path / "bev.onnx", tmp_path / "bev.int8.onnx", inputs())
    return tmp_path


def answers(model, feeds):
    return np.stack([tapped(model, ["y"]).run(None, f)[0] for f in feeds])


def test_a_file_of_eight_bits(files):
    feeds = inputs()
    exact = answers(onnx.load(files / "bev.onnx"), feeds)
    unsigned = onnx.load(files / "bev.int8.onnx")
    assert {t.data_type for t in unsigned.graph.initializer} >= {TensorProto.UINT8, TensorProto.INT8}
    signed = onnx.load_from_string(with_signed_pairs(unsigned.SerializeToString(), "bev"))
    onnx.checker.check_model(signed, full_check=True)
    assert TensorProto.UINT8 not in {t.data_type for t in signed.graph.initializer}
    fine, coarse = (np.abs(answers(m, feeds) - exact).mean() for m in (unsigned, signed))
    assert 0 < fine < 0.7 * coarse
    assert coarse < 0.01 * np.abs(exact).mean()


def test_signed_pairs_of_what_has_none(files):
    plain = (files / "bev.onnx").read_bytes()
    assert with_signed_pairs(plain, "bev") is plain
    with pytest.raises(EngineError, match=r"x\.onnx: not an ONNX model"):
        with_signed_pairs(b"QuantizeLinear and no more", "x.onnx")
