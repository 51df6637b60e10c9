"""Orders that hold, whoever starts when. Other commands: tests/nodes/test_replay.py."""

import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from fusion_rt.bus import Bus, BusConfig
from fusion_rt.telling import StandingOrders

NODE = """
import sys
from fusion_rt.bus import Bus, BusConfig
with Bus(BusConfig(run_dir=sys.argv[1]), "home") as bus, bus.subscriber(["tell.home"]) as told:
    bus.stop_on_signals()
    while not bus.stopping:
        command = told.recv(0.1)
        if command is not None:
            print(command.intent, command.slots.get("room", ""), flush=True)
"""


@pytest.fixture
def folder():
    path = Path(tempfile.mkdtemp(prefix="frt-"))
    yield path
    shutil.rmtree(path)


def test_told_when_it_comes_and_when_it_comes_again(folder):
    config = BusConfig(run_dir=str(folder / "run"))

    def node():
        return subprocess.Popen(
            [sys.executable, "-I", "-c", NODE, config.run_dir], stdout=subprocess.PIPE, text=True
        )

    with Bus(config) as bus, closing(StandingOrders(bus, {"home": "home"})) as orders:
        orders.put("home", "kitchen", "hold", {"room": "bath"})
        orders.put("home", "kitchen", "hold", {"room": "kitchen"})  # instead of the first
        orders.start()
        with pytest.raises(KeyError):
            orders.put("nobody", "kitchen", "hold")
        first = node()
        assert first.stdout.readline() == "hold kitchen\n"
        orders.put("home", "hall", "hold", {"room": "hall"})
        assert first.stdout.readline() == "hold hall\n"
        while orders.due:
            bus.wait(0.05)
        while "home" not in orders._pids:  # it has been heard of
            bus.wait(0.05)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        second = node()
        assert {second.stdout.readline(), second.stdout.readline()} == {"hold kitchen\n", "hold hall\n"}
        second.terminate()
        second.communicate()
        assert orders.error is None
