"""Two hosts: folders of their own on loopback, or two network namespaces with a cable between them."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import msgspec
import pytest
import yaml
from fusion_rt.nodes import bridge as node

from fusion_rt.bridge import BridgeConfig
from fusion_rt.bus import Bus, BusConfig, KeyPair, allow_list

CLI = [sys.executable, "-I", "-c", "from fusion_rt.cli import main; main()"]


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
def folder() -> Iterator[Path]:
    """A short path: a socket's may have 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="frt-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


class Host:
    """A key pair, an allow-list and a folder for the bus."""

    def __init__(self, folder: Path, name: str):
        self.name, self.folder = name, folder / name
        self.folder.mkdir()
        self.pair = KeyPair.generate()
        self.pair.save(self.folder / "pair.json")
        self.allow()

    def allow(self, *others: "Host") -> None:
        entries = {other.name: (allow_list.AllowedKey(key=other.pair.public),) for other in others}
        allow_list.save(self.folder / "allowed.json", entries)

    @property
    def bus(self) -> BusConfig:
        return BusConfig(
            run_dir=str(self.folder / "run"),
            keys=str(self.folder / "pair.json"),
            allow=str(self.folder / "allowed.json"),
        )

    def scenario(self, bridge: dict[str, Any]) -> Path:
        path = self.folder / "scenario.yaml"
        content = {"bus": msgspec.to_builtins(self.bus), "nodes": {"bridge": bridge}}
        path.write_text(yaml.safe_dump(content), encoding="utf-8")
        return path


@pytest.fixture
def hosts(folder: Path) -> tuple[Host, Host]:
    """car and desk; the car lets the desk in."""
    car, desk = Host(folder, "car"), Host(folder, "desk")
    car.allow(desk)
    return car, desk


@pytest.fixture
def run_bridge() -> Iterator[Callable[..., Bus]]:
    """Runs the node in a thread; returns its bus, whose `stop` ends it."""
    running: list[tuple[Bus, threading.Thread]] = []
    errors: list[BaseException] = []

    def start(host: Host, bridge: dict[str, Any]) -> Bus:
        config = msgspec.convert(bridge, BridgeConfig)
        bus = Bus(host.bus, "bridge")

        def run() -> None:
            try:
                node.run(config, bus)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        running.append((bus, thread))
        return bus

    yield start
    for bus, thread in running:
        bus.stop()
        thread.join()
        bus.close()
    assert errors == []


def until(condition: Callable[[], Any], tries: int = 600) -> Any:
    """What `condition` gives as soon as it is true."""
    for _ in range(tries):
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen")


class Network:
    """Two namespaces, 10.231.7.1 (car) and 10.231.7.2 (desk), made by this test and gone with it."""

    ADDRESS: ClassVar = {"car": "10.231.7.1", "desk": "10.231.7.2"}

    def __init__(self) -> None:
        self._tag = f"frt{os.getpid()}"
        self._processes: list[subprocess.Popen[str]] = []

    def name(self, host: str) -> str:
        return f"{self._tag}{host}"

    def make(self) -> None:
        for host in self.ADDRESS:
            command("ip", "netns", "add", self.name(host))
        ends = [f"{self._tag}{host[0]}" for host in self.ADDRESS]
        command("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for host, end in zip(self.ADDRESS, ends):
            command("ip", "link", "set", end, "netns", self.name(host), "name", "cable")
            command("ip", "-n", self.name(host), "addr", "add", f"{self.ADDRESS[host]}/24", "dev", "cable")
            self.cable(host, "up")

    def cable(self, host: str, state: str) -> None:
        command("ip", "-n", self.name(host), "link", "set", "cable", state)

    def shape(self, host: str, *rule: str) -> bool:
        """What leaves the host is so delayed, lost or slowed down; False: this kernel cannot."""
        done = subprocess.run(
            ["tc", "-n", self.name(host), "qdisc", "replace", "dev", "cable", "root", *rule],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def start(self, host: Host, bridge: dict[str, Any], *, ahead_s: int = 0) -> "subprocess.Popen[str]":
        """The bridge as a process with the host's network, name, and a CLOCK_MONOTONIC that is `ahead_s`
        ahead of everyone else's."""
        path = host.scenario(bridge)
        inner = f'hostname {host.name} && exec "$@"'
        time_too = ["-T", "--monotonic", str(ahead_s)] if ahead_s else []
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", self.name(host.name)),
                *("unshare", "-u", *time_too, "--fork", "--kill-child", "sh", "-c", inner, "sh"),
                *(*CLI, "node", "bridge", "--config", str(path)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._processes.append(process)
        return process

    def kill(self, process: "subprocess.Popen[str]") -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def remove(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                self.kill(process)
            process.communicate()
        for host in self.ADDRESS:
            subprocess.run(["ip", "netns", "del", self.name(host)], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", f"{self._tag}c"], capture_output=True, check=False)


def command(*arguments: str) -> None:
    subprocess.run(arguments, capture_output=True, check=True, text=True)


@pytest.fixture
def network() -> Iterator[Network]:
    """Skips, saying so, where namespaces cannot be made: they need root and iproute2."""
    made = Network()
    try:
        made.make()
    except (OSError, subprocess.CalledProcessError) as error:
        made.remove()
        pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', error) or error}")
    yield made
    made.remove()


@pytest.fixture
def helpers() -> Any:
    class Helpers:
        until = staticmethod(until)

    return Helpers
