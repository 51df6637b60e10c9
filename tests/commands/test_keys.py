"""fusion-rt keys, as a user types it."""

import json

import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.errors import FusionError


@pytest.fixture
def fusion_rt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments, code=0):
        done = CliRunner().invoke(app, ["keys", *arguments])
        if code:
            assert isinstance(done.exception, FusionError)  # which `main` prints as one line
            return str(done.exception)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_make_allow_rotate_remove(fusion_rt, tmp_path):
    public = json.loads(fusion_rt("make", "desk.json", "--json"))["public"]
    assert public in fusion_rt("show", "desk.json")
    assert "not written" in fusion_rt("make", "desk.json", code=1)  # keys are not overwritten
    fusion_rt("allow", "add", "allowed.json", "desk", public)
    rotated = json.loads(fusion_rt("rotate", "desk.json", "--json"))
    assert rotated["old_public"] == public
    assert public in fusion_rt("show", rotated["old_pair"])
    new = rotated["public"]
    assert "--overlap" in fusion_rt("allow", "add", "allowed.json", "desk", new, code=1)
    listed = json.loads(fusion_rt("allow", "add", "allowed.json", "desk", new, "--overlap", 24, "--json"))
    assert [entry["key"] for entry in listed["desk"]] == [public, new]
    assert ["until" in entry for entry in listed["desk"]] == [True, False]
    assert "until 2" in fusion_rt("allow", "list", "allowed.json")
    assert "there are: desk" in fusion_rt("allow", "remove", "allowed.json", "dsk", code=1)
    assert "nobody is let in" in fusion_rt("allow", "remove", "allowed.json", "desk")
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("desk.json", "desk.json.old", "allowed.json"), 0o600)
    assert "40 characters" in fusion_rt("allow", "add", "allowed.json", "car", "short", code=1)
    assert "fusion-rt keys make" in fusion_rt("show", "none.json", code=1)
