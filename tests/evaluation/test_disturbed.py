"""What disturbances cost: the rows, and what each does to a frame."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from fusion_rt.cli import app
from fusion_rt.evaluation import disturbed, simulated
from fusion_rt.evaluation.disturbed import CONDITIONS
from fusion_rt.sim.frame_files import read_scene

CLASSES = ("car", "pedestrian", "cyclist")
NAMES = (
    "nothing",
    "camera lost",
    "half of the rings lost",
    "half of the points lost",
    "dark image",
    "fog, lidar only",
    "rain, lidar only",
)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    assert list(simulated.make_scenes(folder, scenes=1, seed=1001)) == [1]
    return folder


@pytest.fixture(scope="module")
def scene(worlds):
    return read_scene(simulated.scene_paths(worlds, scenes=1, seed=1001)[0])


def changed(name, scene, seed=0):
    return disturbed._disturbed(scene, CONDITIONS[name](np.random.default_rng(seed)))


@pytest.mark.parametrize("name", CONDITIONS)
def test_the_truth_stays_and_the_same_seed_is_the_same_trouble(name, scene):
    first, again, other = (changed(name, scene, seed) for seed in (1, 1, 2))
    for frame, before in ((first.now, scene.now), (first.previous, scene.previous)):
        assert frame.boxes is before.boxes
        assert frame.npoints is before.npoints
        assert frame.points.dtype == frame.intensity.dtype == np.float32
    np.testing.assert_array_equal(first.now.points, again.now.points)
    if name != "dark image":
        assert (
            first.now.points.shape != other.now.points.shape or (first.now.points != other.now.points).any()
        )
        assert first.now.image is scene.now.image


def test_half_is_lost(scene):
    n = len(scene.now.points)
    assert len(changed("half of the points lost", scene).now.points) == (n + 1) // 2
    thinner = [changed("half of the rings lost", scene, seed) for seed in range(8)]
    assert 0.35 < np.mean([len(t.now.points) for t in thinner]) / n < 0.65

    def rings(frame):
        p = frame.points
        return set(np.floor(np.degrees(np.arctan2(p[:, 2] - 1.73, np.hypot(p[:, 0], p[:, 1]))) / 0.4))

    # A dead laser is dead in both frames: hardly a step of elevation is in one of them alone.
    both = rings(thinner[0].now) & rings(thinner[0].previous)
    assert len(both) > 0.8 * len(rings(thinner[0].now))


def test_dark_and_foggy(scene):
    dark = changed("dark image", scene).now
    assert dark.image.mean() == pytest.approx(0.1 * scene.now.image.mean(), rel=0.1)
    assert dark.points is scene.now.points
    far = [
        np.count_nonzero(np.linalg.norm(f.points, axis=1) > 30)
        for f in (scene.now, changed("rain, lidar only", scene).now, changed("fog, lidar only", scene).now)
    ]
    assert far[0] > far[1] > far[2]


def test_the_table_and_the_json(worlds):
    arguments = ["eval", "sim", "--scenes", "1", "--frames", str(worlds)]
    plain = CliRunner().invoke(app, arguments)
    table = CliRunner().invoke(app, [*arguments, "--disturbed"])
    assert table.exit_code == 0, table.output
    assert table.stdout.startswith(plain.stdout.rstrip())  # what is said anyway stays as it is
    assert all(name in table.stdout for name in NAMES)
    done = CliRunner().invoke(app, [*arguments, "--disturbed", "--json"])
    report = json.loads(done.stdout)
    assert [(c["condition"], c["row"]["label"]) for c in report["disturbed"]] == [
        (name, label) for name in NAMES for label in CLASSES
    ]
    assert report["worlds"]["frames"] == 1
    by = {(c["condition"], c["row"]["label"]): c for c in report["disturbed"]}
    assert {c["row"]["objects"] for (_, label), c in by.items() if label == "car"} == {
        by["nothing", "car"]["row"]["objects"]
    }
    assert by["nothing", "car"]["loss"] == [0.0] * 4
    levels = [by[name, "car"]["row"]["levels"][1]["ap"]["value"] for name in ("nothing", "fog, lidar only")]
    assert by["fog, lidar only", "car"]["loss"][1] == pytest.approx(levels[0] - levels[1])
    assert levels[1] < levels[0]
