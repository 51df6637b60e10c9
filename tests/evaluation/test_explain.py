import json

import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.errors import LogError
from fusion_rt.scenario import locate


def explain(*arguments):
    return CliRunner().invoke(
        app, ["eval", "explain", str(locate("bundled:drive.mcap")), *map(str, arguments)]
    )


def test_one_moment_of_the_bundled_drive(tmp_path):
    done = explain("--at", 1.5, "--draw", tmp_path / "heat", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["answers"] == 1
    assert len(report["objects"]) == report["explained"] > 2
    for thing in report["objects"]:
        assert sum(thing["share"]) == pytest.approx(1, abs=1e-3)
        assert sum(thing["without"]) == pytest.approx(1, abs=1e-3) or not any(thing["without"])
    # Near objects are the lidar's.
    near = min(report["objects"], key=lambda o: o["place"][0])
    assert near["without"][0] > 0.5
    assert len(list((tmp_path / "heat").glob("drive_*.png"))) == 1
    assert "agreement" in explain("--at", 1.5).stdout


def test_a_moment_that_there_is_not():
    done = explain("--at", 900)
    assert isinstance(done.exception, LogError)
    assert "no answer at or after second 900" in str(done.exception)
