"""The same bits from any number of workers and from either build, and no bad memory use in any."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest

import fusion_rt
from fusion_rt.device import CpuDevice
from fusion_rt.kernels import native
from fusion_rt.kernels.launchers import KERNELS

SOURCES = Path(fusion_rt.__file__).parent / "kernels"
BUILDS = [(threads, name) for name in native.instruction_sets() for threads in (1, 2, 4)]


def bits(array):
    """Comparable bytes; a NaN is a NaN whatever its payload."""
    return (
        np.where(np.isnan(array), np.float32(np.nan), array).tobytes() if array.dtype.kind == "f" else array
    )


@pytest.mark.parametrize(("threads", "build"), BUILDS[1:])
@pytest.mark.parametrize("name", KERNELS)
def test_every_build_gives_the_same_bits(cases, name, threads, build):
    first = CpuDevice(*BUILDS[0]).kernel(name)
    other = CpuDevice(threads, build).kernel(name)
    for i, (a, b) in enumerate(zip(cases.CASES[name](first), cases.CASES[name](other), strict=True)):
        assert a.shape == b.shape
        np.testing.assert_array_equal(bits(a), bits(b), err_msg=f"case {i}")


def test_the_cases_cover_every_kernel(cases):
    assert set(cases.CASES) == set(KERNELS)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_process_has_workers_of_its_own(cases):
    kernel = CpuDevice(2).kernel("deskew")
    expected = [bits(a) for a in cases.CASES["deskew"](kernel)]
    pid = os.fork()
    if pid == 0:  # no thread of the parent's lives here
        same = False
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)  # without workers the kernel would wait for ever
        try:
            same = [bits(a) for a in cases.CASES["deskew"](kernel)] == expected
        finally:
            os._exit(0 if same else 1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture(scope="module")
def run_sanitized(sanitized):
    return sanitized(SOURCES / "cpu.cpp")


def test_no_kernel_touches_memory_that_is_not_its_own(run_sanitized):
    done = run_sanitized(str(Path(__file__).with_name("cases.py")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split("\n")[:-1] == [f"{n} {name}" for n in (1, 3) for name in KERNELS]


def test_the_sanitizer_sees_a_bad_access(run_sanitized):
    """Without the launcher's checks: one output row too few."""
    program = (
        "import ctypes, sys, numpy as np;"
        "a = np.zeros(3000, np.float32); p = ctypes.c_void_p(a.ctypes.data);"
        "ctypes.CDLL(sys.argv[1]).frt_deskew(1, p, p, 1001, p, p, 1, p)"
    )
    done = run_sanitized("-c", program)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
