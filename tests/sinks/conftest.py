import importlib.util
import shutil
import tempfile
import threading
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
def port(brokers: ModuleType) -> int:
    """One that is free."""
    return int(brokers.free_port())


@pytest.fixture
def mosquitto(port: int, brokers: ModuleType, tmp_path: Path) -> Iterator[Any]:
    broker = brokers.mosquitto(port, tmp_path)
    yield broker
    broker.stop()
