import numpy as np
import pytest

from fusion_rt.device import CpuDevice, Device, available_devices
from fusion_rt.errors import DeviceError
from fusion_rt.kernels.launchers import KERNELS


@pytest.fixture(params=available_devices(), ids=str)
def device(request):
    return request.param


def test_devices_are_named_for_reports():
    assert [str(d) for d in available_devices()] == ["cpu, 1 thread", "cpu, 2 threads"]


def test_a_device_is_what_the_pipeline_asks_for():
    device: Device = CpuDevice()
    assert all(hasattr(device, name) for name in ("threads", "empty", "upload", "download", "kernel"))


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint8])
@pytest.mark.parametrize("shape", [(), (0, 3), (4, 5)])
def test_empty_is_zeroed_and_fits_the_kernels(device, shape, dtype):
    buffer = device.empty(shape, dtype)
    assert buffer.shape == shape
    assert buffer.dtype == dtype
    assert buffer.flags.c_contiguous
    assert not buffer.any()


def test_upload_and_download_are_copies(device):
    host, buffer, back = (
        np.arange(6, dtype=np.float32).reshape(2, 3),
        device.empty((2, 3), np.float32),
        np.empty((2, 3), np.float32),
    )
    device.upload(host, buffer)
    host[...] = -1
    device.download(buffer, back)
    np.testing.assert_array_equal(back, [[0, 1, 2], [3, 4, 5]])
    assert not np.shares_memory(buffer, back)


@pytest.mark.parametrize("array", [np.zeros((3, 2), np.float32), np.zeros(3, np.float32), np.zeros((2, 3))])
def test_copies_neither_broadcast_nor_convert(device, array):
    buffer = device.empty((2, 3), np.float32)
    expected = rf"{array.dtype} \({array.shape[0]}.* into float32 \(2, 3\): they must agree"
    with pytest.raises(DeviceError, match=expected):
        device.upload(array, buffer)
    with pytest.raises(DeviceError, match="they must agree"):
        device.download(buffer, array)


@pytest.mark.parametrize("name", KERNELS)
def test_every_kernel_is_there(device, name):
    kernel = device.kernel(name)
    assert isinstance(kernel, KERNELS[name])
    assert kernel.threads == device.threads
    assert device.kernel(name) is not kernel, "scratch memory must not be shared"


def test_an_unknown_kernel_is_named_with_those_there_are(device):
    with pytest.raises(DeviceError, match="no kernel 'pilars'; there are image, deskew, pillars"):
        device.kernel("pilars")


@pytest.mark.parametrize("threads", [0, -3, 257, 10**9, 2.0])
def test_threads_have_bounds(threads):
    with pytest.raises(DeviceError, match=f"threads is {threads}, expected 1 to 256"):
        CpuDevice(threads)


@pytest.mark.parametrize("threads", [1, 256])
def test_the_bounds_themselves_work(threads):
    t, out = np.zeros(3, np.float32), np.empty((3, 3), np.float32)
    pose = np.eye(3, 4, dtype=np.float32)[None]
    CpuDevice(threads).kernel("deskew")(np.ones((3, 3), np.float32), t, t[:1], pose, out)
    np.testing.assert_array_equal(out, 1)


def test_an_unknown_instruction_set_is_refused():
    with pytest.raises(DeviceError, match="instruction set 'sse9' is not one of"):
        CpuDevice(1, "sse9")
