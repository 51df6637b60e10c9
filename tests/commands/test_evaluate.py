import json
import subprocess
import sys

from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.errors import LogError

runner = CliRunner()


def test_simulated_worlds_as_json(tmp_path):
    arguments = ["eval", "sim", "--scenes", "2", "--frames", str(tmp_path / "worlds"), "--json"]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["frames"] == 2
    assert {row["sensors"] for row in report["rows"]} == {"lidar+camera", "lidar", "camera"}
    table = runner.invoke(app, arguments[:-1])
    assert "pedestrian" in table.stdout
    assert "lidar+camera" in table.stdout


def test_a_folder_of_kitti(shared_data, tmp_path):
    source = shared_data / "kitti_object" / "training"
    for part, name in (("velodyne", "000002.bin"), ("calib", "000002.txt"), ("velodyne", "000008.bin")):
        (tmp_path / part).mkdir(exist_ok=True)
        (tmp_path / part / name).symlink_to(source / part / name)
    done = runner.invoke(app, ["eval", "kitti", str(tmp_path), "--out", str(tmp_path / "results")])
    assert done.exit_code == 0, done.output
    assert "000008.txt" in done.stderr  # has no calibration
    assert (tmp_path / "results" / "lidar" / "000002.txt").is_file()


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
