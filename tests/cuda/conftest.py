"""The NVIDIA path, on a driver without a card (libcuda.cpp), or on a card.

FUSION_RT_CUDA says which: "stub" builds that driver and loads it in place of the machine's, "card" takes the
machine's. Without it these tests skip: once a process has a driver, it has it for good. `make test-cuda` sets
it."""

import ctypes
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
WHERE = os.environ.get("FUSION_RT_CUDA", "")
LAUNCHERS = [
    n for n, module in (("cuda-bindings", "cuda"), ("pycuda", "pycuda")) if importlib.util.find_spec(module)
]


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build_stub(folder: Path, *options: str) -> Path:
    """libcuda.so.1 in that folder."""
    out = _load(HERE / "stub_driver.py").build(folder, *options)
    if out is None:
        pytest.skip("no g++ to build the driver with")
    return out


@pytest.fixture(scope="session")
def build_stub():
    """(folder, options of g++) -> libcuda.so.1 in it."""
    return _build_stub


class Stub:
    """The driver's own view of what it was asked."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for name in ("violations", "launches", "parameters"):
            getattr(self._library, f"frt_stub_{name}").restype = ctypes.c_char_p
        self._library.frt_stub_used.restype = ctypes.c_longlong

    def __getattr__(self, name):
        function = getattr(self._library, f"frt_stub_{name}")

        def call(*arguments):
            given = [a.encode() if isinstance(a, str) else a for a in arguments]
            answer = function(*given)
            return answer.decode() if isinstance(answer, bytes) else answer

        return call

    def room(self, nbytes):
        """So much is free, beside what other tests of this process still hold."""
        self._library.frt_stub_room(ctypes.c_longlong(self.used() + nbytes))


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """The stub, or None on a card."""
    pytest.importorskip("cuda.bindings", reason="needs the extra `cuda`")
    if WHERE == "card":
        return None
    if WHERE != "stub":
        pytest.skip("FUSION_RT_CUDA is not set: make test-cuda")
    return Stub(_build_stub(tmp_path_factory.mktemp("driver")))


@pytest.fixture
def stub(driver):
    """The driver without a card, which must have nothing to complain of afterwards."""
    if driver is None:
        pytest.skip("on a card: nothing fails on demand")
    driver.forget()
    yield driver
    driver.forget()


@pytest.fixture(autouse=True)
def _no_rule_is_broken(request):
    yield
    driver = request.getfixturevalue("driver") if "driver" in request.fixturenames else None
    if driver is not None:
        assert driver.violations() == ""


@pytest.fixture(scope="session")
def cubin_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cubins")


@pytest.fixture(scope="session", params=LAUNCHERS or ["cuda-bindings"])
def device(request, driver, cubin_cache):
    from fusion_rt.device.cuda import CudaDevice

    made = CudaDevice(2, launcher=request.param, cache=cubin_cache)
    yield made
    made.close()


@pytest.fixture(scope="session")
def cases():
    """tests/kernels/cases.py: every kernel on ordinary and on hostile input."""
    return _load(HERE.parent / "kernels" / "cases.py")


@pytest.fixture
def on_host(device):
    """A kernel of the device under the signature of the CPU's: host arrays in and out."""
    kernel = _load(HERE / "everything.py").HostKernel
    return lambda name: kernel(device, name)
