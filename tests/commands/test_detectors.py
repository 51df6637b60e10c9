import json

import numpy as np
import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.errors import ConfigError, EngineError

runner = CliRunner()


@pytest.fixture
def fastestdet(shared_data):
    model = shared_data / "models" / "FastestDet.onnx"
    if not model.is_file():
        pytest.skip(f"no {model}")
    return str(model)


def call(*words):
    result = runner.invoke(app, [str(word) for word in words])
    if isinstance(result.exception, (ConfigError, EngineError)):
        raise result.exception
    return result


def test_add_show_and_judge(fastestdet, shared_data, tmp_path):
    out = tmp_path / "mine"
    added = call("model", "add", fastestdet, "--as", "fastestdet", "--out", out)
    assert added.exit_code == 0, added.output
    assert f"{out}: fastestdet-" in added.stdout
    assert f"detectors: {{fastestdet: {{model: {out}, sensor: camera}}}}" in added.stdout
    shown = call("model", "show", out)
    assert "person -> pedestrian, cyclist" in shown.stdout
    assert json.loads(call("model", "show", out, "--json").stdout)["recipe"]["family"] == "grid"
    frames = tmp_path / "kitti"
    for part, name in (("velodyne", "bin"), ("calib", "txt"), ("label_2", "txt"), ("image_2", "png")):
        (frames / part).mkdir(parents=True)
        file = f"000008.{name}"
        (frames / part / file).symlink_to(shared_data / "kitti_object" / "training" / part / file)
    judged = call("eval", "kitti", frames, "--detector", out, "--out", tmp_path / "results", "--json")
    report = json.loads(judged.stdout)
    rows = {(r["sensors"], r["label"], r["difficulty"]): r["levels"][1] for r in report["rows"]}
    assert len(rows) == 4 * 3 * 3
    alone, beside = (rows[name, "car", "moderate"] for name in ("lidar+camera", "lidar+camera+fastestdet"))
    assert beside["tp"] == alone["tp"] > 0
    assert report["detections"]["lidar+camera+fastestdet"] == report["detections"]["lidar+camera"]
    gains = [g for g in report["gains"] if g["more"] == "lidar+camera+fastestdet"]
    assert [(g["label"], g["less"]) for g in gains] == [
        (label, "lidar+camera") for label in ("car", "pedestrian", "cyclist")
    ]
    assert gains[0]["levels"][1]["value"] == beside["ap"]["value"] - alone["ap"]["value"]
    scores = [
        np.array(
            [float(line.split()[-1]) for line in (tmp_path / "results" / place).read_text().splitlines()]
        )
        for place in ("000008.txt", "lidar+camera+fastestdet/000008.txt")
    ]
    assert (scores[0] != scores[1]).any()


def test_what_does_not_fit_is_one_line(fastestdet, tmp_path):
    with pytest.raises(ConfigError, match=r"fastestdt: no such file; did you mean 'fastestdet'\?"):
        call("model", "add", fastestdet, "--as", "fastestdt", "--out", tmp_path / "out")
    with pytest.raises(EngineError, match=r"none\.onnx: no such model file"):
        call("model", "add", tmp_path / "none.onnx", "--as", "fastestdet", "--out", tmp_path / "out")
    with pytest.raises(ConfigError, match="make the folder with `fusion-rt model add`"):
        call("model", "show", tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["add", "show"])
def test_help_gives_an_example(command):
    result = call("model", command, "--help")
    assert f"fusion-rt model {command} " in " ".join(result.stdout.split())
