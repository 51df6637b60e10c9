"""Every kernel is tested on each device, against tests/kernels/reference.py."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from fusion_rt.device import available_devices


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def reference() -> ModuleType:
    """What the kernels mean, in numpy."""
    return _load("reference")


@pytest.fixture(scope="session")
def cases() -> ModuleType:
    """tests/kernels/cases.py, which the sanitizer's process runs as well."""
    return _load("cases")


@pytest.fixture(scope="session", params=available_devices(), ids=str)
def device(request):
    return request.param
