"""fusion-rt topics | echo | graph beside a scenario that runs."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

CLI = [sys.executable, "-I", "-c", "from fusion_rt.cli import main; main()"]


@pytest.fixture(scope="module")
def running():
    """The bundled recording, replayed without end; returns a runner of commands beside it."""
    with tempfile.TemporaryDirectory(prefix="frt") as folder:
        os.chmod(folder, 0o700)
        scenario = Path(folder) / "replay.yaml"
        scenario.write_text(
            "nodes:\n"
            "  replay: {log: 'bundled:drive.mcap', loop: true, listeners: 0}\n"
            f"  recorder: {{path: {folder}/out.mcap, rig: 'bundled:drive.mcap', topics: [imu, gnss]}}\n"
        )
        environment = os.environ | {"XDG_RUNTIME_DIR": folder, "COLUMNS": "140"}
        process = subprocess.Popen(
            [*CLI, "run", str(scenario)], env=environment, stdout=subprocess.PIPE, text=True
        )
        process.stdout.readline()

        def run(*arguments, code=0):
            done = subprocess.run(
                [*CLI, *map(str, arguments)],
                env=environment,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == code, done.stderr
            assert "Traceback" not in done.stderr
            return done.stdout if code == 0 else done.stderr

        yield run
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_topics(running):
    for _ in range(10):  # the nodes may have just started
        topics = {view["topic"]: view for view in json.loads(running("topics", "--json"))["topics"]}
        if topics.get("imu", {}).get("readers") and topics["imu"]["rate_hz"]:
            break
    assert topics.keys() >= {"camera", "lidar", "imu", "gnss"}
    assert topics["imu"]["node"] == "replay"
    assert [reader["node"] for reader in topics["imu"]["readers"]] == ["recorder"]
    assert "replay (" in running("topics")


def test_echo(running):
    lines = running("echo", "imu", "-n", 3).splitlines()
    assert len(lines) == 3
    assert all(line.startswith("imu imu #") for line in lines)
    (line,) = running("echo", "lidar", "-n", 1, "--json").splitlines()
    assert json.loads(line)["xyz"]["dtype"] == "float32"
    assert "node replay" in running("echo", "health.replay", "-n", 1)
    assert "did you mean 'camera'" in running("echo", "camra", code=1)


def test_graph(running, tmp_path):
    assert "-> recorder" in running("graph")
    edges = json.loads(running("graph", "--out", tmp_path / "g.dot", "--json"))["edges"]
    assert '"replay" -> "recorder"' in (tmp_path / "g.dot").read_text()
    assert {"replay"} == {edge["source"] for edge in edges if edge["target"] == "recorder"}
    assert ".svg, .png" in running("graph", "--out", tmp_path / "g.gif", code=1)
