import json

import msgspec
import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.control.audit import AuditLog
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.logs import LogWriter
from fusion_rt.scene import Scene


@pytest.fixture
def run():
    def call(*words):
        done = CliRunner().invoke(app, ["rules", *map(str, words)])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.stdout

    return call


@pytest.fixture
def scenes(tmp_path, make_scene):
    make = make_scene
    path = tmp_path / "scenes.jsonl"
    evening = make.START_NS + 6 * 3600 * make.S
    lines = [
        msgspec.json.encode(make.scene(make.room("kitchen", second > 3), stamp_ns=evening + second * make.S))
        for second in range(8)
    ]
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def test_check(run, tmp_path):
    assert "7 rules are right" in run("check")
    assert json.loads(run("check", "rules", "--json"))["rules"][0] == "voice"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("rules: {a: {when: {event: fall}, then: [{device: x, command: on}]}}")
    with pytest.raises(ConfigError, match=r"rules\.a\.then\[0\]\.device"):
        run("check", wrong)


def test_try(run, scenes):
    printed = run("try", "rules", scenes)
    assert "kitchen_light" in printed
    assert '{"state": "ON"}' in printed
    found = json.loads(run("try", "rules", scenes, "--json"))
    assert found["scenes"] == 8
    assert [(d["device"], d["result"]) for d in found["decisions"]] == [("kitchen_ceiling", "dry_run")]
    assert run("try", "rules", scenes, "--json") == run("try", "rules", scenes, "--json")


def test_try_with_a_recording(run, scenes, tmp_path, rig):
    with LogWriter(tmp_path / "evening.mcap", rig) as log:
        for line in scenes.read_bytes().splitlines():
            log.write(msgspec.json.decode(line, type=Scene))
    by_log = json.loads(run("try", "rules", tmp_path / "evening.mcap", "--json"))
    assert by_log == json.loads(run("try", "rules", scenes, "--json"))


def test_try_with_what_is_no_recording(run, tmp_path):
    path = tmp_path / "x.jsonl"
    with pytest.raises(ConfigError, match="cannot be read"):
        run("try", "rules", path)
    path.write_text('\n{"type": "image"}\n')
    with pytest.raises(ConfigError, match=r"x\.jsonl:2: not a scene"):
        run("try", "rules", path)
    (tmp_path / "x.mcap").write_text("no")
    with pytest.raises(LogError, match="not an MCAP recording"):
        run("try", "rules", tmp_path / "x.mcap")


def test_audit(run, tmp_path):
    path = tmp_path / "audit.jsonl"
    with AuditLog(path) as log:
        for i in range(5):
            log.write(
                {"at": f"2026-01-01T12:00:0{i}.000Z", "rule": "[red]r", "device": "lamp", "result": "sent"}
            )
    assert "[red]r" in run("audit", path)
    assert len(json.loads(run("audit", path, "--count", 2, "--json"))["records"]) == 2
