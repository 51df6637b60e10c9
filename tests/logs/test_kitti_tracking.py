"""Tracking sequences: the real ones, which have no images, and a made one in the official layout."""

import cv2
import numpy as np
import pytest

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs.importing import import_kitti
from fusion_rt.logs.kitti_oxts import read_oxts
from fusion_rt.logs.kitti_tracking import KittiSequence, sequence_names
from fusion_rt.messages import GnssFix, Image, ImuSample, PointCloud

# As the official files have it: some lines have no colon.
CALIBRATION = """P0: 721.5 0 609.6 0 0 721.5 172.9 0 0 0 1 0
P1: 721.5 0 609.6 -387.6 0 721.5 172.9 0 0 0 1 0
P2: 721.5 0 609.6 44.86 0 721.5 172.9 0.2164 0 0 1 0.002746
P3: 721.5 0 609.6 -339.5 0 721.5 172.9 2.2 0 0 1 0.00273
R_rect 1 0 0 0 1 0 0 0 1
Tr_velo_cam 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
Tr_imu_velo 1 0 0 -0.81 0 1 0 0.32 0 0 1 -0.8
"""
RECORD = "49.0 8.4 115.0 0 0 0.5 1 2 10 1 0 0.1 0.2 9.8 0 0 9.8 0.01 0.02 0.03 0 0 0 0.5 0.07 4 10 4 4 0"


@pytest.fixture
def made(tmp_path):
    """0000 has all, and a frame less of the sweeps; 0003 only sweeps; 0005 only labels."""
    training = tmp_path / "data_tracking" / "training"
    rng = np.random.default_rng(2)
    for name in ("calib", "oxts", "label_02", "image_02/0000", "velodyne/0000", "velodyne/0003"):
        (training / name).mkdir(parents=True)
    for sequence in ("0000", "0003", "0005"):
        (training / "calib" / f"{sequence}.txt").write_text(CALIBRATION)
    (training / "oxts" / "0000.txt").write_text(f"{RECORD}\n" * 3)
    (training / "label_02" / "0005.txt").write_text("")
    for frame in range(3):
        pixels = rng.integers(0, 256, (375, 1242, 3), np.uint8) // 64 * 64
        cv2.imwrite(str(training / "image_02" / "0000" / f"{frame:06d}.png"), pixels)
        rng.normal(0, 10, (50, 4)).astype("<f4").tofile(training / "velodyne" / "0003" / f"{frame:06d}.bin")
        if frame != 1:
            rng.normal(0, 10, (60, 4)).astype("<f4").tofile(
                training / "velodyne" / "0000" / f"{frame:06d}.bin"
            )
    return training.parent


def test_the_official_layout(made):
    assert sequence_names(made) == ["0000", "0003", "0005"]
    sequence = KittiSequence(made, "0000")
    packets = list(sequence)
    assert len(packets) == len(sequence) == 11
    assert sequence.errors == []
    kinds = [ImuSample, GnssFix, Image, PointCloud]
    assert [type(p) for p in packets] == kinds + kinds[:3] + kinds
    assert [p.header.seq for p in packets] == [0] * 4 + [1] * 3 + [2] * 4
    start = packets[0].header.stamp_ns
    assert [p.header.stamp_ns - start for p in packets] == [p.header.seq * 100_000_000 for p in packets]
    image, sweep = packets[2:4]
    assert image.data.tobytes() == (made / "training/image_02/0000/000000.png").read_bytes()
    stored = np.fromfile(made / "training/velodyne/0000/000000.bin", "<f4").reshape(-1, 4)
    np.testing.assert_array_equal(np.column_stack([sweep.xyz, sweep.intensity]), stored)
    rig = sequence.rig
    assert rig.modalities() == {"camera": "camera", "lidar": "lidar", "gnss": "gnss", "imu": "imu"}
    np.testing.assert_allclose(rig.imus["imu"].pose.translation, [-0.81, 0.32, 0.93], atol=1e-12)
    # A point 10 m ahead of the lidar, by the formula of the benchmark.
    T = rig.cameras["camera"].T_camera_ego @ rig.lidars["lidar"].T_ego_lidar
    uvw = rig.cameras["camera"].intrinsics @ (T @ [10.0, 1.0, 0.5, 1.0])[:3]
    x, y, z = -1.0, -0.5 - 0.08, 10 - 0.27
    w = z + 0.002746
    expected = [(721.5 * x + 609.6 * z + 44.86) / w, (721.5 * y + 172.9 * z + 0.2164) / w]
    np.testing.assert_allclose(uvw[:2] / uvw[2], expected, atol=1e-9)


@pytest.mark.parametrize("inside", [False, True])
def test_each_sequence_becomes_a_log(made, tmp_path, inside):
    done = []
    folder = made / "training" if inside else made
    result = import_kitti(folder, tmp_path / "out", lambda *args: done.append(args))
    assert [(g.path.name, g.packets) for g in result.logs] == [("0000.mcap", 11), ("0003.mcap", 3)]
    assert [g.seconds for g in result.logs] == pytest.approx([0.2, 0.2])
    assert done == [(i + 1, 14) for i in range(14)]
    (error,) = result.errors
    assert "sequence 0005 has no images, no sweeps and no oxts: nothing to import" in error
    with logs.open(tmp_path / "out" / "0003.mcap") as log:
        assert log.rig.modalities() == {"lidar": "lidar"}
        assert len(list(log)) == 3


@pytest.mark.parametrize("name", ["3", "0003"])
def test_one_sequence_can_be_chosen(made, tmp_path, name):
    result = import_kitti(made, tmp_path / "out", sequence=name)
    assert [log.path.name for log in result.logs] == ["0003.mcap"]
    assert result.errors == ()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["0003.mcap"]


def test_a_sequence_that_is_not_there_is_said(made, tmp_path):
    with pytest.raises(LogError, match="no sequence 7; there are 0000, 0003, 0005"):
        import_kitti(made, tmp_path / "out", sequence="7")
    with pytest.raises(LogError, match=r"nothing could be read; .*sequence 0005 has no images"):
        import_kitti(made, tmp_path / "out", sequence="5")


def test_damaged_files_are_left_out_and_named(made, tmp_path):
    training = made / "training"
    (training / "image_02/0000/000000.png").write_bytes(b"no image")
    (training / "velodyne/0000/000002.bin").write_bytes(bytes(17))
    (training / "oxts/0000.txt").write_text(f"{RECORD}\n{RECORD} 7\n{RECORD}\n")
    (training / "calib/0003.txt").write_text(CALIBRATION.replace("Tr_velo_cam", "Tr"))
    result = import_kitti(made, tmp_path / "out")
    assert [(log.path.name, log.packets) for log in result.logs] == [("0000.mcap", 7)]
    named = (
        "calib/0003.txt: no line Tr_velo_to_cam or Tr_velo_cam",
        "sequence 0005",
        "000000.png",
        "0000.txt:2: 31",
    )
    for name, error in zip((*named, "000002.bin: 17 bytes"), result.errors, strict=True):
        assert name in error


def test_data_without_calibration_is_named(made, tmp_path):
    (made / "training/calib/0003.txt").unlink()
    result = import_kitti(made, tmp_path / "out")
    assert [log.path.name for log in result.logs] == ["0000.mcap"]
    assert "calib/0003.txt: calibration cannot be read" in result.errors[0]


def test_oxts_without_its_place_is_left_out_and_said(made):
    path = made / "training/calib/0000.txt"
    path.write_text(CALIBRATION.replace("Tr_imu_velo", "X"))
    sequence = KittiSequence(made, "0000")
    assert set(sequence.rig.modalities()) == {"camera", "lidar"}
    assert len(list(sequence)) == 5
    assert sequence.errors == [f"{path}: oxts is left out: no line Tr_imu_to_velo says where it sits"]


def test_the_real_ones(kitti_tracking, tmp_path):
    result = import_kitti(kitti_tracking, tmp_path / "out")
    (log,) = result.logs  # the archive has oxts of the first sequence only
    assert (log.path.name, log.packets) == ("0000.mcap", 308)
    assert log.seconds == pytest.approx(15.3)
    assert len(result.errors) == len(sequence_names(kitti_tracking)) - 1 == 10
    with logs.open(log.path) as opened:
        assert list(opened) == list(read_oxts(kitti_tracking / "oxts" / "0000.txt"))
        assert opened.rig.modalities() == {"gnss": "gnss", "imu": "imu"}
