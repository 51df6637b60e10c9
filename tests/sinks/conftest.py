import importlib.util
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fusion_rt.bus import Bus, BusConfig


@pytest.fixture(scope="session")
def samples() -> ModuleType:
    """tests/bus/samples.py"""
    path = Path(__file__).parents[1] / "bus" / "samples.py"
    spec = importlib.util.spec_from_file_location("samples", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config() -> Iterator[BusConfig]:
    folder = Path(tempfile.mkdtemp(prefix="frt-"))
    yield BusConfig(run_dir=str(folder / "run"))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def run_node(config: BusConfig) -> Iterator[Callable[..., Bus]]:
    """(run, settings) -> the bus of a node that runs in a thread."""
    running: list[tuple[Bus, threading.Thread]] = []
    errors: list[BaseException] = []

    def start(run: Callable[..., None], settings: Any) -> Bus:
        bus = Bus(config, "sink")

        def guarded() -> None:
            try:
                run(settings, bus)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()
        running.append((bus, thread))
        return bus

    yield start
    for bus, thread in running:
        bus.stop()
        thread.join()
        bus.close()
    assert errors == []


@pytest.fixture
def port() -> int:
    """One that is free."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A real broker on loopback, which comes and goes."""

    def __init__(self, port: int, folder: Path):
        self.port, self._file = port, folder / "mosquitto.conf"
        self._file.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError("mosquitto does not listen")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def mosquitto(port: int, tmp_path: Path) -> Iterator[Mosquitto]:
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (extra mqtt)")
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    broker = Mosquitto(port, tmp_path)
    yield broker
    broker.stop()
