"""Whole scenarios with real processes."""

import os
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from fusion_rt import logs, supervisor
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import BusError, ConfigError
from fusion_rt.models.package import ModelPackage
from fusion_rt.processes import restart_delay_s
from fusion_rt.scenario import Scenario

pytestmark = pytest.mark.usefixtures("other_package")

SENSORS = ["cam", "lidar", "imu"]


@pytest.fixture
def scenario(run_dir, log_path):
    def make(**nodes):
        play = {"log": str(log_path), "loop": True}
        predict = {"use": "predictor", "inputs": SENSORS}
        given = {"replay": play, "predictor": predict} | nodes
        nodes = {name: content for name, content in given.items() if content is not None}
        return Scenario(bus=BusConfig(run_dir=str(run_dir)), nodes=nodes)

    return make


class Watcher:
    """Acts on what it is shown: `rules` are (condition, action), each done once, in order."""

    def __init__(self, *rules):
        self.rules, self.said = list(rules), []

    def show(self, status):
        if self.rules and self.rules[0][0](status):
            self.rules.pop(0)[1](status)

    def say(self, node, line):
        self.said.append((node, line))


def ctrl_c(status):
    os.kill(os.getpid(), signal.SIGINT)


def kill(name):
    return lambda status: os.kill(status.nodes[name].pid, signal.SIGKILL)


def predictions(n):
    return lambda status: status.predictions >= n


def test_a_recording_once_through(scenario, log_path, tmp_path):
    recording = tmp_path / "out.mcap"
    nodes = {
        "replay": {"log": str(log_path), "ends_run": True, "listeners": 2},
        "recorder": {"rig": str(log_path), "path": str(recording)},
    }
    watcher = Watcher()
    summary = supervisor.run(scenario(**nodes), duration_s=60, show=watcher.show, say=watcher.say)
    assert summary.predictions == 10
    assert summary.rungs == {"lidar_only": 10}
    assert summary.missing == 0, summary.topics
    assert summary.latency_ms.count == 10
    assert 0 < summary.latency_ms.p50 <= summary.latency_ms.max
    assert summary.topics["imu"].published == summary.topics["imu"].received == 100
    assert [summary.nodes[n].state for n in ("replay", "predictor", "recorder")] == [
        "done",
        "stopped",
        "stopped",
    ]
    assert summary.nodes["recorder"].detail["written"] == 130
    assert summary.nodes["recorder"].exit_code == 0
    # What was recorded is what was played.
    with logs.open(log_path) as played, logs.open(recording) as recorded:
        # At one stamp, the order is that of arrival.
        stamps = sorted((p.header.stamp_ns, p.header.sensor_id) for p in played)
        assert sorted((p.header.stamp_ns, p.header.sensor_id) for p in recorded) == stamps
        assert len(list(recorded.predictions())) == 10
    assert msgspec.json.decode(msgspec.json.encode(summary))["predictions"] == 10


def test_ctrl_c_stops_everything(scenario):
    watcher = Watcher((predictions(3), ctrl_c))
    summary = supervisor.run(scenario(), duration_s=60, show=watcher.show, say=watcher.say)
    assert summary.predictions >= 3
    assert {node.state for node in summary.nodes.values()} == {"stopped"}
    assert {node.exit_code for node in summary.nodes.values()} == {0}


@pytest.mark.parametrize("victim", ["replay", "predictor"])
def test_a_killed_node_is_started_again(scenario, victim):
    seen = {}

    def again(status):
        return status.nodes[victim].restarts == 1 and status.predictions >= seen["at"] + 5

    def murder(status):
        kill(victim)(status)
        seen["at"] = status.predictions

    watcher = Watcher((predictions(3), murder), (again, ctrl_c))
    summary = supervisor.run(scenario(), duration_s=60, show=watcher.show, say=watcher.say)
    assert watcher.rules == []
    assert (victim, "ended (SIGKILL): started again in 0.2 s") in watcher.said
    assert summary.topics["lidar"].malformed == 0
    survivor = {"replay": "predictor", "predictor": "replay"}[victim]
    assert summary.nodes[survivor].restarts == 0


def test_a_node_that_hangs_is_started_again(scenario):
    def freeze(status):
        os.kill(status.nodes["predictor"].pid, signal.SIGSTOP)

    def again(status):
        return status.nodes["predictor"].restarts == 1 and status.nodes["predictor"].state == "running"

    watcher = Watcher((predictions(2), freeze), (again, ctrl_c))
    supervisor.run(scenario(), duration_s=60, hang_s=3.0, show=watcher.show, say=watcher.say)
    assert watcher.rules == []
    assert any(node == "predictor" and line.startswith("hangs for") for node, line in watcher.said)


def test_one_run_in_one_folder(scenario, run_dir):
    with Bus(BusConfig(run_dir=str(run_dir)), "supervisor"), pytest.raises(BusError, match="another run_dir"):
        supervisor.run(scenario(), duration_s=60)


def test_the_engine_itself(scenario, log_path):
    """Killed in the middle, it comes back, and its answers continue the way of the packets they are from."""
    try:
        ModelPackage.load("driving-s")
    except ConfigError as error:
        pytest.skip(str(error))
    seen = {}

    def murder(status):
        kill("fusion")(status)
        seen["at"] = status.predictions

    def again(status):
        return status.nodes["fusion"].restarts == 1 and status.predictions >= seen["at"] + 5

    watcher = Watcher((predictions(5), murder), (again, ctrl_c))
    nodes = scenario(predictor=None, fusion={"rig": str(log_path), "threads": 1})
    summary = supervisor.run(nodes, duration_s=120, show=watcher.show, say=watcher.say)
    assert watcher.rules == [], watcher.said
    assert summary.latency_ms.count == summary.predictions
    assert summary.nodes["replay"].restarts == 0
    assert summary.topics["lidar"].malformed == 0


def test_a_node_that_always_fails_does_not_stop_the_rest(scenario):
    def tired(status):
        return status.nodes["broken"].restarts >= 2 and status.predictions >= 5

    watcher = Watcher((tired, ctrl_c))
    nodes = scenario(broken={"inputs": []})
    supervisor.run(nodes, duration_s=60, show=watcher.show, say=watcher.say)
    assert watcher.rules == []
    assert ("broken", "RuntimeError: this node always fails") in watcher.said


def test_a_node_that_does_not_stop_is_killed_at_the_second_ctrl_c(scenario):
    watcher = Watcher((predictions(2), ctrl_c))

    def say(node, line):
        watcher.say(node, line)

    def show(status):
        watcher.show(status)
        if not watcher.rules:
            ctrl_c(status)

    summary = supervisor.run(scenario(stubborn={"inputs": []}), duration_s=60, show=show, say=say)
    assert ("stubborn", "did not stop: killed") in watcher.said
    assert summary.nodes["stubborn"].exit_code == -signal.SIGKILL


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ({"replay": {"log": "x.mcap", "sped": 2}}, r"s.yaml: nodes.replay: sped: unknown key.*'speed'"),
        ({"replay": {"log": "x.mcap", "speed": -1.0}}, r"s.yaml: nodes.replay: speed: "),
        ({"replay": {"use": "repaly"}}, r"no node 'repaly': did you mean 'replay'\?"),
        ({"replay": {"log": "bundled:nothing.mcap"}}, r"bundled:nothing.mcap: not bundled"),
    ],
)
def test_a_wrong_configuration_ends_the_run(scenario, nodes, message):
    with pytest.raises(ConfigError, match=message):
        supervisor.run(scenario(**nodes), source="s.yaml", duration_s=60)


SCRIPT = """
import signal, sys, msgspec
from fusion_rt import supervisor
from fusion_rt.scenario import Scenario
signal.signal(signal.SIGINT, signal.default_int_handler)  # a terminal's: tests may run where it is ignored
print("go", flush=True)
summary = supervisor.run(msgspec.json.decode(sys.argv[1], type=Scenario), duration_s=60)
print(summary.predictions, flush=True)
"""


@pytest.mark.parametrize("after_s", [0.0, 0.02, 0.1, 0.3, 0.6, 1.0, 1.5])
def test_ctrl_c_at_any_moment(scenario, environment, after_s):
    """In a terminal's way: to the whole process group."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, msgspec.json.encode(scenario()).decode()],
        cwd=sys.prefix,  # not the checkout: what is installed is tested
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout.readline() == "go\n"
    time.sleep(after_s)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    # Before the handlers are there nothing has been started, and Python ends it.
    assert process.returncode == 0 or (process.returncode == -signal.SIGINT and "KeyboardInterrupt" in err)
    assert process.returncode or out.strip().isdigit()


def test_nodes_end_when_the_supervisor_is_killed(scenario, environment, run_dir):
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, msgspec.json.encode(scenario()).decode()],
        cwd=sys.prefix,  # not the checkout: what is installed is tested
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    for _ in range(1000):
        if (run_dir / "health.predictor").exists():
            break
        time.sleep(0.02)
    process.kill()
    process.communicate()
    for _ in range(1000):
        if not run_dir.exists():  # the last node out removes it
            return
        time.sleep(0.02)
    raise AssertionError("nodes live on")


def test_restart_delays():
    assert [restart_delay_s([], 0.0), restart_delay_s([1, 2, 3, 4], 5.0)] == [0.2, 0.2]
    assert restart_delay_s([1, 2, 3, 4, 5], 6.0) == 5.0
    assert restart_delay_s([1, 2, 3, 4, 5, 11], 12.0) == 10.0
    assert restart_delay_s([1, 2, 3, 4, 5, 11, 22, 43, 50], 51.0) == 60.0
    assert restart_delay_s([1, 2, 3, 4, 5], 100.0) == 0.2
