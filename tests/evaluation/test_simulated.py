"""Held-out worlds: made once, looked at with each set of sensors."""

from types import SimpleNamespace

import numpy as np
import pytest

from fusion_rt.device import CpuDevice
from fusion_rt.errors import LogError
from fusion_rt.evaluation import simulated
from fusion_rt.models.package import ModelPackage
from fusion_rt.perception import Perception
from fusion_rt.tracking.detections import Detections


@pytest.fixture(scope="module")
def perception():
    return Perception(ModelPackage.load("driving-s"), CpuDevice())


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("worlds")
    assert list(simulated.make_scenes(folder, scenes=2, seed=1001)) == [1, 2]
    return folder


def test_scenes_that_are_there_are_not_made_again(worlds):
    paths = simulated.scene_paths(worlds, scenes=2, seed=1001)
    before = [p.stat().st_mtime_ns for p in paths]
    assert list(simulated.make_scenes(worlds, scenes=2, seed=1001)) == [2]
    assert [p.stat().st_mtime_ns for p in paths] == before


def test_every_set_of_sensors_has_its_rows(worlds, perception):
    paths = simulated.scene_paths(worlds, scenes=2, seed=1001)
    report = simulated.evaluate(paths, perception, source="two worlds")
    again = simulated.evaluate(paths, perception, source="two worlds")
    assert report == again
    assert report.frames == 2
    assert [(r.sensors, r.label) for r in report.rows] == [
        (sensors, label)
        for sensors in ("lidar+camera", "lidar", "camera")
        for label in ("car", "pedestrian", "cyclist")
    ]
    cars = report.rows[0]
    assert cars.objects > 0
    assert cars.levels[1].tp > 0
    for row, seen in zip(report.rows, report.in_view):
        assert (row.sensors, row.label) == (seen.sensors, seen.label)
        assert sum(band.objects for band in seen.bands) == row.objects
        assert sum(band.found for band in seen.bands) == row.levels[1].tp
    assert report.rows[3].objects <= cars.objects  # fewer objects are seen by one sensor alone


def test_against_another_precision_the_same_objects_count(worlds, perception):
    paths = simulated.scene_paths(worlds, scenes=2, seed=1001)
    same = simulated.evaluate(paths, perception, source="two worlds", against=perception)
    assert same.against is not None
    for gain in same.gains[3:]:
        assert (gain.more, gain.less) == ("lidar+camera", "the other")
        assert all(level.value in (0.0, None) for level in gain.levels)
    assert any(level.value == level.low == level.high == 0.0 for level in same.gains[3].levels)
    aps = {(row.sensors, row.label): row.levels[0].ap.value for row in same.rows}
    assert [gain.less for gain in same.gains[:3]] == ["lidar"] * 3
    cars = same.gains[0]
    assert cars.levels[0].value == pytest.approx(aps["lidar+camera", "car"] - aps["lidar", "car"])
    f32 = Perception(perception.package, CpuDevice(), precision="f32")
    other = simulated.evaluate(paths, perception, source="two worlds", against=f32)
    alone = simulated.evaluate(paths, f32, source="two worlds")
    assert "f32" in str(other.against)
    assert other.rows == same.rows
    for mine, theirs, gain in zip(other.rows[:3], alone.rows[:3], other.gains[3:]):
        for level, level_of_theirs, difference in zip(mine.levels, theirs.levels, gain.levels):
            if level.ap.value is not None:
                assert difference.value == pytest.approx(level.ap.value - level_of_theirs.ap.value)


def test_a_damaged_scene_is_left_out(worlds, perception, tmp_path):
    good = simulated.scene_paths(worlds, scenes=1, seed=1001)
    bad = tmp_path / "bad.npz"
    bad.write_bytes(good[0].read_bytes()[:5000])
    report = simulated.evaluate([*good, bad], perception, source="one and a half")
    assert report.frames == 1
    assert "bad.npz" in report.skipped[0]
    with pytest.raises(LogError, match=r"no scene can be used.*bad\.npz"):
        simulated.evaluate([bad], perception, source="half")


def box(x, y):
    return (x, y, 0.8, 4.0, 1.8, 1.6, 0.0)


def test_which_objects_count():
    """Seen by the lidar alone, by the camera alone, by neither, out of reach, and a kind that is ignored."""
    truth = np.array(
        [(*box(x, y), 0, 0) for x, y in ((10, 0), (20, 0), (30, 0), (75, 0), (40, 9))], np.float32
    )
    walker = np.array([(*box(5, 5), 0, 0)], np.float32)
    frame = SimpleNamespace(
        boxes=np.concatenate([truth, walker]),
        cls=np.array([0, 0, 0, 0, -1, 1]),
        npoints=np.array([3, 2, 2, 99, 99, 99]),
        visible=np.array([0.2, 0.3, 0.2, 1.0, 1.0, 1.0], np.float32),
    )
    found = Detections(
        boxes=np.array([box(10, 0), box(75, 0), box(5, 5)], np.float32),
        velocity=np.zeros((3, 2)),
        scores=np.array([[0.9, 0.1, 0.1], [0.8, 0.1, 0.1], [0.1, 0.7, 0.1]], np.float32),
        labels=np.array([0, 0, 1]),
        std=np.ones((3, 5)),
        contributions=np.ones((3, 3)),
        velocity_known=np.zeros(3, bool),
    )
    cars = simulated.frame_boxes(frame, found, 0, "car")
    assert (~cars.truth_ignored).tolist() == [True, True, False, False, False]
    np.testing.assert_array_equal(cars.truth, truth[:, :7])
    np.testing.assert_allclose(cars.scores, [0.9, 0.8])
    assert cars.found_ignored.tolist() == [False, True]
