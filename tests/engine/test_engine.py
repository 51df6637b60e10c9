import subprocess
import sys
import tracemalloc

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from fusion_rt.engine import RUNTIMES, load
from fusion_rt.errors import EngineError


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_buffers_are_fixed_and_named(package, runtime):
    engine = load(package / "camera.onnx", runtime=runtime, precision="f32")
    assert {n: a.shape for n, a in engine.inputs.items()} == {"image": (1, 3, 288, 960)}
    assert {n: a.shape for n, a in engine.outputs.items()} == {"features": (1, 72, 240, 32)}
    engine.inputs["image"][...] = 0.5
    before = engine.outputs["features"].ctypes.data
    engine.run()
    first = engine.outputs["features"].copy()
    assert np.abs(first).max() > 0
    engine.inputs["image"][...] = -0.5
    engine.run()
    assert engine.outputs["features"].ctypes.data == before
    assert not np.array_equal(engine.outputs["features"], first)
    with pytest.raises(TypeError):
        engine.inputs["image"] = np.zeros(1)  # the mapping is read-only
    assert engine.identity.startswith(f"{runtime}-")
    assert "-f32-" in engine.identity


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_running_allocates_no_arrays(package, runtime):
    engine = load(package / "refine.onnx", runtime=runtime, precision="f32")
    engine.run()
    tracemalloc.start()
    try:
        engine.run()
        start = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            engine.run()
        assert tracemalloc.get_traced_memory()[0] - start < 4096
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def gain(tmp_path_factory):
    """y = 1e30 x: a network without a ReLU, in which some runtimes turn NaN into 0."""
    path = tmp_path_factory.mktemp("gain") / "gain.onnx"
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4]) for n in "xy")
    k = helper.make_tensor("k", TensorProto.FLOAT, [1], [1e30])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "k"], ["y"])], "gain", [x], [y], [k])
    # The oldest format that knows opset 17: runtimes lag behind the onnx package.
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("values", "bad"), [((np.nan, 1.0), 1), ((np.inf, -np.inf), 2), ((1e30, -1e30), 2)], ids=str
)
def test_outputs_that_are_not_finite(gain, runtime, values, bad):
    engine = load(gain, runtime=runtime, precision="f32")
    engine.inputs["x"][0, 1:3] = values
    with pytest.raises(EngineError, match=rf"gain\.onnx: {bad} of 4 values of y are not finite"):
        engine.run()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_large_outputs_are_finite(gain, runtime):
    engine = load(gain, runtime=runtime, precision="f32")
    engine.inputs["x"][...] = 3e8  # their sum overflows
    engine.run()
    assert (engine.outputs["y"] > 1e38).all()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_a_damaged_file(package, tmp_path, runtime, damage):
    whole = (package / "refine.onnx").read_bytes()
    path = tmp_path / "refine.onnx"
    path.write_bytes({"cut": whole[: len(whole) // 2], "foreign": b"hello" * 99, "empty": b""}[damage])
    with pytest.raises(EngineError, match=r"refine\.onnx: .*(export|fetch)"):
        load(path, runtime=runtime, precision="f32")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_file_of_the_other_precision(package, runtime):
    with pytest.raises(EngineError, match="holds f32 layers, int8 was asked for"):
        load(package / "camera.onnx", runtime=runtime, precision="int8")
    with pytest.raises(EngineError, match="holds int8 layers, f32 was asked for"):
        load(package / "camera.int8.onnx", runtime=runtime, precision="f32")


def test_names_and_shapes_that_differ(package):
    with pytest.raises(
        EngineError, match=r"inputs are image \(1, 3, 288, 960\), expected picture \(1, 3, 2, 2\)"
    ):
        load(package / "camera.onnx", precision="f32", inputs={"picture": (1, 3, 2, 2)})
    with pytest.raises(EngineError, match=r"outputs are features .* export the package again"):
        load(package / "camera.onnx", precision="f32", outputs={"features": (1, 1)})


def test_no_file_no_runtime_no_precision(package, tmp_path):
    with pytest.raises(EngineError, match=r"bev\.onnx: no such model file"):
        load(tmp_path / "bev.onnx")
    with pytest.raises(EngineError, match="'tpu' is not one of openvino, onnxruntime, torch, tensorrt,"):
        load(package / "camera.onnx", runtime="tpu")
    with pytest.raises(EngineError, match="'f8' is not one of int8, f16, f32"):
        load(package / "camera.onnx", precision="f8")


SIGNALLED = """
import os, signal, sys, threading
from pathlib import Path
from fusion_rt import engine
seen = []
signal.signal(signal.SIGINT, lambda *_: seen.append(1))
path = Path(sys.argv[1])
shapes = {"inputs": {"image": (1, 3, 288, 960)}, "outputs": {"features": (1, 72, 240, 32)}}
loaded = [engine.load(path, runtime="openvino", precision="f32", threads=1, **shapes) for _ in range(2)]
thread = threading.Thread(target=loaded.clear)  # as the collector does when it runs in another thread
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGINT)
print(seen)
"""


def test_an_engine_that_another_thread_drops_leaves_signals_alone(package):
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALLED, str(package / "camera.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "[1]\n"), done.stderr
