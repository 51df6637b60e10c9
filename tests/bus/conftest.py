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

SOURCES = Path(__file__).resolve().parents[2] / "tools" / "cpp"


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
    return beside("samples")


@pytest.fixture(scope="session")
def fuzz() -> ModuleType:
    """tests/bus/fuzz.py."""
    return beside("fuzz")


@pytest.fixture
def child_command(run_dir: Path) -> Callable[..., list[str]]:
    """What starts `child.py MODE run_dir ...`."""

    def command(mode: str, *arguments: str) -> list[str]:
        return [sys.executable, str(Path(__file__).with_name("child.py")), mode, str(run_dir), *arguments]

    return command


@pytest.fixture
def child(child_command: Callable[..., list[str]]) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts `child.py MODE run_dir ...`, which prints one line for each step that it has done."""
    children: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> "subprocess.Popen[str]":
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        process = subprocess.Popen(
            child_command(*arguments),
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


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with bus_reader and bus_writer, the reader with the sanitizers that this compiler has."""
    folder = tmp_path_factory.mktemp("cpp")
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    flags = ["-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror"]
    probe = subprocess.run(
        ["g++", "-xc++", "-fsyntax-only", "-"],
        input="#include <zmq.h>",
        text=True,
        capture_output=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip("no zmq.h for the C++ examples: apt install libzmq3-dev")
    for name, more in (
        ("bus_writer", []),
        ("bus_reader", ["-fsanitize=address,undefined", "-fno-sanitize-recover"]),
    ):
        command = ["g++", *flags, str(SOURCES / f"{name}.cpp"), "-lzmq", "-o", str(folder / name)]
        if subprocess.run([*command, *more], capture_output=True, check=False).returncode:
            subprocess.run(command, check=True)  # a compiler without the sanitizers' libraries
    return folder


@pytest.fixture
def start(programs: Path, run_dir: Path) -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Starts bus_reader or bus_writer on topic cam; killed at the end."""
    running = []

    def start(name: str, *arguments: str) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [str(programs / name), str(run_dir), "cam", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0:use_sigaltstack=0"},
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
