"""replay --fast of a folder: what is printed, and what the shell is told; without the engine."""

import json

import pytest
from typer.testing import CliRunner

from fusion_rt import offline
from fusion_rt.cli import app
from fusion_rt.errors import LogError
from fusion_rt.offline import Replayed
from fusion_rt.scenario import locate


def replay(path, config, out):
    """In the place of offline.replay."""
    if path.name == "damaged.mcap":
        raise LogError(f"{path}: not an MCAP recording")
    out.write(f"{config.threads}\n".encode())
    return Replayed(
        predictions=60,
        log_s=5.9,
        objects=300,
        objects_mean=5.0,
        objects_p95=8.0,
        rungs={"all": 60},
        tracks={"car": 9, "cyclist": 2},
        notes=(f"{path}: a part is damaged",),
    )


@pytest.fixture
def call(tmp_path, monkeypatch):
    """The command on a folder of two."""
    monkeypatch.setattr(offline, "replay", replay)
    (tmp_path / "in" / "town").mkdir(parents=True)
    for name in ("drive.mcap", "town/damaged.mcap"):
        (tmp_path / "in" / name).symlink_to(locate("bundled:drive.mcap"))
    command = ["replay", str(tmp_path / "in"), "--fast", "--out", str(tmp_path / "out")]
    return lambda *more: CliRunner().invoke(app, [*command, *more])


def test_a_table_then_what_failed(call, tmp_path):
    done = call()
    assert done.exit_code == 1
    head, _, drive, damaged, total = (line.split() for line in done.stdout.splitlines())
    assert head[0] == f"{tmp_path}/out:"
    assert head[1:-1] == ["1", "done,", "1", "failed;"]
    assert [*drive[:3], *drive[4:]] == ["drive.mcap", "done", "5.9", "60", "300", "5.0", "8.0", "11"]
    assert damaged == ["town/damaged.mcap", "failed"]
    assert total == ["all", "5.9", "60", "300"]
    note, failure = done.stderr.replace("\n", "").split("failed: ")
    assert note.endswith("drive.mcap: a part is damaged")
    assert failure.endswith("town/damaged.mcap: not an MCAP recording")
    assert (tmp_path / "out" / "drive.jsonl").read_text() == "2\n"  # threads, as for one recording
    assert "1 kept, 1 failed" in call().stdout


def test_json(call, tmp_path):
    done = call("--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert [row["state"] for row in report["logs"]] == ["done", "failed"]
    assert report["logs"][0]["summary"]["result"]["rungs"] == {"all": 60}
    (tmp_path / "in" / "town" / "damaged.mcap").unlink()
    assert call("--json").exit_code == 0
    assert json.loads(call("--json", "--again").stdout)["logs"][0]["state"] == "done"
