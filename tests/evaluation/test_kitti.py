"""Frames in KITTI's object layout: result files, tables, and frames that are damaged."""

import shutil

import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt.device import CpuDevice
from fusion_rt.errors import LogError
from fusion_rt.evaluation import kitti
from fusion_rt.evaluation.report import render
from fusion_rt.evaluation.subsets import SUBSETS, detect
from fusion_rt.logs.kitti_object import (
    ego_box,
    image_box,
    read_frame,
    read_labels,
    result_label,
    write_labels,
)
from fusion_rt.metrics.detection import judge
from fusion_rt.metrics.kitti import DIFFICULTIES, frame_boxes
from fusion_rt.models.package import ModelPackage
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion

NAMES = ("000002", "000008")


@pytest.fixture(scope="module")
def perception():
    return Perception(ModelPackage.load("driving-s"), CpuDevice())


@pytest.fixture
def folder(shared_data, tmp_path):
    """Two real frames to spoil."""
    source, target = shared_data / "kitti_object" / "training", tmp_path / "kitti"
    for part in ("image_2", "velodyne", "calib", "label_2"):
        (target / part).mkdir(parents=True)
        for name in NAMES:
            (file,) = (source / part).glob(f"{name}.*")
            shutil.copy(file, target / part)
            (target / part / file.name).chmod(0o644)
    return target


def test_result_files_and_table(folder, perception, tmp_path):
    out, told = tmp_path / "results", []
    report = kitti.evaluate(
        folder, perception, out=out, advance=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 2), (2, 2)]
    assert report.frames == 2
    assert report.skipped == ()
    found = {}
    for subset, place in (("lidar+camera", out), ("lidar", out / "lidar"), ("camera", out / "camera")):
        assert sorted(p.name for p in place.glob("*.txt")) == [f"{n}.txt" for n in NAMES]
        lines = [line for n in NAMES for line in (place / f"{n}.txt").read_text().splitlines()]
        assert all(len(line.split()) == 16 for line in lines)
        found[subset] = [label for n in NAMES for label in read_labels(place / f"{n}.txt")]
        assert len(found[subset]) == len(lines) == report.detections[subset]
    assert all(0 <= label.score <= 1 for labels in found.values() for label in labels)
    assert {label.type for label in found["lidar+camera"]} <= {"Car", "Pedestrian", "Cyclist"}
    cars = next(r for r in report.rows if (r.sensors, r.label, r.difficulty) == ("lidar", "car", "moderate"))
    assert cars.objects > 0
    assert cars.levels[1].tp > 0  # a robust fact: there are cars within 20 m
    assert len(report.rows) == 3 * 3 * 3
    render(report)


def test_what_stands_beside_the_image_is_in_no_result(folder, perception):
    """A box that the image's edge still touches, but whose middle it does not show: never counted, and a
    false alarm where nobody labelled it."""
    frame = read_frame(folder, NAMES[0], index=0)
    camera = frame.rig.cameras["camera"]
    beside = np.array([[16.0, y, 0.8, 4.0, 1.8, 1.5, 0.0] for y in (14.0, 12.5)], np.float32)
    assert all(image_box(box, camera) is not None for box in beside)
    sweeps, views = kitti.see(frame, perception)
    found = detect(perception, SUBSETS[0], sweeps=sweeps, views=views, motion=Motion())
    placed = replace(found.where(np.arange(len(found.boxes)) < 2), boxes=beside)
    lines = kitti.result_labels(placed, perception.spec.classes, camera, frame.T_reference_ego)
    assert [line.location[0] for line in lines] == pytest.approx([-12.5], abs=0.3)  # camera x is to the right


def test_labels_given_back_as_detections_are_perfect(folder, tmp_path):
    """Camera axes to ours and back to a file: nothing is lost, and the score is 100."""
    frames = []
    for index, name in enumerate(NAMES):
        frame = read_frame(folder, name, index=index)
        camera = frame.rig.cameras["camera"]
        objects = [label for label in frame.labels if label.type == "Car"]
        T = frame.T_reference_ego
        lines = [result_label("Car", ego_box(label, T), 0.9, camera, T) for label in objects]
        write_labels(tmp_path / "r.txt", lines)
        again = list(read_labels(tmp_path / "r.txt"))
        for label, back in zip(objects, again):
            np.testing.assert_allclose(back.location, label.location, atol=0.02)
            np.testing.assert_allclose(back.size, label.size, atol=0.02)
            assert abs(np.sin(back.rotation_y - label.rotation_y)) < 0.02
        frames.append(frame_boxes(frame.labels, again, label="car", difficulty=DIFFICULTIES[2]))
    levels = judge(frames, label="car", threshold=0.5)
    assert [level.ap.value for level in levels] == [1.0] * 4
    assert levels[0].tp > 0


def test_gains_are_of_moderate_objects(folder, perception):
    f32 = Perception(perception.package, CpuDevice(), precision="f32")
    report, alone = kitti.evaluate(folder, perception, against=f32), kitti.evaluate(folder, f32)
    mine, theirs = (
        {(r.sensors, r.label): r.levels for r in of.rows if r.difficulty == "moderate"}
        for of in (report, alone)
    )
    assert [(g.label, g.less) for g in report.gains] == [
        (label, less) for less in ("lidar", "the other") for label in perception.spec.classes
    ]
    for gain in report.gains:
        less = mine["lidar", gain.label] if gain.less == "lidar" else theirs["lidar+camera", gain.label]
        for level, more, base in zip(gain.levels, mine["lidar+camera", gain.label], less):
            if more.ap.value is not None:
                assert level.value == pytest.approx(more.ap.value - base.ap.value)


def test_without_labels_there_are_files_and_no_rows(folder, perception, tmp_path):
    shutil.rmtree(folder / "label_2")
    report = kitti.evaluate(folder, perception, out=tmp_path / "results")
    assert report.rows == ()
    assert report.notes == ("No labels: nothing to compare with.",)
    assert sorted(p.name for p in (tmp_path / "results").glob("*.txt")) == [f"{n}.txt" for n in NAMES]


def spoil_cloud(folder):
    file = folder / "velodyne" / "000002.bin"
    file.write_bytes(file.read_bytes()[:1001])


def spoil_image(folder):
    (folder / "image_2" / "000002.png").write_bytes(b"no picture")


def spoil_calibration(folder):
    file = folder / "calib" / "000002.txt"
    file.write_text("\n".join(line for line in file.read_text().splitlines() if not line.startswith("P2")))


@pytest.mark.parametrize(
    ("spoil", "word"),
    [(spoil_cloud, "000002.bin"), (spoil_image, "000002.png"), (spoil_calibration, "P2")],
)
def test_a_damaged_frame_is_left_out_and_named(folder, perception, spoil, word):
    spoil(folder)
    report = kitti.evaluate(folder, perception)
    assert report.frames == 1
    assert len(report.skipped) == 1
    assert word in report.skipped[0]


def test_nothing_usable(folder, perception, tmp_path):
    shutil.rmtree(folder / "calib")
    (folder / "calib").mkdir()
    with pytest.raises(LogError):
        kitti.evaluate(folder, perception)
    with pytest.raises(LogError, match="layout"):
        kitti.evaluate(tmp_path / "nowhere", perception)
