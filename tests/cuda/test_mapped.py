"""Cards that share the CPU's memory read what sensors gave where it is; others say that they cannot."""

import itertools

import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt import offline
from fusion_rt.device.cuda import CudaDevice
from fusion_rt.device.mapped import Mapped
from fusion_rt.errors import ConfigError, DeviceError
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.scenario import locate


@pytest.fixture
def fresh(stub, cubin_cache):
    made = CudaDevice(1, cache=cubin_cache)
    yield made
    made.close()


@pytest.fixture
def told(stub, cubin_cache, monkeypatch):
    monkeypatch.setattr("fusion_rt.kernels.cubins.cache_folder", lambda: cubin_cache)

    def answers(**settings):
        config = PipelineConfig(threads=1, runtime="openvino", **settings)
        found = itertools.islice(offline.predictions(locate("bundled:drive.mcap"), config), 6)
        return [replace(p, certificate=replace(p.certificate, device="")) for p in found]

    return answers


def test_the_same_answers_without_uploads(stub, told, monkeypatch):
    apart = told(device="cuda")
    uploads = stub.calls("cuMemcpyHtoDAsync_v2")
    monkeypatch.setenv("FRT_STUB_INTEGRATED", "1")
    stub.forget()
    shared = told(device="cuda", unified_memory=True)
    assert shared == apart
    assert apart[-1].objects
    assert stub.calls("cuMemcpyHtoDAsync_v2") < uploads
    assert stub.calls("cuMemHostGetDevicePointer_v2") > 0


def test_a_card_with_memory_of_its_own_says_so(stub, told):
    with pytest.raises(
        DeviceError, match=r"a card of the tests has memory of its own: `unified_memory` is for"
    ):
        told(device="cuda", unified_memory=True)


def test_a_cpu_and_shared_memory_of_a_card_do_not_go_together():
    with pytest.raises(ConfigError, match="unified_memory is of a card, and `device: cpu` wants none"):
        PipelineConfig(device="cpu", unified_memory=True)


def test_the_host_may_write_the_next_while_the_last_is_read(stub, fresh):
    """The stub does nothing before it must: what is written too early would be seen."""
    place, out = Mapped(fresh.launcher), fresh.empty((5, 16, 16), np.float32)
    for k in range(5):
        array = np.full((16, 16), k + 1, np.float32)
        given = place(array, fresh.stream)
        count = fresh.empty((1,), np.int32)
        fresh.upload(np.array([16], np.int32), count)
        array[...] = -1
        fresh.launch("rows_order", given, count, 16, out[k], *scratch(fresh), items=16)
    np.testing.assert_array_equal(fresh.fetch(out)[:, 0, 0], [1, 2, 3, 4, 5])


def test_places_are_used_again_when_they_were_read(stub, fresh):
    place = Mapped(fresh.launcher)
    for n in (3000, 2000, 3000, 1, 3000):
        given = place(np.zeros(n, np.float32), fresh.stream)
        assert given.shape == (n,)
        fresh.synchronize()
    assert stub.calls("cuMemHostGetDevicePointer_v2") == 2, "in turn"
    place(np.zeros(9000, np.float32), fresh.stream)
    assert stub.calls("cuMemHostGetDevicePointer_v2") == 3, "one that is larger"


def scratch(device):
    return device.empty((16, 7), np.float32), device.empty((16,), np.int32)
