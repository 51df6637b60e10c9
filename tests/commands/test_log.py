"""fusion-rt log ..., through the command line."""

import json

import pytest
import typer
from typer.testing import CliRunner

from fusion_rt.commands import log as commands
from fusion_rt.commands import recordings
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.logs import LogWriter
from fusion_rt.logs.losses import Loss
from fusion_rt.messages import Header, ImuSample
from fusion_rt.rig import Imu, Rig

app = typer.Typer(pretty_exceptions_enable=False)
app.add_typer(commands.tools, name="log")
app.command()(recordings.info)
START_NS = 1_700_000_000_000_000_000


def run(*words):
    """The command's result; an error of ours is raised, as `main` gets it."""
    result = CliRunner().invoke(app, [str(w) for w in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def write(tmp_path):
    def go(name, seqs, *, losses=(), sensor="imu"):
        path = tmp_path / name
        with LogWriter(path, Rig(imus={sensor: Imu()})) as log:
            for seq in seqs:
                header = Header(
                    sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=START_NS + seq * 10_000_000
                )
                log.write(
                    ImuSample(header=header, specific_force=(0.0, 0.0, 9.8), angular_rate=(0.0, 0.0, 0.0))
                )
            log.report(list(losses))
            if losses:
                log.end_report()
        return path

    return go


LOST = Loss(topic="/imu", cause="buffer", messages=10, first=100, last=109)


def test_check_says_what_is_wrong_by_its_exit_code_too(write):
    path = write("a.mcap", range(300))
    assert run("log", "check", path).exit_code == 0
    assert run("log", "check", path).output.endswith("sound\n")
    path.write_bytes(path.read_bytes()[:-5])
    result = run("log", "check", path)
    assert result.exit_code == 1
    assert "the index is missing" in result.output
    report = json.loads(run("log", "check", path, "--json").stdout)
    assert (report["sound"], report["topics"]["/imu"]["messages"]) == (False, 300)


def test_what_a_recorder_lost_is_in_info_and_explains_gaps(write):
    seqs = [*range(100), *range(110, 200)]
    path = write("a.mcap", seqs, losses=[LOST])
    for result in (run("info", path), run("log", "info", path)):
        assert "/imu 100 to 109: 10 lost, the disk was too slow, and the buffer full" in result.output
    assert json.loads(run("info", path, "--json").stdout)["losses"][0]["last"] == 109
    assert run("log", "check", path).exit_code == 0
    result = run("log", "check", write("b.mcap", seqs))
    assert result.exit_code == 1
    assert "/imu: 10 numbers are missing, unexplained: 100 to 109" in result.output


def test_repair(write, tmp_path):
    path = write("a.mcap", range(300))
    path.write_bytes(path.read_bytes()[:-5])
    assert f"{tmp_path}/a-repaired.mcap: 300 messages" in run("log", "repair", path).output
    assert run("log", "check", tmp_path / "a-repaired.mcap").exit_code == 0
    with pytest.raises(LogError, match="is there already"):
        run("log", "repair", path)
    again = json.loads(run("log", "repair", path, "-o", tmp_path / "b.mcap", "--json").stdout)
    assert (again["messages"], again["losses"]) == (300, [])


def test_cut_merge_and_diff(write, tmp_path):
    path = write("a.mcap", range(300))
    a, b, ab = (tmp_path / name for name in ("first.mcap", "second.mcap", "ab.mcap"))
    assert "100 messages" in run("log", "cut", path, "-o", a, "--until", 1.0).output
    assert "200 messages" in run("log", "cut", path, "-o", b, "--from", 1.0, "-t", "imu").output
    assert json.loads(run("log", "merge", a, b, "-o", ab, "--json").stdout)["messages"] == 300
    result = run("log", "diff", path, ab)
    assert (result.exit_code, result.output) == (0, "no difference\n")
    result = run("log", "diff", path, a)
    assert result.exit_code == 1
    assert "/imu, message 101, at 1.000 s:" in result.output
    found = json.loads(run("log", "diff", path, a, "--json").stdout)
    assert (found["equal"], found["difference"]["b"]) == (False, "nothing")


def test_merge_with_other_names(write, tmp_path):
    a, b = write("a.mcap", range(30)), write("b.mcap", range(30))
    with pytest.raises(LogError, match="both have imu at the same time"):
        run("log", "merge", a, b, "-o", tmp_path / "ab.mcap")
    for wrong in ("3:imu=x", "imu=x", "1:imu", "0:imu=x"):
        with pytest.raises(ConfigError, match="expected N:SENSOR=NAME, N from 1 to 2"):
            run("log", "merge", a, b, "-o", tmp_path / "ab.mcap", "--rename", wrong)
    run("log", "merge", a, b, "-o", tmp_path / "ab.mcap", "--rename", "2:imu=imu_2")
    found = json.loads(run("info", tmp_path / "ab.mcap", "--json").stdout)
    assert {name: topic["messages"] for name, topic in found["topics"].items()} == {
        "/imu": 30,
        "/imu_2": 30,
        "/tf": 1,
    }


@pytest.mark.parametrize("command", ["check", "repair", "cut", "merge", "diff"])
def test_help_has_an_example(command):
    result = run("log", command, "--help")
    assert f"fusion-rt log {command} " in result.output
