"""A whole answer put on the stream at one stroke: the same answers, less to launch, and where it cannot be
recorded it is done as ever."""

import ctypes
import itertools
import os

import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt import logs, perception
from fusion_rt.device import CpuDevice, load_engine
from fusion_rt.device.buffers import DeviceBuffer
from fusion_rt.device.cuda import CudaDevice
from fusion_rt.device.recording import Recording
from fusion_rt.errors import DeviceError
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View
from fusion_rt.pipeline import FusionPipeline, PipelineConfig
from fusion_rt.scenario import locate

STUB = os.environ.get("FUSION_RT_CUDA") == "stub"


class OnStream:
    """An engine of the CPU as a step of a stream, as TensorRT's is: `run` puts it there and waits for
    nothing."""

    recordable = True

    def __init__(self, engine, device):
        from cuda.bindings import driver

        self._engine, self._device, self._driver = engine, device, driver
        self.name, self.precision, self.identity = engine.name, engine.precision, engine.identity
        self.inputs, self.outputs = (
            {name: device.empty(a.shape, np.float32) for name, a in arrays.items()}
            for arrays in (engine.inputs, engine.outputs)
        )
        arrays = {**engine.inputs, **engine.outputs}
        self._host = {name: device.launcher.pinned(a.nbytes) for name, a in arrays.items()}
        self._step = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._infer)

    def run(self):
        launcher, stream = self._device.launcher, self._device.stream
        for name, buffer in self.inputs.items():
            launcher.copy_out(self._host[name], buffer.pointer, stream)
        at = ctypes.cast(self._step, ctypes.c_void_p).value
        (status,) = self._driver.cuLaunchHostFunc(stream, self._driver.CUhostFn(at), 0)
        assert status == 0
        for name, buffer in self.outputs.items():
            launcher.copy_in(buffer.pointer, self._host[name], stream)

    def _infer(self, _):
        for name, array in self._engine.inputs.items():
            array[...] = self._host[name].view(np.float32).reshape(array.shape)
        self._engine.run()
        for name, array in self._engine.outputs.items():
            self._host[name].view(np.float32).reshape(array.shape)[...] = array


class Waiting(OnStream):
    """One that says it can be recorded, and cannot."""

    def run(self):
        super().run()
        self._device.synchronize()


def served_by(kind, monkeypatch):
    def load(path, *, device, **wanted):
        if isinstance(device, CpuDevice):
            return load_engine(path, device=device, **wanted)
        return kind(load_engine(path, device=CpuDevice(1), **wanted), device)

    monkeypatch.setattr(perception, "load_engine", load)


@pytest.fixture
def fresh(driver, cubin_cache):
    made = CudaDevice(1, cache=cubin_cache)
    yield made
    if driver is not None:
        driver.forget()
    made.close()


def look(perception, street, rig, k=0, repeat=1):
    """An answer to an image and a sweep, `repeat` times as dense."""
    cloud, image = street(x_m=0.5 * k)
    if repeat > 1:
        cloud = replace(
            cloud,
            **{n: np.concatenate([getattr(cloud, n)] * repeat) for n in ("xyz", "intensity", "t", "ring")},
        )
    camera, T = rig.cameras["camera"], rig.lidars["lidar"].T_ego_lidar[None, :3].astype(np.float32)
    sweep = Sweep(cloud, np.zeros(1, np.float32), np.ascontiguousarray(T))
    memory = Motion(known=True, speed=5.0, T_prev_now=np.float32([[1, 0, 0.5], [0, 1, 0]]), since_prev_s=0.1)
    view = View(perception.see(image, camera), camera.T_camera_ego)
    return perception.detect([sweep], [view], memory if k else Motion()).detections


def drive(perception, street, rig):
    dense = itertools.chain([1] * 5, [12] * 3)  # the points' memory grows on the way
    return [look(perception, street, rig, k, repeat) for k, repeat in enumerate(dense)]


def same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs):
        np.testing.assert_allclose(a.boxes, b.boxes, rtol=0, atol=0 if STUB else 1e-3)
        np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=0 if STUB else 1e-3)


@pytest.fixture(scope="module")
def expected(model_package, street, rig):
    return drive(Perception(model_package, CpuDevice(1)), street, rig)


def test_recorded_answers_are_the_cpu_s(device, model_package, street, rig, expected, monkeypatch):
    served_by(OnStream, monkeypatch)
    same(drive(Perception(model_package, device), street, rig), expected)


def test_what_is_recorded_is_launched_at_once(stub, fresh, model_package, street, rig, monkeypatch):
    served_by(OnStream, monkeypatch)
    made = Perception(model_package, fresh)

    def calls():
        look(made, street, rig)
        names = "cuLaunchKernel", "cuGraphLaunch", "cuStreamBeginCapture_v2", "cuStreamSynchronize"
        told = [stub.calls(name) for name in names]
        stub.forget()
        return told

    first, second, third = calls(), calls(), calls()
    assert first[1:3] == [0, 0]
    assert second[1:3] == [2, 2], "the camera's network, and all that comes after the points"
    assert third[1:] == [2, 0, 1]
    assert third[0] < first[0] / 2
    assert (made._encodes.why, made._looks.why) == ("", "")


def test_denser_points_than_before_are_recorded_anew(stub, fresh, model_package, street, rig, monkeypatch):
    served_by(OnStream, monkeypatch)
    made = Perception(model_package, fresh)
    for k in range(3):
        look(made, street, rig, k)
    stub.forget()
    for repeat in (50, 50, 50, 1):
        look(made, street, rig, 3, repeat)
    assert stub.calls("cuStreamBeginCapture_v2") == 1
    assert stub.graphs() == 2, "the old one is given back"
    del made
    assert stub.graphs() == 0


def test_without_a_recording_where_it_is_not_wanted(
    stub, fresh, model_package, street, rig, expected, monkeypatch
):
    served_by(OnStream, monkeypatch)
    made = Perception(model_package, fresh, record=False)
    same(drive(made, street, rig), expected)
    assert stub.calls("cuGraphLaunch") == 0
    assert made._looks.why == "not wanted"


def test_an_engine_of_the_cpu_is_no_part_of_a_recording(stub, fresh, model_package, street, rig, expected):
    made = Perception(model_package, fresh)
    same(drive(made, street, rig), expected)
    assert stub.calls("cuStreamBeginCapture_v2") == 0
    assert made._looks.why == "openvino cannot be recorded"


def test_an_engine_that_waits_after_all(stub, fresh, model_package, street, rig, expected, monkeypatch):
    served_by(Waiting, monkeypatch)
    made = Perception(model_package, fresh)
    same(drive(made, street, rig), expected)
    assert "cannot be recorded: CUDA: run what was enqueued: " in made._looks.why
    assert stub.calls("cuStreamBeginCapture_v2") == 2, "not tried again"
    assert stub.graphs() == 0


@pytest.mark.parametrize(
    "call", ["cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags"]
)
def test_a_driver_that_records_nothing(stub, fresh, model_package, street, rig, expected, monkeypatch, call):
    served_by(OnStream, monkeypatch)
    made = Perception(model_package, fresh)
    stub.fail(call, 0, 801, 0)
    same(drive(made, street, rig), expected)
    assert made._encodes.why.startswith("cannot be recorded: CUDA: ")


def test_memory_that_a_graph_needs_is_missed(stub, fresh):
    """The stub must see it, or the tests above would prove little."""
    work, buffer = Recording(fresh), fresh.empty((100,), np.float32)
    unowned = DeviceBuffer(buffer.pointer, buffer.shape, np.float32, None)
    for _ in range(3):
        work(fresh.zero, unowned)
    fresh.synchronize()
    del buffer
    with pytest.raises(DeviceError, match="run a graph"):
        work(fresh.zero, unowned)
    assert "memory of the card is gone" in stub.violations()
    stub.forget()


def test_a_card_that_is_lost_while_a_graph_runs(stub, cubin_cache, monkeypatch):
    """The CPU goes on, and no answer is lost."""
    monkeypatch.setattr("fusion_rt.kernels.cubins.cache_folder", lambda: cubin_cache)
    served_by(OnStream, monkeypatch)
    with logs.open(locate("bundled:drive.mcap")) as log:
        config = PipelineConfig(threads=1, device="cuda", runtime="openvino")
        pipeline, packets = FusionPipeline.from_config(config, log.rig), list(itertools.islice(log, 120))
    answers = []
    for packet in packets:
        if len(answers) == 4:
            stub.fail("cuGraphLaunch", 1, 719, 1)
        told = pipeline.push(packet)
        answers += [told] if told is not None else []
    assert len(answers) == sum(p.header.sensor_id == "lidar" for p in packets)
    assert pipeline.counters["engine"] == {"fallen": 1}
    assert "CUDA: run a graph: " in answers[-1].certificate.engine_reason
    assert {a.certificate.rung for a in answers} == {"all"}
