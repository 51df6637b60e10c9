"""Engines that fail, at the start and in mid-stream: the next one looks, the certificate says why, and the
stream goes on."""

import importlib.util
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt import engine_ladder, logs
from fusion_rt.device import CpuDevice
from fusion_rt.device.nvidia import Card, Driver, ask_driver
from fusion_rt.engine import AUTO_RUNTIMES, tensorrt_build
from fusion_rt.engine.buffers import check_finite
from fusion_rt.engine.cache import EngineCache
from fusion_rt.engine_builds import BackgroundBuild, are_built
from fusion_rt.engine_ladder import EngineLadder, Rung, find_gpu, rungs
from fusion_rt.errors import DeviceError, EngineError
from fusion_rt.models.package import ModelPackage
from fusion_rt.parity import DRIVE, self_test
from fusion_rt.pipeline import FusionPipeline, PipelineConfig

TWO = (Rung("onnxruntime", "f32"), Rung("openvino", "f32"))
needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="no TensorRT-RTX: pip install 'fusion-rt[tensorrt-rtx]'",
)


class NoGpu(CpuDevice):
    """The CPU, which says that it is a card: as far as an engine gets without one."""

    name, architecture, stream_handle = "no card", "sm_89", 0


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSION_RT_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def package():
    return ModelPackage.load("driving-s")


@pytest.fixture(scope="module")
def drive():
    """The rig and the packets of the first second: ten answers."""
    with logs.open(DRIVE) as log:
        packets = []
        for packet in log:
            if packet.header.stamp_ns - log.start_ns >= 1e9:
                break
            packets.append(packet)
        return log.rig, packets


@pytest.fixture
def pipeline(package, drive):
    """One with two CPU engines, of which the first serves."""
    made = FusionPipeline(PipelineConfig(runtime="openvino"), drive[0], CpuDevice(2), package)
    made._engines = EngineLadder(package, CpuDevice(2), TWO, wait=True)
    return made


def played(pipeline, packets, break_at, how):
    """Certificates of every answer; before the answer of that number the engine is broken."""
    certificates = []
    for packet in packets:
        if len(certificates) == break_at:
            how(pipeline._engines.perception)
            break_at = -1
        prediction = pipeline.push(packet)
        if prediction is not None:
            certificates.append(prediction.certificate)
    return certificates


def raising(error):
    def break_it(perception):
        def run():
            raise error

        perception._bev.run = run

    return break_it


def poisoned(perception):
    """From now on an output holds a NaN, which the engine's own check finds."""
    engine, run = perception._bev, perception._bev.run

    def bad():
        run()
        engine.outputs["next_state"][0, 5, 5, 0] = np.nan
        check_finite(engine._path, engine.outputs)

    perception._bev.run = bad


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (
            raising(EngineError("TensorRT stopped: out of memory")),
            "onnxruntime: TensorRT stopped: out of memory",
        ),
        (raising(DeviceError("the device is lost")), "onnxruntime: the device is lost"),
        (poisoned, "of next_state are not finite"),
    ],
    ids=["out of memory", "device lost", "NaN"],
)
def test_an_engine_fails_in_mid_stream(pipeline, drive, how, why):
    certificates = played(pipeline, drive[1], 6, how)
    assert len(certificates) == 10
    before, after = certificates[:6], certificates[6:]
    assert {(c.engine.split("-")[0], c.engine_reason) for c in before} == {("onnxruntime", "")}
    assert {c.engine.split("-")[0] for c in after} == {"openvino"}
    assert all(why in c.engine_reason for c in after)
    assert {c.rung for c in certificates} == {"all"}  # not one answer was lost
    assert pipeline.counters["engine"] == {"fallen": 1}


def test_the_next_engine_begins_without_memory(pipeline, drive):
    """What the broken engine remembered is not believed; the answer is that of a fresh start."""
    packets = drive[1]
    kept = []
    for packet in packets:
        prediction = pipeline.push(packet)
        if prediction is not None and len(kept) == 5:
            break
        if prediction is not None:
            kept.append(prediction)
            if len(kept) == 5:
                raising(EngineError("gone"))(pipeline._engines.perception)
    assert not pipeline._engines.perception._recalled


def test_a_packet_that_no_engine_can_look_at(pipeline, drive):
    """Every engine fails on it: tracks coast, the reason is told, and the first engine goes on."""
    detect, rig_packets, certificates, failing = (
        type(pipeline._engines.perception).detect,
        drive[1],
        [],
        set(),
    )

    def sometimes(self, *arguments):
        if len(certificates) in (4, 5):
            failing.add(self._bev.name)
            raise EngineError("3 of 9 values of boxes are not finite; were the inputs?")
        return detect(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(pipeline._engines.perception), "detect", sometimes)
        for packet in rig_packets:
            prediction = pipeline.push(packet)
            if prediction is not None:
                certificates.append(prediction.certificate)
    assert failing == {"onnxruntime", "openvino"}
    assert [c.rung for c in certificates] == ["all"] * 4 + ["coasting"] * 2 + ["all"] * 4
    assert "3 of 9 values of boxes are not finite" in certificates[4].reason
    assert {c.engine.split("-")[0] for c in certificates} == {"onnxruntime"}
    assert pipeline.counters["engine"] == {"failed": 2}


def test_an_image_that_no_engine_can_encode(pipeline, drive):
    def broken():
        raise EngineError("broken")

    pipeline._engines._steps = pipeline._engines._steps[:1]
    certificates = played(pipeline, drive[1], 5, lambda p: setattr(p._camera, "run", broken))
    assert {c.rung for c in certificates[6:]} == {"lidar_only"}
    assert pipeline.counters["camera"]["engine"] >= 4


def test_the_order():
    package = ModelPackage.load("driving-s")
    assert [s.runtime for s in rungs("auto", None, package, card=True)] == [*AUTO_RUNTIMES, "openvino"]
    dla = rungs("tensorrt-dla0", None, package, card=True)
    assert dla == (Rung("tensorrt-dla0", "f16", True), Rung("openvino", None))
    assert rungs("auto", None, package, card=False) == (Rung("openvino", None),)
    assert rungs("torch-cuda", None, package, card=True) == (
        Rung("torch-cuda", "f16", True),
        Rung("openvino", None),
    )
    assert rungs("tensorrt", "int8", package, card=True)[0] == Rung("tensorrt", "int8", True)
    assert rungs("onnxruntime", "f32", package, card=False) == (Rung("onnxruntime", "f32"),)


def test_every_engine_of_a_card_fails_at_the_start(package, drive):
    """Really: there is no card. OpenVINO serves and says what was wrong with each."""
    if ask_driver().loaded:
        pytest.skip("there is a driver")
    steps = rungs("auto", None, package, card=True)
    ladder = EngineLadder(package, CpuDevice(2), steps)
    assert ladder.perception.engine_identity.startswith("openvino-")
    for runtime in AUTO_RUNTIMES:
        assert f"{runtime}: runtime '{runtime}' needs an NVIDIA GPU, none was found" in ladder.reason
    with pytest.raises(EngineError, match="needs an NVIDIA GPU"):
        EngineLadder(package, CpuDevice(2), steps[:1])
    with pytest.raises(EngineError, match="needs an NVIDIA GPU"):
        EngineLadder(package, CpuDevice(2), steps, strict=True)
    with pytest.raises(EngineError, match="needs an NVIDIA GPU"):
        FusionPipeline(PipelineConfig(runtime="tensorrt"), drive[0], CpuDevice(2), package)


def build_for(architecture):
    """`fusion-rt build` for a card that this machine does not have: by TensorRT-RTX alone."""

    class Build(BackgroundBuild):
        @staticmethod
        def command(package, runtime, precision):
            return [*BackgroundBuild.command(package, runtime, precision), "--architecture", architecture]

    return Build


def until_built(ladder, seconds=60):
    end = time.monotonic() + seconds
    while ladder._building is not None and ladder._building[1].running and time.monotonic() < end:
        time.sleep(0.05)
    assert ladder._building is not None


@needs_rtx
def test_an_engine_is_built_while_another_serves(package, drive, monkeypatch, capfd):
    """By a real process; it then does not load, for there is no driver, and that is said."""
    if ask_driver().loaded:
        pytest.skip("there is a driver")
    monkeypatch.setattr(engine_ladder, "BackgroundBuild", build_for("sm_89"))
    steps = (Rung("tensorrt-rtx", "f16", True), Rung("openvino", None))
    ladder = EngineLadder(package, CpuDevice(2), steps, card=NoGpu(2))
    assert ladder.reason.startswith("tensorrt-rtx: is being built: ")
    assert ladder.perception.engine_identity.startswith("openvino-")
    until_built(ladder)
    assert not ladder.climb()
    assert ladder.perception.engine_identity.startswith("openvino-")
    assert "cannot load its engine" in ladder.reason
    assert "driver" in ladder.reason
    card = {"gpu": "no card", "architecture": "sm_89", "cache": EngineCache()}
    assert are_built(package, runtime="tensorrt-rtx", precision="f16", **card)
    # The next start finds it, and a damaged file is built again.
    (path, *_) = EngineCache().folder.glob("bev.f16-sm_89-*.engine")
    path.write_bytes(path.read_bytes()[:-1])
    capfd.readouterr()
    assert EngineLadder(package, CpuDevice(2), steps, card=NoGpu(2)).reason.startswith(
        "tensorrt-rtx: is being"
    )
    assert f"{path}: damaged" in capfd.readouterr().err
    assert not are_built(package, runtime="tensorrt-rtx", precision="f16", **card)


@needs_rtx
def test_dla_where_there_is_none_is_refused_at_the_start(package, monkeypatch):
    """By the builder of TensorRT-RTX, which can be asked without a card."""
    monkeypatch.setitem(tensorrt_build.MODULES, "tensorrt-dla0", "tensorrt_rtx")
    steps = rungs("tensorrt-dla0", None, package, card=True)
    with pytest.raises(EngineError, match=r"sees no DLA here.*use `runtime: tensorrt`"):
        EngineLadder(package, CpuDevice(2), steps, card=NoGpu(2), strict=True)


@needs_rtx
def test_a_build_that_fails_says_why(package, monkeypatch):
    monkeypatch.setattr(engine_ladder, "BackgroundBuild", build_for("sm_90"))  # RTX has none for it
    steps = (Rung("tensorrt-rtx", "f16", True), Rung("openvino", None))
    ladder = EngineLadder(package, CpuDevice(2), steps, card=NoGpu(2), wait=True)
    assert "tensorrt-rtx: building failed (1): " in ladder.reason
    assert not ladder.climb()
    assert "has no sm_90" in ladder.reason


def test_the_pipeline_takes_the_better_engine_between_two_answers(package, drive, monkeypatch, tmp_path):
    """A process that ends stands for the build, and ONNX Runtime for what it built."""
    done = tmp_path / "built"

    class Quick(BackgroundBuild):
        @staticmethod
        def command(package, runtime, precision):
            wait = f"import os, time\nwhile not os.path.exists({str(done)!r}): time.sleep(0.01)"
            return [sys.executable, "-c", wait]

    monkeypatch.setattr(engine_ladder, "BackgroundBuild", Quick)
    monkeypatch.setattr(EngineLadder, "_is_built", lambda self, step: step.runtime == "openvino")
    pipeline = FusionPipeline(PipelineConfig(runtime="openvino"), drive[0], CpuDevice(2), package)
    pipeline._engines = EngineLadder(package, CpuDevice(2), TWO)
    certificates = []
    for packet in drive[1]:
        if len(certificates) == 4 and not done.exists():
            done.touch()
            until_built(pipeline._engines)
        prediction = pipeline.push(packet)
        if prediction is not None:
            certificates.append(prediction.certificate)
    names = [c.engine.split("-")[0] for c in certificates]
    assert names == ["openvino"] * 4 + ["onnxruntime"] * 6
    assert certificates[0].engine_reason.startswith("onnxruntime: is being built: ")
    assert certificates[-1].engine_reason == ""
    assert {c.rung for c in certificates} == {"all"}


@pytest.fixture
def on_trial(monkeypatch):
    """ONNX Runtime is on trial, as engines of a GPU are; how often the trial is held is counted."""
    held = []

    def counted(*arguments, **options):
        held.append(1)
        return self_test(*arguments, **options)

    monkeypatch.setattr(engine_ladder, "CARD_RUNTIMES", ("onnxruntime",))
    monkeypatch.setattr(engine_ladder, "self_test", counted)
    return held


def test_an_engine_that_sees_the_same_is_tried_once(package, on_trial):
    for _ in range(2):
        ladder = EngineLadder(package, CpuDevice(2), TWO)
        assert ladder.perception.engine_identity.startswith("onnxruntime-")
    assert len(on_trial) == 1
    (note,) = EngineCache().folder.glob("*.parity.json")
    note.write_bytes(b"damaged")
    EngineLadder(package, CpuDevice(2), TWO)
    assert len(on_trial) == 2


def test_an_engine_that_sees_otherwise_is_refused(package, on_trial, monkeypatch):
    """One that rounds to eight bits where half precision was asked for is not within its tolerance."""
    perception = EngineLadder._perception

    def other(self, step):
        return perception(self, replace(step, precision="int8") if step.runtime == "onnxruntime" else step)

    monkeypatch.setattr(EngineLadder, "_perception", other)
    for _ in range(2):
        ladder = EngineLadder(package, CpuDevice(2), TWO)
        assert ladder.perception.engine_identity.startswith("openvino-")
        assert ladder.reason.startswith("onnxruntime: refused, it sees otherwise than openvino: ")
    assert len(on_trial) == 1


@pytest.mark.parametrize(
    ("driver", "why"),
    [
        (Driver(loaded=False), ""),
        (Driver(loaded=True, error="cuInit: no CUDA-capable device is detected (100)"), "no CUDA-capable"),
        (
            Driver(loaded=True, cuda="12.2", cards=(Card(name="P40", architecture="sm_61", memory_bytes=1),)),
            "P40: sm_61 is too old; sm_75 or newer is wanted",
        ),
    ],
)
def test_a_card_that_cannot_be_used(driver, why):
    device, told = find_gpu(driver=driver)
    assert device is None
    assert why in told
    assert bool(told) == bool(why)


def test_why_there_is_no_card_stands_in_the_certificate(package, drive, monkeypatch):
    monkeypatch.setattr("fusion_rt.pipeline.find_gpu", lambda threads: (None, "cuInit: unknown error (999)"))
    pipeline = FusionPipeline(PipelineConfig(), drive[0], CpuDevice(2), package)
    (first, *_) = played(pipeline, drive[1][:60], -1, None)
    assert first.engine_reason == "cuInit: unknown error (999)"
    assert first.engine.startswith("openvino-")


def test_a_forgotten_build_ends(package):
    build = BackgroundBuild(package, "tensorrt-rtx", "f16")
    pid = build._process.pid
    del build
    assert not os.path.exists(f"/proc/{pid}")


def test_the_command_line(package, tmp_path):
    def call(*arguments):
        command = [sys.executable, "-c", "from fusion_rt.cli import main; main()", "build", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    refused = call("--runtime", "onnxruntime")
    assert refused.returncode == 1
    assert "engines are built for tensorrt, tensorrt-rtx, tensorrt-dla0, tensorrt-dla1 only" in refused.stderr
    if not ask_driver().loaded:
        assert "no NVIDIA GPU to build for: see `fusion-rt doctor`" in call().stderr
    if importlib.util.find_spec("tensorrt_rtx") is not None:
        done = call("--runtime", "tensorrt-rtx", "--architecture", "sm_120", "--json")
        assert done.returncode == 0, done.stderr
        assert '"architecture": "sm_120"' in done.stdout
        assert "100 % refine.f16: " in done.stderr
        assert len(list((tmp_path / "cache" / "engines").glob("*-sm_120-*.engine"))) == 3
