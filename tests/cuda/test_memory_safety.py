"""All that a card does for us, under the address and undefined-behaviour sanitizers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fusion_rt.kernels.launchers import KERNELS

HERE = Path(__file__).parent
ONE_ROW_TOO_FEW = """
import sys
from pathlib import Path
import numpy as np
from fusion_rt.device.cuda import CudaDevice
device = CudaDevice(1, cache=Path(sys.argv[1]))
number, rows = device.empty((1,), np.int32), device.empty((2, 16), np.float32)
device.upload(np.array([3], np.int32), number)
device.launch("box_context", rows, number, 3, device.empty((3, 16), np.float32), items=3)
device.synchronize()
"""
CHECKS = ("-g1", "-O1", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")


@pytest.fixture(scope="module")
def run_sanitized(driver, build_stub, tmp_path_factory, cubin_cache):
    if driver is None:
        pytest.skip("on a card: compute-sanitizer does this")
    runtime = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True
    ).stdout.strip()
    if not Path(runtime).is_file():
        pytest.skip("g++ has no address sanitizer")
    library = build_stub(tmp_path_factory.mktemp("sanitized"), *CHECKS, "-DFRT_NO_GUARD")
    environment = os.environ | {
        "LD_PRELOAD": f"{runtime} {library}",
        "ASAN_OPTIONS": "detect_leaks=0:alloc_dealloc_mismatch=0",
        "PYTHONMALLOC": "malloc",
        "OPENBLAS_NUM_THREADS": "1",
    }

    def run(*arguments):
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280)

    return run


def test_nothing_on_a_card_touches_memory_that_is_not_its_own(run_sanitized, cubin_cache):
    done = run_sanitized(HERE / "everything.py", HERE.parent / "kernels" / "cases.py", cubin_cache)
    assert done.returncode == 0, done.stdout + done.stderr[-6000:]
    assert done.stdout.split() == [*KERNELS, "20000", "0", "150000"]


def test_the_sanitizer_sees_a_bad_access(run_sanitized, cubin_cache):
    done = run_sanitized("-I", "-c", ONE_ROW_TOO_FEW, cubin_cache)
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
