"""Real labelled frames teach the bundled model; every one is judged by a model that never saw it."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.errors import ConfigError, LogError

pytest.importorskip("torch")

FRAMES = ("000007", "000008", "000010")


@pytest.fixture
def labelled(shared_data, tmp_path):
    source, folder = shared_data / "kitti_object" / "training", tmp_path / "frames"
    for part, ending in (("image_2", "png"), ("velodyne", "bin"), ("calib", "txt"), ("label_2", "txt")):
        (folder / part).mkdir(parents=True)
        for name in FRAMES:
            found = next((source / part).glob(f"{name}.*"), None)
            assert found, f"{part}/{name}.{ending}"
            shutil.copy(found, folder / part / found.name)
    return folder


def adapt(*arguments):
    return CliRunner().invoke(app, ["adapt", *map(str, arguments)])


def test_frames_become_a_package_and_a_table(labelled, tmp_path):
    (labelled / "velodyne" / f"{FRAMES[2]}.bin").write_bytes(b"cut")
    done = adapt(labelled, "--out", tmp_path / "model", "--folds", 2, "--steps", 2, "--json")
    assert done.exit_code == 0, done.output
    assert f"{FRAMES[2]}.bin" in done.stderr
    report = json.loads(done.stdout)
    assert (report["frames"], report["folds"]) == (2, 2)
    cars = next(row for row in report["rows"] if row["label"] == "car")
    assert report["learned"]["car"] >= cars["objects"] > 3
    assert len(cars["before"]) == len(cars["after"]) == 4
    assert all(0.5 < share < 1 for share in cars["overlap"])
    found = CliRunner().invoke(app, ["eval", "kitti", str(labelled), "--model", str(tmp_path / "model")])
    assert found.exit_code == 0, found.output
    assert "-adapted-" in found.stdout
    table = adapt(labelled, "--out", tmp_path / "again", "--folds", 2, "--steps", 1)
    assert "as it was" in table.stdout


def test_too_few_frames_for_the_folds(labelled, tmp_path):
    done = adapt(labelled, "--out", tmp_path / "model", "--folds", 4, "--steps", 1)
    assert isinstance(done.exception, ConfigError)
    assert "4 folds of 3 labelled frames: give 2 to 3" in str(done.exception)


def test_frames_without_labels(labelled, tmp_path):
    shutil.rmtree(labelled / "label_2")
    done = adapt(labelled, "--out", tmp_path / "model")
    assert isinstance(done.exception, LogError)
    assert "no labelled frame can be used" in str(done.exception)
    assert "has no label_2/000007.txt" in str(done.exception)
