"""Point statistics on scenes that are counted by hand."""

import numpy as np
import pytest

from fusion_rt.errors import LogError
from fusion_rt.sim import statistics
from fusion_rt.sim.statistics import Sample, points_in_box, report, tabulate

# x ahead, y left, z up, to px: focal length 100 in an image of 200 x 100.
P = np.array([[100.0, -100, 0, 0], [50.0, 0, -100, 0], [1.0, 0, 0, 0]])


def sample(boxes, cls, points):
    points = np.array(points, float).reshape(-1, 3)
    return Sample(
        points,
        np.full(len(points), 0.5),
        np.array(boxes, float).reshape(-1, 7),
        np.array(cls),
        P,
        np.zeros((100, 200), np.uint8),
    )


def test_points_in_a_turned_box():
    box = np.array([10, 5, 1, 4, 2, 2, np.pi / 6])
    rng = np.random.default_rng(0)
    unit = rng.uniform(-0.7, 0.7, (4000, 3))
    c, s = np.cos(box[6]), np.sin(box[6])
    points = (unit * box[3:6]) @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]]) + box[:3]
    np.testing.assert_array_equal(points_in_box(points, box), (np.abs(unit) <= 0.5).all(1))
    np.testing.assert_array_equal(
        points_in_box(points, box, margin_m=0.2), (np.abs(unit) <= 0.5 + 0.2 / box[3:6]).all(1)
    )


def test_who_is_counted():
    near, far = [8, 0, 0, 2, 2, 2, 0], [50, 0, 0, 2, 2, 2, 0]
    behind, aside, few = [-8, 0, 0, 2, 2, 2, 0], [8, 30, 0, 2, 2, 2, 0], [15, 0, 0, 2, 2, 2, 0]
    points = [near[:3]] * 7 + [far[:3]] * 2 + [behind[:3]] * 9 + [aside[:3]] * 9 + [few[:3]] * 4
    table = tabulate(iter([sample([near, far, behind, aside, few, near], [0, 1, 0, 0, 0, -1], points)]))
    assert table.counts == {(0, 1): [7], (1, 5): [2]}  # 5-10 m, and one point is enough beyond 45 m
    assert table.points_seen == [13]
    assert table.intensity == [0.5]
    nobody = tabulate(iter([sample([], [], points)]))
    assert nobody.counts == {}
    assert "| car | - / - | 7 (1) / - | - / - |" in report(table, nobody)


def test_the_report_sets_both_side_by_side():
    box = [8, 0, 0, 4, 2, 1.5, 0]
    real = tabulate(iter([sample([box], [0], [box[:3]] * 10), sample([box], [0], [box[:3]] * 20)]))
    across = [8, 0, 0, 4, 2, 1.5, -1.5]  # 86 degrees
    sim = tabulate(iter([sample([across], [0], [box[:3]] * 12)]))
    lines = report(real, sim).splitlines()
    assert lines[2].startswith("| car | - / - | 15 (2) / 12 (1) | - / - |")
    assert lines[8] == "| car | 1.00 / 1.00 | 100 % / 0 % | 0 % / 0 % | 0 % / 100 % |"
    assert "mean size of a car, m, real / sim: 4.00x2.00x1.50 / 4.00x2.00x1.50" in lines


def test_how_close_people_are():
    def person(x, y):
        return [x, y, 0, 1, 1, 2, 0]

    boxes = [person(8, 0), person(8, 0.7), person(30, 5), person(31.2, 5), person(8, 0.1)]
    real = tabulate(iter([sample(boxes, [1, 1, 1, 1, 0], [[8, 0, 0]]), sample([person(9, 9)], [1], [])]))
    assert real.next_m == pytest.approx([0.7, 0.7, 1.2, 1.2, np.inf])
    text = report(real, tabulate(iter([sample([], [], [[8, 0, 0]])])))
    assert "| share | 0 % / nan % | 40 % / nan % | 40 % / nan % | 80 % / nan % | 80 % / nan % |" in text


def test_kitti_s_labels_sit_on_their_points(shared_data):
    samples = list(statistics.kitti(shared_data / "kitti_object"))
    assert len(samples) >= 10
    held = [
        points_in_box(s.points, box, margin_m=0.1).sum()
        for s in samples
        for box in s.boxes
        if s.seen(box[None, :3])[0] and np.hypot(*box[:2]) < 30
    ]
    assert len(held) > 10
    assert np.mean(np.array(held) > 5) > 0.9


def test_nothing_there(tmp_path):
    with pytest.raises(LogError, match="training"):
        list(statistics.kitti(tmp_path))
    with pytest.raises(LogError, match=r"no \.npz scenes; make some with `fusion-rt sim frames"):
        list(statistics.simulated(tmp_path))


def test_a_scene_whose_image_is_broken(tmp_path):
    arrays = {name: np.zeros((0, 3), np.int16) for name in ("points1", "intensity1")}
    arrays |= {"K": np.eye(3), "T_camera_ego": np.eye(4), "image1": np.zeros(9, np.uint8)}
    np.savez(tmp_path / "1_000000.npz", boxes1=np.zeros((0, 9)), cls1=np.zeros(0), **arrays)
    with pytest.raises(LogError, match=r"1_000000\.npz: its image does not decode"):
        list(statistics.simulated(tmp_path))
