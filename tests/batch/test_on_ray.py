"""Workers of Ray, each time in processes of their own: they leave nothing behind."""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest

from fusion_rt.evaluation import drive
from fusion_rt.evaluation.drive import DriveReport
from fusion_rt.logs import truth
from fusion_rt.logs.truth import TruthFrame, TruthObject
from fusion_rt.messages import Prediction
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.scenario import locate

CLI = [sys.executable, "-I", "-c", "from fusion_rt.cli import main; main()"]
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the batch extra")

SCRIPT = """
import os, pathlib, signal, sys, time
import psutil
from fusion_rt.batch.mapping import Failed, Workers, map_logs
from fusion_rt.errors import LogError

def work(item):
    if item == "dies once" and not first.exists():
        first.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "slow":
        time.sleep(1.0)
    if item == "damaged":
        raise LogError("damaged: no recording")
    if item == "bug":
        raise KeyError("a bug")
    return item

first = pathlib.Path(sys.argv[1])
children, results = [], []
try:
    for result in map_logs(work, ["slow", "dies once", "damaged", "dies", "quick", "bug"], Workers(count=2)):
        children = children or psutil.Process().children(recursive=True)
        results.append(result.reason if isinstance(result, Failed) else result)
except KeyError as error:
    results.append("a bug" if "a bug" in str(error) else str(error))
print(*results, sep="\\n")
print(len(children) > 2, psutil.wait_procs(children, timeout=10)[1])
"""


@pytest.fixture
def environment():
    """Of nobody's own Ray, and with a token that is not written to the user's home."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return own | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 2, "COLUMNS": "120"}


def fusion_rt(environment, *arguments):
    return subprocess.run(
        [*CLI, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=120
    )


def lines(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*.jsonl")}


@needs_ray
def test_the_same_bytes_as_without_workers(environment, recordings, answers, tmp_path):
    command = ("replay", recordings, "--fast", "--threads", 1, "--json", "--out", tmp_path, "--workers", 2)
    done = fusion_rt(environment, *command)
    assert done.returncode == 1, done.stderr
    assert lines(tmp_path) == lines(answers)
    assert sorted(lines(tmp_path)) == ["first.jsonl", "town/second.jsonl"]
    rows = json.loads(done.stdout)["logs"]
    assert [(row["log"], row["state"]) for row in rows] == [
        ("damaged.mcap", "failed"),
        ("first.mcap", "done"),
        ("town/second.mcap", "done"),
    ]
    (line,) = done.stderr.splitlines()
    assert line.startswith("failed: damaged.mcap: ")
    assert "not an MCAP recording" in line


@needs_ray
def test_a_dead_worker_is_replaced_once(environment, tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, tmp_path / "script.py", tmp_path / "mark"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    slow, once, damaged, dead, quick, bug, left = done.stdout.splitlines()
    assert (slow, once, damaged, quick) == ("slow", "dies once", "damaged: no recording", "quick")
    assert dead.startswith("its worker died twice; replay it alone to see why (")
    assert bug == "a bug"
    assert left == "True []"


@needs_ray
def test_ctrl_c_leaves_nothing(environment, tmp_path):
    for name in ("a.mcap", "b.mcap"):
        (tmp_path / name).symlink_to(locate("bundled:drive.mcap"))
    out = tmp_path / "out"
    command = ("replay", tmp_path, "--fast", "--out", out, "--workers", 2)
    process = subprocess.Popen([*CLI, *map(str, command)], env=environment, stderr=subprocess.PIPE, text=True)
    while not list(out.glob("*.part")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in error
    assert len(children) > 2
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert not list(out.glob("*.json"))


@pytest.fixture
def cluster(environment):
    """The address of one machine's, with one CPU."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--port={port}"]
    sizes = ["--num-cpus=1", "--object-store-memory=100000000", "--include-dashboard=false"]
    quiet = environment | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*start, *sizes], env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout:
            if "Ray runtime started" in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        yield f"127.0.0.1:{port}"
        process.terminate()
        process.communicate(timeout=60)
        assert psutil.wait_procs(children, timeout=10)[1] == []


def said(answers):
    """What the engine says, as truth."""
    for line in answers.read_bytes().splitlines():
        prediction = msgspec.json.decode(line, type=Prediction)
        fields = ("track_id", "label", "center", "size", "yaw", "velocity")
        yield TruthFrame(
            stamp_ns=prediction.header.stamp_ns,
            sensor_id="lidar",
            T_map_ego=tuple(np.eye(4).ravel().tolist()),
            velocity=(9.0, 0.0, 0.0),
            objects=tuple(
                TruthObject(**{name: getattr(thing, name) for name in fields}, points=9)
                for thing in prediction.objects
            ),
        )


@needs_ray
def test_a_cluster_judges_as_one_process(environment, cluster, recordings, answers, tmp_path):
    for log in (recordings / "first.mcap", recordings / "town" / "second.mcap", recordings / "damaged.mcap"):
        (tmp_path / log.name).symlink_to(log)
    truth.write(tmp_path / "first.truth.jsonl", list(said(answers / "first.jsonl")))
    truth.write(tmp_path / "second.truth.jsonl", [])
    truth.write(tmp_path / "damaged.truth.jsonl", [])
    alone = drive.evaluate(drive.pairs(tmp_path), PipelineConfig(), ("car", "pedestrian", "cyclist"))
    done = fusion_rt(environment, "eval", "drive", tmp_path, "--json", "--address", cluster)
    assert done.returncode == 0, done.stderr
    assert msgspec.json.decode(done.stdout, type=DriveReport) == alone
    assert (alone.drives, alone.predictions) == (2, 7)
    assert alone.rows[0].objects > 5
    assert len(alone.skipped) == 1
    large = ("replay", recordings, "--fast", "--out", tmp_path, "--address", cluster, "--threads", 2)
    done = fusion_rt(environment, *large)
    assert done.returncode == 1
    assert f"--address {cluster}: no machine there has 2 CPUs for a worker" in done.stderr


@needs_ray
def test_an_address_of_nobody(environment, recordings, tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"ray://127.0.0.1:{silent.getsockname()[1]}"
        done = fusion_rt(environment, "replay", recordings, "--fast", "--out", tmp_path, "--address", address)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: --address {address}: no Ray cluster of our version and token there (")


def test_without_ray(environment, recordings, tmp_path):
    blocked = [*CLI[:3], "import sys; sys.modules['ray'] = None; from fusion_rt.cli import main; main()"]
    command = ("replay", recordings, "--fast", "--out", tmp_path, "--workers", "2")
    done = subprocess.run(
        [*blocked, *map(str, command)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stderr == (
        "error: several logs at once, or a cluster, need ray: pip install 'fusion-rt[batch]'\n"
    )
    assert not list(tmp_path.iterdir())
