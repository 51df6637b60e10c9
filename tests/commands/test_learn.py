"""sim, train and export: from nothing to a package that the runtime reads."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from fusion_rt import logs
from fusion_rt.commands import learn
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.logs import truth
from fusion_rt.plan import Plan

DRIVE = """
duration_s: 0.3
world: {speed_mps: [5.0, 14.0], actors: 5}
cameras: {camera: {jpeg_quality: 80}}
lidars: {lidar: {pattern: VLP-16, sectors: 2, columns: 450}}
gnss: {gnss: {rate_hz: 10.0}}
imus: {imu: {rate_hz: 100.0}}
""" + (Path(__file__).parents[1] / "small_rig.yaml").read_text()


@pytest.fixture(scope="session")
def app():
    app = typer.Typer()
    app.add_typer(learn.simulations, name="sim")
    app.command()(learn.train)
    app.command()(learn.export)
    app.command()(learn.calibrate)
    return app


def call(app, *arguments):
    """The command's output; its error is raised."""
    result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def frames(app, tmp_path_factory):
    folder = tmp_path_factory.mktemp("learn") / "frames"
    result = call(app, "sim", "frames", "--out", folder, "--scenes", 2, "--seed", 7, "--workers", 2)
    assert result.exit_code == 0
    assert f"{folder}: 2 scenes of seed 7, " in result.stdout
    assert sorted(p.name for p in folder.iterdir()) == ["7_000000.npz", "7_000001.npz"]
    return folder


def test_frames_do_not_depend_on_the_workers(app, frames, tmp_path):
    call(app, "sim", "frames", "--out", tmp_path, "--scenes", 1, "--seed", 7, "--workers", 1)
    name = "7_000000.npz"
    assert (tmp_path / name).read_bytes() == (frames / name).read_bytes()


def test_weather_leaves_the_other_scenes_as_they_are(app, frames, tmp_path):
    some = ("--scenes", 1, "--seed", 7, "--workers", 1)
    call(app, "sim", "frames", "--out", tmp_path / "none", *some, "--weather", 0)
    call(app, "sim", "frames", "--out", tmp_path / "all", *some, "--weather", 1)
    name = "7_000000.npz"
    assert (tmp_path / "none" / name).read_bytes() == (frames / name).read_bytes()
    assert (tmp_path / "all" / name).read_bytes() != (frames / name).read_bytes()


def test_from_frames_to_a_package_that_runs(app, frames, tmp_path):
    options = ("--batch", 1, "--threads", 1, "--workers", 0)
    result = call(app, "train", "--frames", frames, "--out", tmp_path / "run", "--steps", 2, *options)
    assert result.exit_code == 0
    assert "done: 2 steps" in result.stdout
    checkpoint = tmp_path / "run" / "last.pt"
    result = call(app, "train", "--frames", frames, "--out", tmp_path / "run", "--steps", 2, *options)
    assert "resumed" in result.stdout
    package = tmp_path / "package"
    thresholds = ("--thresholds", 0.1, 0.2, 0.3)
    arguments = ("--checkpoint", checkpoint, "--frames", frames, "--out", package, "--scenes", 2, *thresholds)
    result = call(app, "export", *arguments, "--version", "test")
    assert result.exit_code == 0

    from fusion_rt import engine
    from fusion_rt.models.package import PARTS, ModelPackage

    loaded = ModelPackage.load(package)
    assert loaded.identity in result.stdout
    assert loaded.identity.startswith("driving-s-test-")
    assert loaded.spec.score_thresholds == {"car": 0.1, "pedestrian": 0.2, "cyclist": 0.3}
    assert loaded.spec.trained_with.startswith(
        "fusion-rt train --frames DIR --out DIR --preset driving-s --steps 2"
    )
    for precision in ("f32", "int8"):
        for part in PARTS:
            shapes = loaded.spec.tensors[part]
            network = engine.load(
                loaded.path(part, precision),
                precision=loaded.held(part, precision),
                inputs=shapes.inputs,
                outputs=shapes.outputs,
            )
            network.run()
            assert any(np.any(value) for value in network.outputs.values())

    result = call(app, "calibrate", package, "--scenes", 2, "--seed", 7, "--frames", frames)
    assert result.exit_code == 0
    assert "pedestrian" in result.stdout
    calibrated = ModelPackage.load(package)
    assert calibrated.identity in result.stdout
    assert set(calibrated.spec.scores) == {"car", "pedestrian", "cyclist"}


def test_a_drive_is_recorded(app, tmp_path):
    (tmp_path / "small.yaml").write_text(DRIVE)
    out = tmp_path / "drive.mcap"
    others = ("--truth", tmp_path / "truth.jsonl", "--kitti-raw", tmp_path / "raw")
    result = call(app, "sim", "drive", tmp_path / "small.yaml", "-o", out, "--seed", 3, *others)
    assert result.exit_code == 0
    assert f"{out}: 0.3 s, 3 sweeps, 3 images, " in result.stdout
    frames = truth.read(tmp_path / "truth.jsonl")
    met = {o.track_id for f in frames for o in f.objects if o.points}
    assert f" {len(met)} road users that the lidar met" in result.stdout
    with logs.open(out) as log:
        assert len(list(log)) == 3 + 3 + 30 + 3
    assert len(list((tmp_path / "raw").rglob("*.bin"))) == 3


def test_wrong_arguments(app, frames, tmp_path):
    for arguments in (
        ("train", "--frames", frames, "--out", tmp_path, "--steps", 0),
        ("train", "--out", tmp_path, "--steps", 1),
        ("export", "--checkpoint", tmp_path / "x.pt", "--out", tmp_path),
        ("sim", "frames", "--out", tmp_path, "--workers", 0),
        ("sim", "frames", "--out", tmp_path, "--weather", 1.2),
        ("sim", "drive", "small.yaml"),
        ("sim", "dance"),
    ):
        assert call(app, *arguments).exit_code == 2, arguments


def test_what_cannot_be_is_said_in_one_line(app, frames, tmp_path):
    wrong = (
        (ConfigError, "either `minutes` or `steps`", ("train", "--frames", frames, "--out", tmp_path)),
        (
            ConfigError,
            "and not both",
            ("train", "--frames", frames, "--out", tmp_path, "--steps", 1, "--minutes", 1),
        ),
        (
            ConfigError,
            "'driving-x' is not one of driving-s",
            ("train", "--frames", frames, "--out", tmp_path, "--steps", 1, "--preset", "driving-x"),
        ),
        (
            LogError,
            "no .npz scenes; make some with `fusion-rt sim frames",
            ("train", "--frames", tmp_path / "none", "--out", tmp_path, "--steps", 1),
        ),
        (
            ConfigError,
            "not a checkpoint",
            ("export", "--checkpoint", tmp_path / "x.pt", "--frames", frames, "--out", tmp_path / "package"),
        ),
        (ConfigError, "no such file; bundled", ("sim", "drive", "nowhere", "-o", tmp_path / "a.mcap")),
    )
    for kind, message, arguments in wrong:
        with pytest.raises(kind) as caught:
            call(app, *arguments)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize(
    ("module", "extra", "call"),
    [
        ("torch", "train", "learn.train(frames=here, out=here, steps=1)"),
        ("onnxruntime", "train", "learn.export(checkpoint=here, frames=here, out=here)"),
        ("embreex", "sim", "learn.simulate_frames(out=here, scenes=1, seed=1, workers=1)"),
    ],
)
def test_a_missing_extra_is_named(tmp_path, module, extra, call):
    """In a process of its own, in which the module cannot be imported."""
    script = f"""
import pathlib, sys, types
sys.modules[{module!r}] = None
from fusion_rt.commands import learn
from fusion_rt.errors import ConfigError
here = pathlib.Path({str(tmp_path)!r})
try:
    {call}
except ConfigError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"{module}: pip install 'fusion-rt[{extra}]'" in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("sim", "drive"), ("sim", "frames"), ("train",), ("export",)])
def test_help_gives_an_example(app, command):
    result = call(app, *command, "--help")
    assert result.exit_code == 0
    assert "fusion-rt " + " ".join(command) in " ".join(result.stdout.split())


def test_a_home_is_simulated_into_a_log(app, tmp_path):
    config = tmp_path / "home.yaml"
    config.write_text("routine: {people: 1}\nsensors_off: [radar, camera]\n")
    out = tmp_path / "home.mcap"
    arguments = ("sim", "home", "-o", out, "--seed", 3, "--hours", 0.01, "--config", config)
    found = json.loads(call(app, *arguments, "--json", "--draw", tmp_path / "plan.png").stdout)
    assert found["people"][0] == "p1"
    with logs.open(out) as log:
        assert log.plan == Plan.load(Path(__file__).parents[2] / "configs/home/flat.yaml")
        assert found["messages"]["truth"] == len(list(log.truths())) == 181
        assert sum(found["messages"].values()) == len(list(log)) + 181
    assert cv2.imread(str(tmp_path / "plan.png")).shape[2] == 3


def test_a_random_home_and_wrong_names(app, tmp_path):
    call(app, "sim", "home", "-o", tmp_path / "a.mcap", "--plan", "random", "--seed", 3, "--hours", 0.002)
    with logs.open(tmp_path / "a.mcap") as log:
        assert log.plan.site == "home3"
    with pytest.raises(ConfigError, match=r"ends in \.mcap"):
        call(app, "sim", "home", "-o", tmp_path / "a.bag")
    with pytest.raises(ConfigError, match="did you mean 'flat'"):
        call(app, "sim", "home", "-o", tmp_path / "b.mcap", "--plan", "flt")
