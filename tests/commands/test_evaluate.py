import json
import shutil
import subprocess
import sys

from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.commands import evaluate
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.models.package import ModelPackage
from fusion_rt.scenario import locate

runner = CliRunner()


def test_simulated_worlds_as_json(tmp_path):
    arguments = ["eval", "sim", "--scenes", "2", "--frames", str(tmp_path / "worlds"), "--json"]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["frames"] == 2
    assert {row["sensors"] for row in report["rows"]} == {"lidar+camera", "lidar", "camera"}
    table = runner.invoke(app, [*arguments[:-1], "--draw", str(tmp_path / "drawn")])
    assert "pedestrian" in table.stdout
    assert "lidar+camera" in table.stdout
    assert len(list((tmp_path / "drawn").glob("1001_*.jpg"))) == 2


def test_against_another_precision_or_model(tmp_path):
    arguments = ["eval", "sim", "--scenes", "1", "--frames", str(tmp_path / "worlds")]
    done = runner.invoke(app, [*arguments, "--against", "f32", "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert "f32" in report["against"]
    assert [gain["less"] for gain in report["gains"]] == ["lidar"] * 3 + ["the other"] * 3
    table = runner.invoke(app, [*arguments, "--against", "driving-s"]).stdout
    assert "the other: driving-s-" in table
    assert "+0.0 [+0.0 +0.0]" in table
    for wrong in ("driving-x", "f31"):
        refused = runner.invoke(app, [*arguments, "--against", wrong])
        assert isinstance(refused.exception, ConfigError)
        assert wrong in str(refused.exception)
    assert runner.invoke(app, [*arguments, "--against", "f32", "--disturbed"]).exit_code == 2


def test_a_model_of_other_classes_is_no_match(tmp_path):
    bundled = ModelPackage.load("driving-s")
    shutil.copytree(bundled.folder, tmp_path / "other")
    spec = (tmp_path / "other" / "model.yaml").read_text(encoding="utf-8")
    (tmp_path / "other" / "model.yaml").write_text(spec.replace("cyclist", "tram"), encoding="utf-8")
    arguments = ["eval", "sim", "--scenes", "1", "--frames", str(tmp_path / "worlds")]
    done = runner.invoke(app, [*arguments, "--against", str(tmp_path / "other")])
    assert isinstance(done.exception, ConfigError)
    assert "car, pedestrian, tram" in str(done.exception)


def test_a_folder_of_kitti(shared_data, tmp_path):
    source = shared_data / "kitti_object" / "training"
    for part, name in (("velodyne", "000002.bin"), ("calib", "000002.txt"), ("velodyne", "000008.bin")):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / name).symlink_to(source / part / name)
    places = "--out", str(tmp_path / "results"), "--draw", str(tmp_path / "drawn")
    done = runner.invoke(app, ["eval", "kitti", str(tmp_path), *places])
    assert done.exit_code == 0, done.output
    assert "000008.txt" in done.stderr  # has no calibration
    assert (tmp_path / "results" / "lidar" / "000002.txt").is_file()
    assert [path.name for path in (tmp_path / "drawn").iterdir()] == ["000002.png"]


def test_a_wrong_folder(tmp_path):
    done = runner.invoke(app, ["eval", "kitti", str(tmp_path)])
    assert isinstance(done.exception, LogError)
    assert str(tmp_path) in str(done.exception)


def test_a_wrong_folder_is_one_line_in_the_shell(tmp_path):
    shell = [sys.executable, "-I", "-c", "from fusion_rt.cli import main; main()"]
    done = subprocess.run(
        [*shell, "eval", "kitti", str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert line.startswith(f"error: {tmp_path}: no KITTI object layout")


def test_frames_where_none_can_be_kept(tmp_path):
    (tmp_path / "file").touch()
    done = runner.invoke(app, ["eval", "sim", "--scenes", "1", "--frames", str(tmp_path / "file")])
    assert isinstance(done.exception, LogError)
    assert "cannot be written" in str(done.exception)


def test_json_goes_behind_the_command(tmp_path):
    done = runner.invoke(app, ["eval", "--json", "kitti", str(tmp_path)])
    assert done.exit_code == 2
    assert "give --json after kitti" in done.output


def test_the_suite_is_all_parts_in_one(tmp_path, shared_data, monkeypatch):
    """Two worlds, the bundled recording for a drive, one real frame."""
    frames = tmp_path / "kitti"
    for part, name in (("velodyne", "000008.bin"), ("calib", "000008.txt"), ("label_2", "000008.txt")):
        (frames / part).mkdir(parents=True)
        (frames / part / name).symlink_to(shared_data / "kitti_object" / "training" / part / name)
    drives = tmp_path / "kept" / "drives"
    drives.mkdir(parents=True)
    (drives / f"{evaluate.DRIVE_SEED}.mcap").symlink_to(locate("bundled:drive.mcap"))
    (drives / f"{evaluate.DRIVE_SEED}.truth.jsonl").touch()
    monkeypatch.setattr(evaluate, "SUITE_SCENES", 2)
    ego = shared_data / "gnss" / "kitti_oxts"
    arguments = ["eval", "--suite", "driving", "--keep", str(tmp_path / "kept"), "--kitti", str(frames)]
    done = runner.invoke(app, [*arguments, "--ego", str(ego), "--json"])
    assert done.exit_code == 0, done.output
    parts = json.loads(done.stdout)
    assert list(parts) == ["worlds", "drive", "kitti", "ego"]
    assert parts["worlds"]["frames"] == 2
    assert parts["drive"]["predictions"] > 20
    assert parts["kitti"]["frames"] == 1
    tables = runner.invoke(app, arguments)
    assert tables.exit_code == 0, tables.output
    assert "worlds" in tables.stdout
    assert "NEES" in tables.stdout


def test_a_suite_that_there_is_not():
    done = runner.invoke(app, ["eval", "--suite", "flying"])
    assert done.exit_code == 2
    assert "'flying' is not one of driving" in done.output
    done = runner.invoke(app, ["eval", "--suite", "driving", "sim"])
    assert done.exit_code == 2


def test_a_suite_without_the_detections_it_was_told_of(tmp_path):
    (tmp_path / "det_3d_ours").mkdir()
    places = "--tracking", str(tmp_path), "--keep", str(tmp_path / "kept")
    done = runner.invoke(app, ["eval", "--suite", "driving", *places])
    assert isinstance(done.exception, LogError)
    assert "0 folders det_2d*, expected one" in str(done.exception)
    assert not (tmp_path / "kept").exists()  # said before anything was simulated
