"""Every kernel on the device gives what it gives on the CPU: bit for bit where the driver runs the CPU's
build, and on a card where no transcendental function is in it."""

import os

import numpy as np
import pytest

from fusion_rt.device import CpuDevice
from fusion_rt.kernels.launchers import KERNELS

# On a card, sin, exp and the like may differ in the last bits.
EXACT = {"image", "deskew", "lift", "bev_warp"}
STUB = os.environ.get("FUSION_RT_CUDA") == "stub"


def bits(array):
    """Comparable bytes; a NaN is a NaN whatever its payload."""
    floats = array.dtype.kind == "f"
    return np.where(np.isnan(array), np.float32(np.nan), array).tobytes() if floats else array.tobytes()


@pytest.mark.parametrize("name", KERNELS)
def test_equals_the_cpu(device, on_host, cases, name):
    cpu, cuda = CpuDevice(1).kernel(name), on_host(name)
    for i, (a, b) in enumerate(zip(cases.CASES[name](cpu), cases.CASES[name](cuda), strict=True)):
        assert a.shape == b.shape
        if STUB or name in EXACT:
            assert bits(a) == bits(b), f"case {i}"
        else:
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=f"case {i}")


@pytest.mark.parametrize("name", KERNELS)
def test_the_same_bits_each_time(device, on_host, cases, name):
    first = [bits(np.asarray(a)) for a in cases.CASES[name](on_host(name))]
    for _ in range(1 if STUB else 100):
        assert [bits(np.asarray(a)) for a in cases.CASES[name](on_host(name))] == first


@pytest.mark.parametrize("name", KERNELS)
def test_each_says_what_it_must_move(device, on_host, cases, name):
    kernel = on_host(name)
    assert kernel.kernel.moved_bytes == 0
    for _ in cases.CASES[name](kernel):
        break
    assert kernel.kernel.moved_bytes > 0
