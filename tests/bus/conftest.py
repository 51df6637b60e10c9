"""Every test of the bus gets its own folder, and fails where it leaves a socket, a segment or a lease."""

import gc
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
import zmq

from fusion_rt.bus import ring


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A short path: a socket's may have 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="frt-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    contexts: list[zmq.Context] = []
    plain = zmq.Context.__init__

    def record(self: zmq.Context, *args: object, **kwargs: object) -> None:
        plain(self, *args, **kwargs)
        contexts.append(self)

    monkeypatch.setattr(zmq.Context, "__init__", record)
    ring.sweep()
    before = mine()
    yield
    gc.collect()
    assert [c for c in contexts if not c.closed] == [], "a ZeroMQ context was left open"
    assert mine() == before, "a segment was left in /dev/shm"
    leases = [target for target in open_files() if "/dev/shm/fusion_rt-" in target]
    assert leases == [], "a segment is still open"


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """tests/bus/samples.py, which child processes import as well."""
    spec = importlib.util.spec_from_file_location("samples", Path(__file__).with_name("samples.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def child(run_dir: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `child.py MODE run_dir ...`, which prints one line for each step that it has done."""
    children: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        command = [sys.executable, str(Path(__file__).with_name("child.py")), arguments[0], str(run_dir)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        process = subprocess.Popen(
            [*command, *arguments[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        children.append(process)
        return process

    yield start
    for process in children:
        process.kill()
        process.communicate()


def mine() -> list[str]:
    """Segments of this process, not those of tests that run beside it."""
    return [name for name in ring.segments() if name.split("-")[2] == str(os.getpid())]


def open_files() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
        except OSError:
            continue
    return found
