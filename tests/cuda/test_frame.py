"""A whole answer on the device is the CPU's answer; what comes and goes between the two is counted."""

import os
import threading

import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt.device import CpuDevice
from fusion_rt.device.cuda import CudaDevice
from fusion_rt.errors import DeviceError, EngineError
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View

STUB = os.environ.get("FUSION_RT_CUDA") == "stub"
FIELDS = ("boxes", "velocity", "scores", "labels", "std", "contributions", "velocity_known")


def same(a, b):
    """Detections alike: to the bit where the CPU's build ran."""
    for field in FIELDS:
        one, two = getattr(a, field), getattr(b, field)
        if STUB:
            np.testing.assert_array_equal(one, two, err_msg=field)
        else:
            np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-3, err_msg=field)


def sweep(rig, cloud):
    T = rig.lidars["lidar"].T_ego_lidar[None, :3].astype(np.float32)
    return Sweep(cloud, np.zeros(1, np.float32), np.ascontiguousarray(T))


def halves(cloud):
    return [
        replace(cloud, xyz=cloud.xyz[s], intensity=cloud.intensity[s], t=cloud.t[s], ring=cloud.ring[s])
        for s in (slice(0, 2000), slice(2000, None))
    ]


def answers(perception, street, rig):
    """A drive in which everything happens: all sensors, none, two lidars, two cameras, a memory."""
    camera, told = rig.cameras["camera"], []

    def motion(memory):
        T = np.float32([[1, 0, 0.5], [0, 1, 0]]) if memory else None
        return Motion(known=True, speed=5.0, T_prev_now=T, since_prev_s=0.1 if memory else 0.0)

    def view(image):
        return View(perception.see(image, camera), camera.T_camera_ego)

    for k in range(3):  # the second image on is lifted when it comes
        cloud, image = street(x_m=0.5 * k)
        told.append(perception.detect([sweep(rig, cloud)], [view(image)], motion(k > 0)))
    cloud, image = street(x_m=2.0)
    told.append(
        perception.detect([sweep(rig, c) for c in halves(cloud)], [view(image), view(image)], motion(True))
    )
    told.append(perception.detect([], [view(image)], Motion()))
    told.append(perception.detect([sweep(rig, cloud)], [], Motion()))
    told.append(perception.detect([], [], Motion()))
    hostile = np.float32([[np.nan, 0, 0], [500, 0, 0]])
    worse = replace(cloud, xyz=np.concatenate([cloud.xyz[:-2], hostile]))
    told.append(perception.detect([sweep(rig, worse)], [], Motion()))
    return told


@pytest.fixture(scope="module")
def on_cpu(model_package):
    return Perception(model_package, CpuDevice(1))


@pytest.fixture(scope="module")
def expected(on_cpu, street, rig):
    return answers(on_cpu, street, rig)


def test_the_same_answers_as_the_cpu(device, model_package, street, rig, on_cpu, expected):
    perception = Perception(model_package, device)
    got = answers(perception, street, rig)
    assert len(expected[0].detections.boxes) > 5
    for a, b in zip(expected, got, strict=True):
        same(a.detections, b.detections)
        assert (a.points_in, a.points_dropped, a.boxes_dropped) == (
            b.points_in,
            b.points_dropped,
            b.boxes_dropped,
        )
    if STUB:  # nothing of earlier answers is left in what the network is given
        for part in ("_bev", "_refine"):
            for name, array in getattr(on_cpu, part).inputs.items():
                given = device.fetch(getattr(perception, part).inputs[name])
                np.testing.assert_array_equal(array, given, err_msg=name)


def test_explaining_and_first_looks_are_the_cpu_s(device, model_package, street, rig):
    def look(perception):
        cloud, image = street()
        camera = rig.cameras["camera"]
        view = View(perception.see(image, camera), camera.T_camera_ego)
        perception.detect([sweep(rig, cloud)], [view], Motion())
        return perception.first_look, perception.explain()

    (a, why_a), (b, why_b) = (look(Perception(model_package, d)) for d in (CpuDevice(1), device))
    for one, two, fields in (
        (a, b, ("rows", "features", "views", "P", "xyz", "intensity")),
        (why_a, why_b, ("rows", "shares", "drops", "heatmap")),
    ):
        for field in fields:
            if field == "rows":  # in order of arrival or of score: each device has its own
                continue
            np.testing.assert_allclose(getattr(one, field), getattr(two, field), atol=0 if STUB else 1e-3)
    np.testing.assert_allclose(a.rows, b.rows, rtol=1e-5, atol=0 if STUB else 1e-3)


def test_another_thread_may_take_over(device, model_package, street, rig, expected):
    perception, got = Perception(model_package, device), []
    worker = threading.Thread(target=lambda: got.extend(answers(perception, street, rig)))
    worker.start()
    worker.join()
    assert len(got) == len(expected)
    for a, b in zip(expected, got):
        same(a.detections, b.detections)


def test_nothing_is_allocated_after_the_first_answers(stub, device, model_package, street, rig):
    perception = Perception(model_package, device)
    answers(perception, street, rig)
    held, calls = stub.used(), stub.calls("cuMemAlloc_v2")
    camera = rig.cameras["camera"]
    for k in range(3):
        cloud, image = street(x_m=0.1 * k)
        view = View(perception.see(image, camera), camera.T_camera_ego)
        perception.detect([sweep(rig, cloud)], [view], Motion())
    assert (stub.used(), stub.calls("cuMemAlloc_v2")) == (held, calls)


def test_the_host_waits_once_an_answer(stub, device, model_package, street, rig):
    """With engines that wait for nothing themselves; ours here does, six times."""
    perception = Perception(model_package, device)
    answers(perception, street, rig)
    for part in (perception._camera, perception._bev, perception._refine):
        part.run = lambda: None
    before = stub.calls("cuStreamSynchronize"), stub.calls("cuEventSynchronize")
    cloud, image = street()
    camera = rig.cameras["camera"]
    view = View(perception.see(image, camera), camera.T_camera_ego)
    perception.detect([sweep(rig, cloud)], [view], Motion())
    waits = stub.calls("cuStreamSynchronize") - before[0], stub.calls("cuEventSynchronize") - before[1]
    assert waits == (1, 0)


def test_an_output_that_is_not_finite_is_refused(device, model_package, street, rig):
    perception = Perception(model_package, device)
    cloud, _ = street()
    perception.detect([sweep(rig, cloud)], [], Motion())
    network = perception._bev
    run = network.run

    def broken():
        run()
        out = device.fetch(network.outputs["features"])
        out[0, 3, 5, :2] = np.nan, np.inf
        device.upload(out, network.outputs["features"])

    network.run = broken
    with pytest.raises(EngineError, match=r"values that are not finite: 2 of bev"):
        perception.detect([sweep(rig, cloud)], [], Motion())
    network.run = run
    perception.detect([sweep(rig, cloud)], [], Motion())  # told once


def test_a_closed_device_says_so(driver, cubin_cache):
    made = CudaDevice(1, cache=cubin_cache)
    buffer = made.empty((3,), np.float32)
    made.close()
    made.close()
    with pytest.raises(DeviceError, match="this CUDA device is closed"), made.on("main"):
        pass
    del buffer
