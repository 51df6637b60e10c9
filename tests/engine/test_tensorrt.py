"""TensorRT-RTX builds every exported model here, without a GPU; and every name that we use exists in the
bindings of TensorRT 10, 11 and RTX."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import onnx
import pytest
from onnx import TensorProto, helper

from fusion_rt.device import CpuDevice
from fusion_rt.engine import CARD_RUNTIMES, load
from fusion_rt.engine import tensorrt as tensorrt_engine
from fusion_rt.engine.cache import EngineCache
from fusion_rt.engine.tensorrt import engine_key, find_or_build
from fusion_rt.engine.tensorrt_build import build, load_module
from fusion_rt.engine.tensorrt_dla import use_core
from fusion_rt.errors import EngineError
from fusion_rt.models.package import PARTS, ModelPackage
from fusion_rt.models.presets import DRIVING_M

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [
    ROOT / "fusion_rt" / "engine" / name for name in ("tensorrt.py", "tensorrt_build.py", "tensorrt_dla.py")
]
ARCHITECTURES = ("sm_86", "sm_89", "sm_120")
BINDINGS = ROOT / "build" / "tensorrt-bindings"  # `make test` puts a folder a version there

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="no TensorRT-RTX: pip install 'fusion-rt[tensorrt-rtx]'",
)


@pytest.fixture(scope="module")
def rtx():
    return load_module("tensorrt-rtx")


@pytest.fixture(scope="module")
def larger(tmp_path_factory):
    """The float and FP16 files of driving-m with random weights: part and precision -> file."""
    import torch

    from fusion_rt.train.export import export_part
    from fusion_rt.train.half import write_half
    from fusion_rt.train.network import DrivingNet

    torch.manual_seed(0)
    net, folder, files = DrivingNet(DRIVING_M).eval(), tmp_path_factory.mktemp("driving-m"), {}
    for part in PARTS:
        files[part, "f32"], files[part, "f16"] = folder / f"{part}.onnx", folder / f"{part}.f16.onnx"
        export_part(net, part, files[part, "f32"])
        write_half(files[part, "f32"], files[part, "f16"])
    return files


@needs_rtx
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_model_that_ships_builds(rtx, architecture):
    package = ModelPackage.load("driving-s")
    for precision in package.spec.precisions:
        for part in PARTS:
            path, held = package.path(part, precision), package.held(part, precision)
            engine, _ = build(rtx, path.read_bytes(), str(path), precision=held, architecture=architecture)
            assert len(engine) > 100_000


@needs_rtx
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_larger_preset_builds(rtx, larger, architecture):
    for (_, precision), path in larger.items():
        engine, _ = build(rtx, path.read_bytes(), str(path), precision=precision, architecture=architecture)
        assert len(engine) > 100_000


@needs_rtx
def test_progress_is_told(rtx):
    path, told = ModelPackage.load("driving-s").path("refine", "f16"), []
    build(
        rtx,
        path.read_bytes(),
        str(path),
        precision="f16",
        architecture="sm_89",
        progress=lambda phase, step, steps: told.append((phase, step, steps)),
    )
    phases = {phase for phase, _, _ in told}
    assert len(phases) > 2
    for phase in phases:
        steps = [step for p, step, _ in told if p == phase]
        assert steps[-1] == max(steps) == max(n for p, _, n in told if p == phase)


@needs_rtx
def test_what_cannot_be_built(rtx, tmp_path):
    package = ModelPackage.load("driving-s")
    half = package.path("refine", "f16")
    with pytest.raises(EngineError, match=r"x\.onnx: (not an ONNX model|TensorRT 1\.\S+ cannot parse)"):
        build(rtx, b"hello", "x.onnx", precision="f16")
    with pytest.raises(EngineError, match=r"has no sm_90; it builds for sm_120, .*sm_89"):
        build(rtx, half.read_bytes(), "x", precision="f16", architecture="sm_90")
    with pytest.raises(EngineError, match="x: holds f16 layers, int8 was asked for"):
        build(rtx, half.read_bytes(), "x", precision="int8")
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [4]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Unheard", ["x"], ["y"], domain="of")], "g", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("of", 1)]
    strange = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    with pytest.raises(EngineError, match=r"y\.onnx: TensorRT 1\.\S+ cannot parse it: .*Unheard"):
        build(rtx, strange, "y.onnx", precision="f32")


@needs_rtx
def test_a_machine_without_dla_says_so(rtx):
    path = ModelPackage.load("driving-s").path("refine", "f16")
    with pytest.raises(EngineError, match=r"TensorRT .* sees no DLA here; DLA is in Jetson"):
        build(rtx, path.read_bytes(), str(path), precision="f16", dla_core=0)
    path = ModelPackage.load("driving-s").path("refine", "f32")
    with pytest.raises(EngineError, match="DLA computes in f16 and int8, not in f32"):
        build(rtx, path.read_bytes(), str(path), precision="f32", dla_core=0)


def test_dla_is_given_what_it_can_take():
    """The calls, in TensorRT's own names, which another test holds against the bindings."""
    trt = SimpleNamespace(
        __version__="10.7.0",
        DeviceType=SimpleNamespace(DLA="dla"),
        BuilderFlag=SimpleNamespace(GPU_FALLBACK="fallback"),
    )
    flags, config = [], SimpleNamespace()
    config.set_flag = flags.append
    use_core(trt, SimpleNamespace(num_DLA_cores=2), config, core=1, precision="int8")
    assert (config.default_device_type, config.DLA_core, flags) == ("dla", 1, ["fallback"])
    with pytest.raises(EngineError, match=r"TensorRT 10\.7\.0 sees no DLA core 1, but 1 here"):
        use_core(trt, SimpleNamespace(num_DLA_cores=1), config, core=1, precision="int8")


@needs_rtx
def test_extents_that_vary_need_a_profile(rtx):
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 8])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data = model.SerializeToString()
    onnx.checker.check_model(model)
    engine, _ = build(rtx, data, "x", precision="f32", architecture="sm_89", shapes={"x": (128, 8)})
    assert engine
    with pytest.raises(EngineError, match=r"x has shape \(-1, 8\); say with which one it shall run"):
        build(rtx, data, "x", precision="f32", architecture="sm_89")
    with pytest.raises(EngineError, match=r"x has shape \(-1, 8\), \(128, 9\) was asked for"):
        build(rtx, data, "x", precision="f32", architecture="sm_89", shapes={"x": (128, 9)})


@needs_rtx
def test_an_engine_is_built_once(rtx, tmp_path, monkeypatch):
    path, cache = ModelPackage.load("driving-s").path("refine", "f16"), EngineCache(tmp_path)
    card = {"gpu": "NVIDIA GeForce RTX 4090", "architecture": "sm_89"}
    key = engine_key(rtx, "tensorrt-rtx", path, "f16", {}, **card)
    first = find_or_build(rtx, path, key, cache)
    built = []
    monkeypatch.setattr(tensorrt_engine.tensorrt_build, "build", lambda *a, **k: built.append(1))
    assert find_or_build(rtx, path, key, cache) == first
    assert not built
    # One of RTX serves every card of its architecture; one of TensorRT the card it was measured on.
    other = {"gpu": "NVIDIA L40S", "architecture": "sm_89"}
    assert engine_key(rtx, "tensorrt-rtx", path, "f16", {}, **other) == key
    mine, theirs = (engine_key(rtx, "tensorrt", path, "f16", {}, **c) for c in (card, other))
    assert mine.name != theirs.name


class NoGpu(CpuDevice):
    """The CPU, which says that it is a card: as far as an engine gets without one."""

    name, architecture, stream_handle = "no card", "sm_89", 0


@needs_rtx
def test_without_a_driver_the_engine_says_why(tmp_path, monkeypatch):
    if Path("/dev/nvidiactl").exists():
        pytest.skip("there is a GPU")
    monkeypatch.setenv("FUSION_RT_CACHE", str(tmp_path))
    path = ModelPackage.load("driving-s").path("refine", "f16")
    with pytest.raises(
        EngineError, match=r"refine\.f16\.onnx: TensorRT 1\..* cannot load its engine: .*driver"
    ):
        load(path, runtime="tensorrt-rtx", precision="f16", device=NoGpu())
    assert list((tmp_path / "engines").glob("refine.f16-sm_89-*.engine"))


@pytest.mark.parametrize("runtime", CARD_RUNTIMES)
def test_a_runtime_that_is_not_there_says_what_to_do(runtime, tmp_path, monkeypatch):
    path = ModelPackage.load("driving-s").path("refine", "f16")
    with pytest.raises(EngineError, match=f"runtime '{runtime}' needs an NVIDIA GPU, none was found"):
        load(path, runtime=runtime, precision="f16")
    if runtime == "tensorrt-rtx" or Path("/dev/nvidiactl").exists():
        return
    with pytest.raises(EngineError, match=r"pip install|https://pytorch\.org"):
        load(path, runtime=runtime, precision="f16", device=NoGpu())


# What our variables hold; the functions of a class are looked for there.
HELD = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "learned": "ITimingCache",
    "tensor": "ITensor",
    "layer": "ILayer",
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "engine": "ICudaEngine",
    "_context": "IExecutionContext",
    "context": "IExecutionContext",
    "settings": "IRuntimeConfig",
    "_kernels": "IRuntimeCache",
}
RTX_ALONE = {
    "ComputeCapability",
    "IBuilderConfig.set_compute_capability",
    "IBuilderConfig.num_compute_capabilities",
}
RTX_ALONE |= {"IRuntimeConfig.create_runtime_cache", "IRuntimeConfig.set_runtime_cache"}
RTX_ALONE |= {"IRuntimeCache.serialize", "IRuntimeCache.deserialize"}


def names_used():
    """ "ICudaEngine.get_tensor_name", "DataType.HALF", ...: every name of TensorRT in our sources."""
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Attribute):
                continue
            chain = ast.unparse(node).split(".")
            holder = chain[-2].split("(")[0] if len(chain) > 1 else ""
            if chain[0] == "trt":
                yield ".".join(chain[1:])
            elif holder in HELD:
                yield f"{HELD[holder]}.{chain[-1]}"
        # A monitor and a logger are ours: what TensorRT calls must be there, too.
    yield from (
        "IProgressMonitor.phase_start",
        "IProgressMonitor.step_complete",
        "IProgressMonitor.phase_finish",
    )
    yield "ILogger.log"


STUB = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry"),
    *("getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins"),
)
LOOK = """
import json, sys
sys.path.insert(0, sys.argv[1])
import {module} as trt
def has(name):
    at = trt
    for part in name.split("."):
        if not hasattr(at, part):
            return False
        at = getattr(at, part)
    return True
print(json.dumps([n for n in json.load(sys.stdin) if not has(n)]))
"""


def missing(module, folder, library_path=""):
    """Which of the names the bindings do not have."""
    names = sorted({n for n in names_used() if not n.endswith("__name__")})
    done = subprocess.run(
        [sys.executable, "-c", LOOK.format(module=module), str(folder)],
        input=json.dumps(names),
        env={**os.environ, "LD_LIBRARY_PATH": str(library_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout))


def test_the_names_are_found_in_the_sources():
    names = set(names_used())
    assert {
        "Builder.create_network",
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "IOptimizationProfile.set_shape",
        "IExecutionContext.execute_async_v3",
        "IExecutionContext.set_tensor_address",
        "ICudaEngine.create_execution_context",
        "DataType.FLOAT",
    } <= names
    assert len(names) > 40


@pytest.mark.parametrize("major", ["10", "11"])
def test_every_name_is_in_tensorrt(major, tmp_path):
    folder = BINDINGS / major
    if not folder.is_dir():
        pytest.skip(f"no bindings of TensorRT {major} at {folder}: `make {folder.relative_to(ROOT)}`")
    source = tmp_path / "stub.c"
    source.write_text("".join(f"void* {name}(void) {{ return 0; }}\n" for name in STUB), encoding="utf-8")
    for library in ("nvinfer", "nvinfer_plugin", "nvonnxparser"):
        soname = f"lib{library}.so.{major}"
        command = [
            "gcc",
            "-shared",
            "-fPIC",
            str(source),
            f"-Wl,-soname,{soname}",
            "-o",
            str(tmp_path / soname),
        ]
        subprocess.run(command, check=True)
    assert missing("tensorrt_bindings", folder, tmp_path) <= RTX_ALONE


@needs_rtx
def test_every_name_is_in_tensorrt_rtx():
    assert missing("tensorrt_rtx", "") == set()
