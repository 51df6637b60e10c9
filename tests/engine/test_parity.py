"""Every runtime says what torch says, on random weights and on the weights that ship."""

import numpy as np
import pytest
import torch

from fusion_rt.engine import load
from fusion_rt.models.package import PARTS, WEIGHTS, ModelPackage
from fusion_rt.models.presets import DRIVING_S
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.quantize import QUANTISED

FAST = ("openvino", "onnxruntime")


def fill(engine, seed=1):
    """Like real canvases: most cells empty, magnitudes around one."""
    rng = np.random.default_rng(seed)
    for name, array in engine.inputs.items():
        array[...] = rng.random(array.shape, dtype=np.float32)
        if name in ("pillars", "camera_bev", "state"):
            array *= rng.random((*array.shape[:3], 1)) < 0.2
        if name == "context":
            array[...] = 0
            array[0, 3:7] = 1


def outputs(path, runtime, precision):
    engine = load(path, runtime=runtime, precision=precision)
    fill(engine)
    engine.run()
    return engine.outputs


@pytest.mark.parametrize("part", PARTS)
def test_float_runtimes_agree(package, part):
    reference = outputs(package / f"{part}.onnx", "torch", "f32")
    for runtime in FAST:
        for name, value in outputs(package / f"{part}.onnx", runtime, "f32").items():
            np.testing.assert_allclose(value, reference[name], atol=2e-4, rtol=1e-3, err_msg=runtime)


@pytest.mark.parametrize("part", PARTS)
def test_the_export_is_the_network(package, part):
    net = DrivingNet(DRIVING_S).eval()
    net.load_state_dict(torch.load(package / "net.pt", weights_only=True))
    engine = load(package / f"{part}.onnx", runtime="torch", precision="f32")
    fill(engine)
    engine.run()
    planes = ("image", "heatmap")  # all other canvases have their channels last
    given = [
        torch.from_numpy(a if a.ndim < 4 or n in planes else a.transpose(0, 3, 1, 2))
        for n, a in engine.inputs.items()
    ]
    with torch.no_grad():
        got = getattr(net, part)(*given)
    for (name, value), tensor in zip(
        engine.outputs.items(), (got,) if isinstance(got, torch.Tensor) else got
    ):
        expected = tensor.numpy()
        if expected.ndim == 4 and name not in planes:
            expected = expected.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(value, expected, atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("part", QUANTISED)
def test_int8_runtimes_agree(package, part):
    """They round at different places, so a value may be off by a step; not by more on the whole."""
    reference = outputs(package / f"{part}.int8.onnx", "torch", "int8")
    for runtime in FAST:
        for name, value in outputs(package / f"{part}.int8.onnx", runtime, "int8").items():
            error = np.abs(value - reference[name]).mean() / np.abs(reference[name]).mean()
            assert error < 0.05, (runtime, name, error)


@pytest.mark.skipif(
    not (WEIGHTS / "driving-s" / "model.yaml").is_file(), reason="no weights in this checkout"
)
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_the_weights_that_ship(precision):
    shipped = ModelPackage.load("driving-s")
    for part in PARTS:
        path, held = shipped.path(part, precision), shipped.held(part, precision)
        reference = outputs(path, "torch", held)
        for name, value in outputs(path, "openvino", held).items():
            if held == "f32":
                np.testing.assert_allclose(value, reference[name], atol=1e-3, rtol=1e-3, err_msg=name)
            else:
                error = np.abs(value - reference[name]).mean() / np.abs(reference[name]).mean()
                assert error < 0.15, (part, name, error)
