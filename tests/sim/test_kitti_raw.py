"""The raw layout, read back with nothing but numpy and the format's own description."""

from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pytest

from fusion_rt import config
from fusion_rt.errors import ConfigError
from fusion_rt.logs.kitti_raw import KittiDrive
from fusion_rt.messages import GnssFix, Image, ImuSample, PointCloud
from fusion_rt.sim import imu
from fusion_rt.sim.drive import Drive
from fusion_rt.sim.drive_config import DriveConfig
from fusion_rt.sim.kitti_raw import OXTS_FIELDS, KittiRawWriter

SMALL = """
duration_s: 0.3
world: {speed_mps: [5.0, 14.0], actors: 5}
cameras: {camera: {encoding: bgr8}}
lidars: {lidar: {pattern: VLP-16, sectors: 2, columns: 450}}
gnss: {gnss: {}}
imus: {imu: {}}
""" + (Path(__file__).parents[1] / "small_rig.yaml").read_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    drive = Drive(config.parse(SMALL, DriveConfig, "small"), 5)
    writer = KittiRawWriter(tmp_path_factory.mktemp("raw"), drive)
    packets = list(drive.packets())
    for packet in packets:
        writer.write(packet)
    writer.close()
    return drive, packets, writer.folder


def numbers(path):
    lines = (line.split(":", 1) for line in path.read_text().splitlines())
    return {key: np.array(value.split(), float) for key, value in lines if key != "calib_time"}


def test_files_are_where_kitti_has_them(written):
    _, _, folder = written
    assert folder.name == "2023_11_14_drive_0001_sync"
    found = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
    frames = [f"{i:010d}" for i in range(3)]
    expected = [f"image_02/data/{f}.png" for f in frames] + ["image_02/timestamps.txt", "oxts/dataformat.txt"]
    expected += [f"oxts/data/{f}.txt" for f in frames] + ["oxts/timestamps.txt"]
    expected += [f"velodyne_points/data/{f}.bin" for f in frames]
    expected += [f"velodyne_points/timestamps{end}.txt" for end in ("", "_start", "_end")]
    assert found == sorted(expected)


def test_points_and_pixels_survive(written):
    _, packets, folder = written
    cloud = next(p for p in packets if isinstance(p, PointCloud))
    stored = np.fromfile(folder / "velodyne_points/data/0000000000.bin", "<f4").reshape(-1, 4)
    np.testing.assert_array_equal(stored, np.column_stack([cloud.xyz, cloud.intensity]))
    image = next(p for p in packets if isinstance(p, Image))
    np.testing.assert_array_equal(cv2.imread(str(folder / "image_02/data/0000000000.png")), image.data)


def test_stamps_are_the_packets(written):
    _, packets, folder = written
    stamps = [p.header.stamp_ns for p in packets if isinstance(p, PointCloud)]
    for name, shift in (("", 0), ("_start", -50_000_000), ("_end", 50_000_000)):
        for line, stamp in zip(
            (folder / f"velodyne_points/timestamps{name}.txt").read_text().splitlines(), stamps
        ):
            whole, fraction = line.split(".")
            seconds = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
            assert int(seconds) * 10**9 + int(fraction) == stamp + shift


def test_oxts_is_the_unit_s_motion(written):
    drive, packets, folder = written
    stamp = next(p.header.stamp_ns for p in packets if isinstance(p, PointCloud))
    record = np.array((folder / "oxts/data/0000000000.txt").read_text().split(), float)
    assert len(record) == 30
    named = dict(zip(OXTS_FIELDS, record))
    T = drive.ego_pose((stamp - drive.config.start_ns) * 1e-9) @ drive.rig.imus["imu"].T_ego_imu
    place = drive.local_map.enu(named["lat"], named["lon"], named["alt"])
    np.testing.assert_allclose(place, T[:3, 3], atol=0.1)
    np.testing.assert_allclose(np.cos(named["yaw"] - np.arctan2(T[1, 0], T[0, 0])), 1.0, atol=1e-5)
    np.testing.assert_allclose(named["az"], imu.GRAVITY_MPS2, atol=1.0)
    np.testing.assert_allclose(
        np.hypot(named["vf"], named["vl"]), np.hypot(named["vn"], named["ve"]), rtol=1e-9
    )
    assert named["vf"] > 4.0


def test_calibration_projects_as_the_rig_does(written):
    drive, packets, folder = written
    cam, velo = (numbers(folder.parent / f"calib_{n}.txt") for n in ("cam_to_cam", "velo_to_cam"))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = velo["R"].reshape(3, 3), velo["T"]
    R_rect = np.eye(4)
    R_rect[:3, :3] = cam["R_rect_00"].reshape(3, 3)
    P = cam["P_rect_02"].reshape(3, 4) @ R_rect @ T
    cloud = next(p for p in packets if isinstance(p, PointCloud))
    ahead = cloud.xyz[cloud.xyz[:, 0] > 3].astype(float)
    got = np.column_stack([ahead, np.ones(len(ahead))]) @ P.T
    rig = drive.rig
    expected = rig.cameras["camera"].T_camera_ego @ rig.lidars["lidar"].T_ego_lidar
    wanted = (ahead @ expected[:3, :3].T + expected[:3, 3]) @ rig.cameras["camera"].intrinsics.T
    np.testing.assert_allclose(got[:, :2] / got[:, 2:], wanted[:, :2] / wanted[:, 2:], atol=1e-6)


def test_what_the_layout_cannot_hold_is_refused(tmp_path):
    text = SMALL.replace("{encoding: bgr8}", "{rate_hz: 20.0}")
    drive = Drive(config.parse(text, DriveConfig, "small"), 5)
    with pytest.raises(ConfigError, match="rate_hz 10"):
        KittiRawWriter(tmp_path, drive)


def test_the_importer_reads_the_same_drive(written):
    drive, packets, folder = written
    imported = KittiDrive(folder)
    back = list(imported)
    assert not imported.skipped
    for kind in (Image, PointCloud):
        ours = [p for p in packets if isinstance(p, kind)]
        theirs = [p for p in back if isinstance(p, kind)]
        assert [p.header.stamp_ns for p in theirs] == [p.header.stamp_ns for p in ours]
    sweep = next(p for p in back if isinstance(p, PointCloud))
    np.testing.assert_array_equal(sweep.xyz, next(p for p in packets if isinstance(p, PointCloud)).xyz)
    camera, mounted = next(iter(imported.rig.cameras.values())), drive.rig.cameras["camera"]
    np.testing.assert_allclose(camera.intrinsics, mounted.intrinsics, rtol=1e-9)
    np.testing.assert_allclose(camera.T_camera_ego, mounted.T_camera_ego, atol=1e-9)
    (unit,) = imported.rig.imus.values()
    np.testing.assert_allclose(unit.T_ego_imu, drive.rig.imus["imu"].T_ego_imu, atol=1e-9)
    assert sum(isinstance(p, ImuSample) for p in back) == sum(isinstance(p, GnssFix) for p in back) == 3
