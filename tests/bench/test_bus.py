"""A short benchmark of the bus with real processes, and what it is told and tells."""

import importlib.util
import json
import subprocess
import sys

import msgspec
import pytest

from fusion_rt.bench.bus import measure, table
from fusion_rt.bench.bus.figures import figures
from fusion_rt.bench.bus.loads import LOADS, Listener, Load, Stream, Task
from fusion_rt.bench.bus.measure import BusResult, Cell
from fusion_rt.bench.bus.transports import PEERS
from fusion_rt.errors import ConfigError

SMALL = Load(
    "small",
    "A cloud and an IMU to a reader and a recorder",
    (Stream("lidar", "points", 20.0), Stream("imu", "imu", 100.0)),
    (Listener("reader"), Listener("recorder", record=True)),
)


def run_one(peer):
    if not peer.installed():
        pytest.skip(f"no {peer.name}: pip install {peer.package}")
    for warm_s in (0.4, 2.0, 5.0):  # until those of some libraries have found each other
        cell = measure._cell(SMALL, peer, seconds=0.6, warm_s=warm_s)
        if cell.failed is None:
            break
    assert cell.failed is None, cell.failed
    return cell


@pytest.mark.parametrize("name", ["fusion_rt, send", "fusion_rt, loan", "pyzmq"])
def test_each_transport_brings_everything(name):
    cell = run_one(PEERS[name])
    assert 30 < cell.received <= cell.offered  # of the clouds, only the newest where this machine is busy
    assert 0 < cell.p50_ms <= cell.p90_ms <= cell.p99_ms <= cell.max_ms
    assert {share.name for share in cell.processes} == {
        "reader",
        "recorder",
        "lidar-sender",
        "imu-sender",
    }
    assert all(share.rss_mb > share.shared_mb > 0 for share in cell.processes)
    assert cell.cpu > 0


@pytest.mark.parametrize("name", ["iceoryx2", "iceoryx2, in place", "zenoh, shared memory", "dora"])
def test_peers_that_are_installed_are_driven(name):
    cell = run_one(PEERS[name])
    assert cell.received > 0
    assert cell.p50_ms > 0


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "zenoh" else found(name))
    result = measure.measure(peers=["zenoh, shared memory"])
    assert result.cells == ()
    assert result.left_out == ("zenoh, shared memory: not installed; pip install eclipse-zenoh",)
    assert "pip install eclipse-zenoh" in table.markdown(result)


@pytest.mark.parametrize(("what", "names"), [("load", {"loads": ["images"]}), ("peer", {"peers": ["ros"]})])
def test_unknown_names(what, names):
    with pytest.raises(ConfigError, match=f"no {what}"):
        measure.measure(**names)


def test_a_process_that_fails_says_why(tmp_path):
    task = Task(transport="pyzmq", load=LOADS[0], stream=0, run_dir=str(tmp_path / "absent"))
    (tmp_path / f"{task.name}.json").write_bytes(msgspec.json.encode(task))
    with pytest.raises(measure._Failed, match=r"camera-sender ended with 1: zmq\..*No such file"):
        measure._run(tmp_path, [], [task], 30.0)


def test_figures_and_tables():
    def cell(load, peer, p50, cpu=10.0):
        return Cell(load=load, peer=peer, p50_ms=p50, p90_ms=p50, p99_ms=p50, max_ms=p50, cpu=cpu)

    result = BusResult(
        version="1",
        machine="m",
        python="3",
        system="Linux",
        seconds=1.0,
        versions={},
        loads=LOADS,
        cells=(
            cell("image", "fusion_rt, loan", 0.2),
            cell("image", "iceoryx2", 0.5),
            cell("imu", "fusion_rt, send", 0.3),
            cell("imu", "pyzmq", 0.2),
            cell("rig", "fusion_rt, loan", 1.0, cpu=40.0),
            cell("rig", "pyzmq", 1.0, cpu=100.0),
            cell("slow", "fusion_rt, send", 17.0),
            Cell(load="image", peer="dora", failed="it did not come"),
        ),
        left_out=(),
    )
    assert {f.name: (round(f.value, 3), f.held) for f in figures(result)} == {
        "image: loan, p50 to iceoryx2's": (0.4, True),
        "image: loan, p99 to iceoryx2's": (0.4, True),
        "imu: p50 to plain ZeroMQ's": (1.5, False),
        "rig: loan, CPU to plain ZeroMQ's": (0.4, True),
        "slow: send, age in ms, p50": (17.0, True),
    }
    text = table.markdown(result)
    assert "| imu: p50 to plain ZeroMQ's | 1.50 | 1.3 | missed |" in text
    assert "it did not come" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| fusion_rt")}
    assert len(widths) == 1


def test_the_command(tmp_path):
    path = tmp_path / "bus.md"
    code = "import sys; from fusion_rt.cli import main; sys.argv[0] = 'fusion-rt'; main()"
    command = [sys.executable, "-c", code, "bench", "bus", "--load", "imu", "--peer", "pyzmq"]
    done = subprocess.run(
        [*command, "--seconds", "1", "--json", "--markdown", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (cell,) = json.loads(done.stdout)["result"]["cells"]
    assert (cell["load"], cell["peer"], cell["failed"]) == ("imu", "pyzmq", None)
    assert cell["received"] > 300
    assert "| pyzmq |" in path.read_text()
