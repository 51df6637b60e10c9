"""The commands as a user types them, with real processes, sockets and signals."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec
import psutil
import pytest

from fusion_rt import logs
from fusion_rt.bus import ring
from fusion_rt.messages import Prediction

ROOT = Path(__file__).resolve().parents[2]
DRIVE = ROOT / "fusion_rt" / "data" / "drive.mcap"
# Isolated: what is installed, not what lies in the folder that the tests run in.
CLI = [sys.executable, "-I", "-c", "from fusion_rt.cli import main; main()"]


@pytest.fixture
def environment():
    """A run of our own: other tests may use the user's folder at the same time."""
    with tempfile.TemporaryDirectory(prefix="frt") as folder:
        os.chmod(folder, 0o700)
        yield os.environ | {"XDG_RUNTIME_DIR": folder, "XDG_CACHE_HOME": folder, "COLUMNS": "120"}
        assert list(Path(folder).rglob("*.lock")) == []


@pytest.fixture(autouse=True)
def nothing_left_in_shared_memory():
    before = set(ring.segments())
    yield
    left = {name for name in set(ring.segments()) - before if not psutil.pid_exists(int(name.split("-")[2]))}
    assert left == set(), "segments of dead processes"


def fusion_rt(environment, *arguments, timeout=120, cwd=None):
    return subprocess.run(
        [*CLI, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
    )


def test_run_gives_a_summary_as_json(environment, tmp_path):
    done = fusion_rt(environment, "run", ROOT / "configs" / "driving.yaml", "--duration", 10, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)  # and nothing else there
    assert summary["predictions"] > 0
    assert summary["latency_ms"]["count"] == summary["predictions"]
    assert {name: node["exit_code"] for name, node in summary["nodes"].items()} == {"replay": 0, "fusion": 0}
    assert "fuse" in summary["stages_ms"]
    assert summary["topics"]["prediction"]["rate_hz"] > 1  # while it ran, not while it stopped


def test_run_by_name_from_any_folder_and_ctrl_c(environment, tmp_path):
    process = subprocess.Popen(
        [*CLI, "run"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    for line in process.stdout:
        if " predictions, p50 " in line and " 0 predictions" not in line:
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "packet published to prediction published" in out
    assert "messages that did not arrive" in out


def test_replay_fast_writes_the_same_bytes_twice(environment, tmp_path):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    done = fusion_rt(environment, "replay", "bundled:drive.mcap", "--fast", "--out", first, "--json")
    assert done.returncode == 0, done.stderr
    assert fusion_rt(environment, "replay", DRIVE, "--fast", "--out", second).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    predictions = [msgspec.json.decode(line, type=Prediction) for line in first.read_bytes().splitlines()]
    assert len(predictions) == json.loads(done.stdout)["predictions"] == 60
    assert [p.header.seq for p in predictions] == list(range(60))
    assert all(p.certificate.stage_ms == {} for p in predictions)


def test_replay_with_the_lidar_s_odometry(environment, tmp_path):
    """The same answers, but for the little that one more measurement changes."""
    out = tmp_path / "a.jsonl"
    done = fusion_rt(environment, "replay", "bundled:drive.mcap", "--fast", "--odometry", "--out", out)
    assert done.returncode == 0, done.stderr
    predictions = [msgspec.json.decode(line, type=Prediction) for line in out.read_bytes().splitlines()]
    assert len(predictions) == 60
    assert predictions[2].ego.source == "gnss+odometry"  # before the IMU navigates
    assert predictions[-1].ego.source == "imu+gnss"


def test_replay_ends_with_the_recording(environment):
    done = fusion_rt(environment, "replay", "bundled:drive.mcap", "--speed", 3, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["nodes"]["replay"]["state"] == "done"
    assert summary["predictions"] > 0


def test_a_homes_recording_goes_into_the_homes_engine(environment):
    done = fusion_rt(environment, "replay", "bundled:home.mcap", "--duration", 12, "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert set(summary["nodes"]) == {"replay", "home"}
    assert summary["predictions"] > 0


def test_record_beside_a_run(environment, tmp_path):
    with subprocess.Popen([*CLI, "run"], env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            done = fusion_rt(environment, "record", "-o", tmp_path / "r.mcap", "--duration", 8, "--json")
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["lost"], report["paths"]) == (0, [str(tmp_path / "r.mcap")])
    with logs.open(tmp_path / "r.mcap") as log:
        packets = list(log)
        assert {p.header.sensor_id for p in packets} == {"camera", "lidar", "imu", "gnss"}
        predictions = len(list(log.predictions()))
        assert not [loss for loss in log.losses if loss.cause != "source"]
        assert sum(log.ended.written.values()) == report["written"]
    assert len(packets) + predictions == report["written"]


def test_one_node_alone(environment, tmp_path):
    process = subprocess.Popen([*CLI, "node", "replay"], env=environment, stderr=subprocess.PIPE, text=True)
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "driveing"], "driveing: no such file; did you mean 'driving'?"),
        (["run", "{tmp}/wrong.yaml"], "nodes.fusion: modle: unknown key, did you mean 'model'"),
        (["replay", "{tmp}/none.mcap", "--fast"], "none.mcap"),
        (["replay", "{tmp}/picture.mcap"], "picture.mcap"),
        (["replay", "bundled:dirve.mcap", "--fast"], "not bundled; there are: drive.mcap"),
        (["replay", "bundled:drive.mcap", "--out", "x"], "--out goes with --fast"),
        (["replay", "bundled:drive.mcap", "--fast", "--out", "{tmp}/no/x"], "cannot be written"),
        (["replay", "bundled:drive.mcap", "--fast", "--model", "driving-xl"], "no model package there"),
        (["replay", "bundled:drive.mcap", "--fast", "--runtime", "tensorflow"], "tensorflow"),
        (["replay", "{tmp}"], "a folder of recordings is replayed with --fast"),
        (["replay", "bundled:home.mcap", "--fast"], "a home's recording: it is replayed live"),
        (["replay", "bundled:home.mcap", "--precision", "f16"], "--precision and --odometry are a vehicle's"),
        (["replay", "{tmp}", "--fast"], "is a folder: --out must be one, too"),
        (["replay", "bundled:drive.mcap", "--fast", "--workers", "2"], "are for a folder of them"),
        (["node", "lidar"], "no node 'lidar'; there are: replay, fusion"),
        (["record", "-o", "{tmp}/no/such/folder.mcap"], "cannot be written"),
    ],
)
def test_errors_are_one_clear_line(environment, tmp_path, arguments, message):
    (tmp_path / "wrong.yaml").write_text("nodes: {fusion: {rig: 'bundled:drive.mcap', modle: x}}\n")
    (tmp_path / "picture.mcap").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    done = fusion_rt(environment, *(a.format(tmp=tmp_path) for a in arguments))
    assert done.returncode == 1
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    assert done.stdout == "" or "Traceback" not in done.stdout
