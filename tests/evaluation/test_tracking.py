"""The tracker on public detections in KITTI's tracking layout, judged by TrackEval."""

import gc
import json

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("trackeval")

from fusion_rt.cli import app
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.evaluation import tracking
from fusion_rt.evaluation.public_boxes import read_boxes, read_way
from fusion_rt.logs.kitti_calibration import object_reference, object_rig
from fusion_rt.logs.kitti_object import image_box, result_label

CALIBRATION = """P2: 721.5 0 609.6 44.9 0 721.5 172.9 0.2 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
"""
FRAMES, SPEED = 40, 1.0  # m a frame


@pytest.fixture
def folder(tmp_path):
    """Two sequences: past two parked cars and behind a third; the detector sees them perfectly."""
    for name in ("calib", "label_02", "detections/Car", "image/Car", "ego"):
        (tmp_path / name).mkdir(parents=True)
    for sequence in ("0000", "0001"):
        path = tmp_path / "calib" / f"{sequence}.txt"
        path.write_text(CALIBRATION)
        camera, T = object_rig(path, 1242, 375).cameras["camera"], object_reference(path)
        labels, found, seen, poses = [], [], [], []
        for frame in range(FRAMES):
            poses.append(f"1 0 0 0 0 1 0 0 0 0 1 {frame * SPEED}")
            places = [(60.0 - frame * SPEED, 6.0), (45.0 - frame * SPEED, -5.0), (15.0, 0.0)]
            for number, (x, y) in enumerate(places):
                box = np.array([x, y, 0.75, 4.2, 1.8, 1.5, 0.0])
                if x < 6 or image_box(box, camera) is None:
                    continue
                label = result_label("Car", box, 1.0, camera, T)
                numbers = [*label.bbox, *label.size, *label.location, label.rotation_y]
                row = " ".join(f"{v:.4f}" for v in numbers)
                labels.append(f"{frame} {number} Car 0 0 {label.alpha:.4f} {row}\n")
                h, w, length = label.size
                values = [*label.bbox, 8.0, h, w, length, *label.location, label.rotation_y, label.alpha]
                found.append(f"{frame},2," + ",".join(f"{v:.4f}" for v in values) + "\n")
                seen.append(f"{frame}," + ",".join(f"{v:.2f}" for v in (*label.bbox, 0.9)) + "\n")
        (tmp_path / "label_02" / f"{sequence}.txt").write_text("".join(labels))
        (tmp_path / "detections" / "Car" / f"{sequence}.txt").write_text("".join(found))
        (tmp_path / "image" / "Car" / f"{sequence}.txt").write_text("".join(seen))
        (tmp_path / "ego" / f"{sequence}.txt").write_text("\n".join(poses))
    return tmp_path


def evaluate(folder, *, image=False, out="results"):
    sources = tracking.Sources.beside(
        folder / "detections", folder / "label_02", folder / "image" if image else None, None
    )
    return tracking.evaluate(sources, folder / out, tracking.settings(None))


@pytest.mark.parametrize("image", [False, True])
def test_perfect_detections_give_perfect_tracks(folder, image):
    report = evaluate(folder, image=image)
    assert (report.sequences, report.frames, report.skipped) == (2, 2 * FRAMES, ())
    assert report.ego == {"0000": "poses", "0001": "poses"}
    cars = next(s for s in report.scores if (s.label, s.which) == ("car", "all"))
    assert cars.switches == 0
    assert cars.hota.value > 0.9  # all but the first frame of each
    assert cars.mota.value > 0.9
    assert cars.hota.low <= cars.hota.value <= cars.hota.high + 1e-9
    people = next(s for s in report.scores if (s.label, s.which) == ("pedestrian", "all"))
    assert people.false_negatives == 0
    tracking.render(report)


def test_the_files_are_kitti_s(folder):
    evaluate(folder)
    lines = [line.split() for line in (folder / "results" / "0000.txt").read_text().splitlines()]
    truth = [line.split() for line in (folder / "label_02" / "0000.txt").read_text().splitlines()]
    assert {len(line) for line in lines} == {18}
    assert len({line[1] for line in lines}) == 3
    # The car ahead, at the end.
    (label,) = (line for line in truth if line[:2] == [str(FRAMES - 1), "2"])
    last = min(
        (line for line in lines if line[0] == str(FRAMES - 1)),
        key=lambda line: abs(float(line[15]) - float(label[15])),
    )
    np.testing.assert_allclose(np.array(last[10:17], float), np.array(label[10:17], float), atol=0.15)
    np.testing.assert_allclose(np.array(last[6:10], float), np.array(label[6:10], float), atol=3)
    assert 0.9 < float(last[17]) <= 1


def test_the_command(folder):
    detections, labels = folder / "detections", folder / "label_02"
    arguments = ["--detections", str(detections), "--labels", str(labels), "--out", str(folder / "results")]
    done = CliRunner().invoke(app, ["eval", "tracking", *arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert {s["label"] for s in json.loads(done.stdout)["scores"]} == {"car", "pedestrian"}
    shown = CliRunner().invoke(app, ["eval", "tracking", *arguments])
    assert "HOTA" in shown.stdout
    assert "2 sequences, 80 frames" in shown.stdout


def test_the_same_twice(folder):
    for out in ("a", "b"):
        evaluate(folder, image=True, out=out)
    assert (folder / "a" / "0001.txt").read_bytes() == (folder / "b" / "0001.txt").read_bytes()


def test_a_damaged_sequence_is_left_out_and_named(folder):
    path = folder / "detections" / "Car" / "0001.txt"
    path.write_text(path.read_text().replace("\n", ",nan\n", 1))
    report = evaluate(folder)
    assert report.sequences == 1
    (line,) = report.skipped
    assert "sequence 0001: " in line
    assert "Car/0001.txt:1: expected 15 finite numbers, got 16" in line
    (folder / "ego" / "0000.txt").write_text("1 0 0 0 0 1 0 0 0 0 1 0\n")
    with pytest.raises(LogError, match=r"no sequence could be used: .*0000\.txt: 1 poses for 40 frames"):
        evaluate(folder)


# TrackEval leaves the file open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_wrong_labels_are_named(folder):
    path = folder / "label_02" / "0001.txt"
    whole = path.read_text()
    path.write_text("frame 0\n" + whole)
    (line,) = evaluate(folder).skipped
    assert "label_02/0001.txt: label 1 begins with 'frame'" in line
    path.write_text(
        whole.replace(" Car ", " Dragon ", 1).replace("Car", "Car", 1).replace(" 0 0 ", " x 0 ", 1)
    )
    with pytest.raises(LogError, match="label_02: TrackEval cannot judge these labels"):
        evaluate(folder)
    gc.collect()


def test_what_is_missing_is_named(folder, tmp_path):
    with pytest.raises(LogError, match="no label files"):
        evaluate(tmp_path / "nowhere")
    with pytest.raises(LogError, match=r"no detections of sequence 0007 \(Car/0007\.txt"):
        read_boxes(folder / "detections", "0007", ("car",), None)
    with pytest.raises(ConfigError, match="no such file"):
        tracking.settings(tmp_path / "none.yaml")


def test_without_its_way_the_vehicle_stands(folder):
    (folder / "ego").rename(folder / "elsewhere")
    report = evaluate(folder)
    assert report.ego == {"0000": "none", "0001": "none"}


def test_our_filter_s_way_is_that_of_the_poses(kitti_tracking):
    """Sequence 0000: oxts through our filter, and ORB-SLAM3, whose path is 6.5 % longer than the GPS's."""
    rig = object_rig(kitti_tracking / "calib" / "0000.txt", 1242, 375)
    slam, a = read_way(kitti_tracking / "ego_orbslam3" / "0000.txt", None, rig, 154)
    ours, b = read_way(None, kitti_tracking / "oxts" / "0000.txt", rig, 154)
    assert (a, b) == ("poses", "oxts")
    turned = [
        np.degrees(np.arctan2(T[1, 0], T[0, 0])) for T in (np.linalg.inv(w[5]) @ w[-1] for w in (slam, ours))
    ]
    assert turned[0] == pytest.approx(turned[1], abs=1.5)
    length = [np.linalg.norm(np.diff(w[5:, :3, 3], axis=0), axis=1).sum() for w in (slam, ours)]
    assert length[0] / length[1] == pytest.approx(1.065, abs=0.04)


def test_on_real_detections(kitti_tracking, tmp_path):
    """Two sequences: far above chance, and better with the image's boxes."""
    few = tmp_path / "few"
    for name in ("label_02", "calib", "ego_orbslam3"):
        (few / name).mkdir(parents=True)
        for sequence in ("0004", "0012"):
            (few / name / f"{sequence}.txt").write_text(
                (kitti_tracking / name / f"{sequence}.txt").read_text()
            )
    hota = []
    for image in (None, kitti_tracking / "det_2d_rrc"):
        sources = tracking.Sources.beside(kitti_tracking / "det_3d_pointrcnn", few / "label_02", image, None)
        report = tracking.evaluate(sources, tmp_path / "out", tracking.settings(None))
        hota.append(next(s.hota.value for s in report.scores if (s.label, s.which) == ("car", "all")))
    assert hota[0] > 0.7
    assert hota[1] > hota[0]
