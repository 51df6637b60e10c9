"""A real raw drive; tests/sim/test_kitti_raw.py has the layout with time stamps and oxts."""

import shutil

import numpy as np
import pytest

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs import kitti_object
from fusion_rt.logs.importing import import_kitti
from fusion_rt.logs.kitti_calibration import object_reference
from fusion_rt.logs.kitti_files import sweep_packet
from fusion_rt.logs.kitti_raw import KittiDrive
from fusion_rt.messages import Image, PointCloud


@pytest.fixture
def copied(kitti_sequence, tmp_path):
    """Three frames of it, to be damaged."""
    folder = tmp_path / "drive"
    for name in ("image_02", "velodyne_points"):
        (folder / name / "data").mkdir(parents=True)
        for path in sorted((kitti_sequence / name / "data").iterdir())[:3]:
            shutil.copy(path, folder / name / "data")
    for path in kitti_sequence.glob("calib*.txt"):
        shutil.copy(path, folder)
    return folder


def test_a_real_drive_becomes_a_log(kitti_sequence, tmp_path):
    done = []
    result = import_kitti(kitti_sequence, tmp_path / "a.mcap", lambda *args: done.append(args))
    (log,) = result.logs
    assert (log.path, log.packets, result.errors) == (tmp_path / "a.mcap", 92, ())
    assert log.seconds == 4.5
    assert done == [(i + 1, 92) for i in range(92)]
    with logs.open(log.path) as opened:
        packets = list(opened)
        assert opened.rig.modalities() == {"camera": "camera", "lidar": "lidar"}
        assert not opened.skipped
    sweeps, images = ([p for p in packets if isinstance(p, kind)] for kind in (PointCloud, Image))
    for one in (sweeps, images):
        assert [p.header.seq for p in one] == list(range(46))
        assert set(np.diff([p.header.stamp_ns for p in one])) == {100_000_000}
    path = kitti_sequence / "velodyne_points" / "data" / "0000000007.bin"
    stored = np.fromfile(path, "<f4").reshape(-1, 4)
    np.testing.assert_array_equal(stored, np.column_stack([sweeps[7].xyz, sweeps[7].intensity]))
    assert images[7].data.tobytes() == (kitti_sequence / "image_02/data/0000000007.jpg").read_bytes()


def test_object_and_raw_calibration_are_the_same_rig(kitti_sequence, copied):
    raw = KittiDrive(copied).rig
    (copied / "calib_cam_to_cam.txt").unlink()
    one_file = KittiDrive(copied).rig
    assert one_file.cameras["camera"].K == raw.cameras["camera"].K
    np.testing.assert_allclose(
        one_file.cameras["camera"].pose.matrix, raw.cameras["camera"].pose.matrix, atol=1e-9
    )


@pytest.mark.parametrize("frame", [7, 14])
def test_points_of_labelled_cars_fall_into_their_rectangles(kitti_sequence, frame):
    rig = KittiDrive(kitti_sequence).rig
    camera = rig.cameras["camera"]
    path = kitti_sequence / "velodyne_points" / "data" / f"{frame:010d}.bin"
    T = rig.lidars["lidar"].T_ego_lidar
    points = sweep_packet(path, 0, 0).xyz.astype(float) @ T[:3, :3].T + T[:3, 3]
    in_camera = points @ camera.T_camera_ego[:3, :3].T + camera.T_camera_ego[:3, 3]
    pixels = in_camera @ camera.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    cars = [
        k for k in kitti_object.read_labels(kitti_sequence / f"label_2/{frame:010d}.txt") if k.type == "Car"
    ]
    assert cars
    for label in cars:
        box = kitti_object.ego_box(label, object_reference(kitti_sequence / "calib.txt"))
        cos, sin = np.cos(box[6]), np.sin(box[6])
        local = (points - box[:3]) @ np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
        inside = (np.abs(local) < box[3:6] / 2).all(axis=1)
        assert inside.sum() >= 5
        left, top, right, bottom = label.bbox
        u, v = pixels[inside].T
        hit = (u > left - 4) & (u < right + 4) & (v > top - 4) & (v < bottom + 4)
        shown = (u > 0) & (u < camera.width) & (v > 0) & (v < camera.height)
        assert hit[shown].mean() > 0.97, label


def test_point_times_follow_the_scanner(tmp_path):
    """The devkit: it turns counter-clockwise and looks forward at the stamp, ten times a second."""
    angles = np.radians([-170, -90, 0, 90, 170])
    points = np.column_stack([np.cos(angles), np.sin(angles), 0 * angles, 0 * angles]).astype("<f4")
    points.tofile(tmp_path / "a.bin")
    times = sweep_packet(tmp_path / "a.bin", 0, 0).t
    np.testing.assert_allclose(times, [-17 / 360, -0.025, 0, 0.025, 17 / 360], atol=1e-8)


def test_damaged_files_are_left_out_and_named(copied, tmp_path):
    image = copied / "image_02" / "data" / "0000000000.jpg"
    image.write_bytes(image.read_bytes()[:1000])
    sweep = copied / "velodyne_points" / "data" / "0000000001.bin"
    sweep.write_bytes(sweep.read_bytes()[:-5])
    result = import_kitti(copied, tmp_path)
    assert result.logs[0].path == tmp_path / "drive.mcap"  # a folder was given: named after the drive
    assert result.logs[0].packets == 4
    assert [str(path) in error for path, error in zip((image, sweep), result.errors)] == [True, True]
    with logs.open(result.logs[0].path) as log:
        assert (log.rig.cameras["camera"].width, log.rig.cameras["camera"].height) == (1242, 375)


def test_a_drive_of_which_nothing_is_left_is_an_error(copied, tmp_path):
    shutil.rmtree(copied / "velodyne_points")
    for path in (copied / "image_02" / "data").iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(LogError, match=r"nothing could be read; the first of 3 errors: .*does not decode"):
        import_kitti(copied, tmp_path / "a.mcap")
    assert not (tmp_path / "a.mcap").exists()


def test_a_sensor_may_be_absent(copied):
    shutil.rmtree(copied / "image_02")
    drive = KittiDrive(copied)
    assert drive.rig.modalities() == {"lidar": "lidar"}
    assert len(list(drive)) == len(drive) == 3


def test_oxts_without_its_place_is_left_out_and_said(copied):
    (copied / "calib_imu_to_velo.txt").unlink()
    (copied / "oxts" / "data").mkdir(parents=True)
    (copied / "oxts" / "data" / "0000000000.txt").write_text("1 2 3")
    drive = KittiDrive(copied)
    assert drive.rig.modalities() == {"camera": "camera", "lidar": "lidar"}
    assert len(list(drive)) == 6
    assert drive.errors == [f"{copied}: oxts is left out: no calib_imu_to_velo.txt says where it sits"]


def test_time_stamps_and_a_line_that_is_missing(copied):
    lines = "2011-09-26 13:02:25.5\n2011-09-26 13:02:25.604\n"
    (copied / "velodyne_points" / "timestamps.txt").write_text(lines)
    shutil.rmtree(copied / "image_02")
    drive = KittiDrive(copied)
    one, other = list(drive)
    assert one.header.stamp_ns == 1317042145_500_000_000
    assert other.header.stamp_ns == 1317042145_604_000_000
    assert drive.errors == [f"{copied}/velodyne_points/data/0000000002.bin: timestamps.txt has no line 3"]


def test_no_calibration_is_said(copied):
    for path in copied.glob("calib*.txt"):
        path.unlink()
    with pytest.raises(
        LogError, match=r"no calib_cam_to_cam\.txt here or in the folder above, and no calib\.txt"
    ):
        KittiDrive(copied)


@pytest.mark.parametrize("line", ["P_rect_02", "R_rect_00"])
def test_a_missing_calibration_line_is_named(copied, line):
    path = copied / "calib_cam_to_cam.txt"
    path.write_text(path.read_text().replace(line, "X"))
    with pytest.raises(LogError, match=rf"calib_cam_to_cam\.txt: no line {line}"):
        KittiDrive(copied)
