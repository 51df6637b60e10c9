"""What goes wrong between us and a driver: said in words, and nothing is left behind."""

import gc
import os
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

from fusion_rt.device.buffers import Staging
from fusion_rt.device.cuda import CudaDevice
from fusion_rt.device.launcher import open_launcher
from fusion_rt.device.nvidia import ask_driver
from fusion_rt.errors import DeviceError
from fusion_rt.kernels import sources
from fusion_rt.kernels.launchers import KERNELS


@pytest.fixture
def fresh(stub, cubin_cache):
    """A device of this test's own, which a lost card cannot harm others by."""
    made = CudaDevice(1, cache=cubin_cache)
    yield made
    stub.forget()
    made.close()


def test_the_stub_s_kernels_are_all_there_are(stub):
    for name, parameters in sources.kernels().items():
        assert len(stub.parameters(name).split()) == len(parameters), name


def test_every_kernel_is_there_with_memory_of_its_own(device):
    for name in KERNELS:
        assert device.kernel(name) is not device.kernel(name)
    with pytest.raises(DeviceError, match="no kernel 'pilars'; there are image, deskew, pillars"):
        device.kernel("pilars")


def test_the_card_is_named(device):
    assert str(device).startswith("cuda, ")
    assert device.card.architecture in str(device)
    assert device.launcher.name in str(device)


@pytest.mark.parametrize("shape", [(0, 3), (4, 5), (1,)])
def test_empty_is_zeroed_and_copies_are_copies(device, shape):
    buffer = device.empty(shape, np.float32)
    assert not device.fetch(buffer).any()
    host = np.arange(buffer.size, dtype=np.float32).reshape(shape)
    device.upload(host, buffer)
    kept = host.copy()
    host[...] = -1  # at once: the upload may still be on its way
    copy = device.clone(buffer)
    device.zero(buffer)
    np.testing.assert_array_equal(device.fetch(copy), kept)
    assert not device.fetch(buffer).any()


def test_views_are_the_same_memory(device):
    buffer = device.empty((4, 3, 2), np.int32)
    assert buffer[2].shape == (3, 2)
    assert buffer[-1].pointer == buffer.pointer + 3 * 24
    assert buffer[1:3].shape == (2, 3, 2)
    assert buffer[3:1].shape == (0, 3, 2)
    assert buffer.reshape(6, 4).pointer == buffer.pointer
    device.upload(np.full((3, 2), 7, np.int32), buffer[1])
    assert device.fetch(buffer).sum() == 42
    assert buffer.__cuda_array_interface__["data"] == (buffer.pointer, False)
    assert buffer.__cuda_array_interface__["typestr"] == "<i4"
    for wrong, words in (
        (lambda: buffer[::2], "step 1, not 2"),
        (lambda: buffer.reshape(5), "other numbers of elements"),
        (lambda: device.upload(np.zeros(3, np.float32), buffer), "they must agree"),
    ):
        with pytest.raises(DeviceError, match=words):
            wrong()
    with pytest.raises(IndexError):
        buffer[4]


def test_a_kernel_s_arguments_are_checked(device):
    small, rows = device.empty((2, 2), np.float32), device.empty((3, 16), np.float32)
    number = device.empty((1,), np.int32)
    for wrong, words in (
        (
            lambda: device.kernel("deskew")(small, small, small, small, small),
            r"xyz is float32 \(2, 2\), expected a device buffer float32 \(N, 3\)",
        ),
        (
            lambda: device.kernel("box_context")(rows, np.zeros((3, 16), np.float32)),
            r"out is ndarray, expected a device buffer float32 \(3, 16\)",
        ),
        (
            lambda: device.launch("count_broken", number, 1, number, items=1),
            "count_broken: values is a int32 buffer, expected a float32 buffer",
        ),
    ):
        with pytest.raises(DeviceError, match=words):
            wrong()


def test_the_driver_refuses_what_no_card_would_take(stub, device):
    """The stub itself must see each mistake, or these tests would prove nothing."""
    launcher, stream = device.launcher, device.stream
    held = device.empty((4,), np.float32)
    packed = bytes(20)
    for wrong, words in (
        (lambda: launcher.copy_in(held.pointer, np.zeros(16, np.uint8), stream), "not pinned"),
        (lambda: launcher.copy_in(held.pointer + 8, launcher.pinned(16), stream), "beyond an allocation"),
        (lambda: launcher.zero(held.pointer, 17, stream), "beyond an allocation"),
        (
            lambda: launcher.launch(device._functions["count_broken"], 1, 64, packed[:12], stream),
            "bytes of parameters",
        ),
        (
            lambda: launcher.launch(device._functions["count_broken"], 1, 64, packed + bytes(4), stream),
            "no memory",
        ),
        (lambda: launcher.launch(device._functions["count_broken"], 0, 64, packed, stream), "no card takes"),
    ):
        with pytest.raises(DeviceError):
            wrong()
        assert words in stub.violations()
        stub.forget()


def test_a_kernel_that_writes_beside_its_memory_is_seen(stub, fresh):
    rows = fresh.empty((3, 16), np.float32)
    short = fresh.empty((2, 16), np.float32)
    number = fresh.empty((1,), np.int32)
    fresh.upload(np.array([3], np.int32), number)
    fresh.launch("box_context", rows, number, 3, short, items=3)
    fresh.synchronize()
    assert "written beside an allocation" in stub.violations()
    # Repaired, so that the end finds nothing.
    fresh.launcher.close()


def test_out_of_memory_at_the_start(stub, cubin_cache):
    stub.room(16)
    with pytest.raises(
        DeviceError, match=r"allocate 0.0 MiB on the card: CUDA_ERROR_OUT_OF_MEMORY.*nvidia-smi"
    ):
        CudaDevice(1, cache=cubin_cache)


def test_out_of_memory_in_mid_run_leaves_the_rest_usable(stub, fresh):
    stub.room(1 << 20)
    with pytest.raises(DeviceError, match=r"allocate 64.0 MiB on the card: CUDA_ERROR_OUT_OF_MEMORY"):
        fresh.empty((1 << 24,), np.float32)
    assert not fresh.fetch(fresh.empty((5,), np.float32)).any()


def in_another_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_what_another_thread_lets_go_of_is_given_back_by_ours(stub, device):
    """As Python's collector does in any thread, which has no context."""
    gc.collect()
    before, held = stub.used(), [device.empty((1 << 20,), np.float32)]
    in_another_thread(held.clear)
    small = device.empty((1,), np.float32)
    assert stub.used() == before + small.nbytes


def test_so_is_host_memory(stub, fresh):
    held = [fresh.launcher.pinned(1 << 16)]
    stub.forget()
    in_another_thread(held.clear)
    assert stub.calls("cuMemFreeHost") == 0
    fresh.launcher.pinned(1)
    assert stub.calls("cuMemFreeHost") >= 1


def test_memory_is_given_back(stub, fresh):
    before = stub.used()
    buffer = fresh.empty((1000,), np.float32)
    view = buffer[2:5]
    del buffer
    assert stub.used() > before  # the view holds it
    del view
    assert stub.used() == before
    clone = fresh.clone(fresh.empty((100,), np.float32))
    held, where = stub.used(), clone.pointer
    del clone
    assert fresh.clone(fresh.empty((100,), np.float32)).pointer == where
    assert stub.used() == held


@pytest.mark.parametrize(
    ("call", "code", "words"),
    [
        ("cuLaunchKernel", 719, r"launch a kernel: CUDA_ERROR_LAUNCH_FAILED.*Xid"),
        ("cuStreamSynchronize", 700, r"run what was enqueued: CUDA_ERROR_ILLEGAL_ADDRESS.*gpu_check"),
        ("cuMemcpyHtoDAsync_v2", 46, r"upload 0.0 MiB: CUDA_ERROR_DEVICE_UNAVAILABLE.*nvidia-smi"),
        ("cuStreamSynchronize", 999, r"run what was enqueued: CUDA_ERROR_UNKNOWN.*restart the program"),
    ],
)
def test_a_lost_card_is_named_at_the_next_call(stub, fresh, call, code, words):
    kernel, out = fresh.kernel("deskew"), fresh.empty((3, 3), np.float32)
    pose = np.eye(3, 4, dtype=np.float32)[None]
    arguments = np.ones((3, 3), np.float32), np.zeros(3, np.float32), np.zeros(1, np.float32), pose, out
    stub.fail(call, 0, code, 1)

    def work():
        kernel(*arguments)
        fresh.synchronize()

    with pytest.raises(DeviceError, match=words):
        work()
    with pytest.raises(DeviceError):
        fresh.fetch(out)
    fresh.close()  # of a lost card, nothing is given back, and nobody complains


def test_a_cubin_of_another_make_is_refused(stub, device):
    with pytest.raises(DeviceError, match=r"load a cubin: \w+INVALID_IMAGE|load a cubin: "):
        device.launcher.load(bytes(512))


def test_an_unknown_launcher_is_refused(device):
    with pytest.raises(DeviceError, match="launcher 'cupy' is not one of cuda-bindings, pycuda"):
        open_launcher(device.card, "cupy")


def test_staging_waits_for_no_one_and_forgets_nothing(stub, fresh):
    """Uploads that are still on their way have memory of their own."""
    staging = Staging(fresh.launcher)
    target = fresh.empty((8, 1000), np.float32)
    for k in range(8):
        staging.upload(target[k].pointer, np.full(1000, k, np.float32), fresh.stream)
    assert (fresh.fetch(target) == np.arange(8)[:, None]).all()
    calls = stub.calls("cuMemHostAlloc")
    for k in range(8):
        staging.upload(target[k].pointer, np.full(1000, k, np.float32), fresh.stream)
    assert stub.calls("cuMemHostAlloc") == calls, "what has arrived is used again"


def test_staging_takes_what_is_free_behind_what_is_not(stub, fresh):
    staging, other = Staging(fresh.launcher), fresh.launcher.stream()
    target = fresh.empty((3, 1000), np.float32)
    fresh.synchronize()
    for k, stream in enumerate((fresh.stream, other)):
        staging.upload(target[k].pointer, np.full(1000, k, np.float32), stream)
    fresh.launcher.synchronize(other)  # the first is still on its way
    calls = stub.calls("cuMemHostAlloc")
    staging.upload(target[2].pointer, np.full(1000, 2, np.float32), other)
    assert stub.calls("cuMemHostAlloc") == calls
    fresh.launcher.synchronize(other)
    assert (fresh.fetch(target) == np.arange(3)[:, None]).all()


@pytest.mark.parametrize(
    ("version", "words"),
    [("12080", r"speaks CUDA 12.8, our kernels need 13.0; update it to version 580 or later")],
)
def test_an_old_driver_is_refused(driver, monkeypatch, version, words):
    if driver is None:
        pytest.skip("on a card: it has the driver that it has")
    monkeypatch.setenv("FRT_STUB_VERSION", version)
    program = "from fusion_rt.device.nvidia import first_card; first_card()"
    library = os.path.dirname(driver._library._name)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        env=os.environ | {"LD_LIBRARY_PATH": library},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert re.search(words, done.stderr)


def test_no_driver_at_all():
    """In a process of its own, where no test has loaded one."""
    program = (
        "from fusion_rt.engine_ladder import find_gpu; print(find_gpu());"
        "from fusion_rt.device.cuda import CudaDevice; CudaDevice(1)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True)
    if done.returncode == 0:
        pytest.skip("this machine has a card")
    assert done.stdout == "(None, '')\n"
    assert "no NVIDIA driver here" in done.stderr
    assert "device: cpu" in done.stderr


def test_the_card_is_found(driver):
    found = ask_driver().cards
    assert found
    assert found[0].architecture.startswith("sm_")
