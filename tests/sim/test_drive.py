"""A short drive: the same bits twice, in order, and true to itself."""

from pathlib import Path

import numpy as np
import pytest
from pyproj import Transformer

from fusion_rt import config, logs
from fusion_rt.errors import ConfigError
from fusion_rt.logs import truth
from fusion_rt.messages import GnssFix, Image, ImuSample, PointCloud, complete_ns, pack
from fusion_rt.sim.drive import Drive
from fusion_rt.sim.drive_config import DriveConfig
from fusion_rt.sim.recording import record
from fusion_rt.transforms import inverse, transform_points

SMALL = """
duration_s: 0.4
world: {speed_mps: [5.0, 14.0], actors: 5}
cameras: {camera: {jpeg_quality: 80, readout_s: 0.01}}
lidars: {lidar: {pattern: VLP-16, sectors: 4, columns: 450, resolution_m: 0.0078125}}
gnss: {gnss: {rate_hz: 10.0, latency_s: 0.03}}
imus: {imu: {rate_hz: 100.0}}
""" + (Path(__file__).parents[1] / "small_rig.yaml").read_text()


@pytest.fixture(scope="module")
def small():
    return config.parse(SMALL, DriveConfig, "small")


@pytest.fixture(scope="module")
def played(small):
    drive = Drive(small, 3)
    return drive, list(drive.packets())


def test_same_seed_same_bits(small, played):
    drive, packets = played
    again = Drive(small, 3)
    repeated = list(again.packets())
    assert len(repeated) == len(packets)
    for a, b in zip(packets, repeated):
        (head_a, arrays_a), (head_b, arrays_b) = pack(a), pack(b)
        assert head_a == head_b
        assert [x.tobytes() for x in arrays_a] == [x.tobytes() for x in arrays_b]
    assert again.truth == drive.truth


def test_a_drive_in_the_storm(small, played):
    """The same world and way; the lidar reaches less far, and drops stay on the glass for a second."""
    stormy = config.parse(SMALL + "weather: {visibility_m: 50.0, rain_mm_h: 40.0}\n", DriveConfig, "storm")
    drive = Drive(stormy, 3)
    packets = list(drive.packets())
    assert [p.header for p in packets] == [p.header for p in played[1]]
    assert [f.T_map_ego for f in drive.truth] == [f.T_map_ego for f in played[0].truth]
    far = [
        sum(int((np.linalg.norm(p.xyz, axis=1) > 20).sum()) for p in some if isinstance(p, PointCloud))
        for some in (played[1], packets)
    ]
    assert far[1] < 0.5 * far[0]
    again = list(Drive(stormy, 3).packets())
    assert [pack(p)[0] for p in again] == [pack(p)[0] for p in packets]


def test_rates_and_order(small, played):
    _, packets = played
    count = {
        kind: sum(isinstance(p, kind) for p in packets) for kind in (Image, PointCloud, GnssFix, ImuSample)
    }
    assert count == {Image: 4, PointCloud: 4, GnssFix: 4, ImuSample: 40}
    late = {"gnss": 30_000_000}
    due = [complete_ns(p) + late.get(p.header.sensor_id, 0) for p in packets]
    assert due == sorted(due)
    clouds = [p for p in packets if isinstance(p, PointCloud)]
    assert [p.header.seq for p in clouds] == [0, 1, 2, 3]
    assert clouds[0].header.stamp_ns == small.start_ns + 50_000_000


def test_sweep_runs_around_its_stamp(played):
    _, packets = played
    cloud = next(p for p in packets if isinstance(p, PointCloud))
    assert cloud.t.min() < -0.04
    assert cloud.t.max() > 0.04
    forward = np.abs(np.arctan2(cloud.xyz[:, 1], cloud.xyz[:, 0])) < 0.05
    assert np.abs(cloud.t[forward]).max() < 0.002
    np.testing.assert_array_equal(cloud.xyz * 128, np.round(cloud.xyz * 128))


def test_points_of_a_sweep_lie_on_the_road(played):
    """Points below the sensor, moved by the pose at each one's own time, are at the ego's ground."""
    drive, packets = played
    for cloud, frame in zip((p for p in packets if isinstance(p, PointCloud)), drive.truth):
        T_ego_lidar = drive.rig.lidars["lidar"].T_ego_lidar
        start = (frame.stamp_ns - drive.config.start_ns) * 1e-9
        T_map_ego = np.array(frame.T_map_ego).reshape(4, 4)
        np.testing.assert_allclose(T_map_ego, drive.ego_pose(start), atol=1e-9)
        near = np.hypot(cloud.xyz[:, 0], cloud.xyz[:, 1]) < 9.0
        heights = [
            transform_points(
                inverse(T_map_ego) @ drive.ego_pose(start + float(t)) @ T_ego_lidar, p[None].astype(float)
            )[0, 2]
            for p, t in zip(cloud.xyz[near], cloud.t[near])
        ]
        assert abs(np.percentile(heights, 20)) < 0.25


def test_fixes_are_the_antenna_s(played):
    drive, packets = played
    to_ecef = Transformer.from_crs(4979, 4978, always_xy=True)
    for fix in (p for p in packets if isinstance(p, GnssFix)):
        t = (fix.header.stamp_ns - drive.config.start_ns) * 1e-9
        T = drive.ego_pose(t)
        antenna = T[:3, :3] @ np.array(drive.rig.gnss["gnss"].lever_arm) + T[:3, 3]
        latitude, longitude, altitude = drive.local_map.geodetic(antenna)
        there = np.array(to_ecef.transform(longitude, latitude, altitude))
        got = np.array(to_ecef.transform(fix.longitude_deg, fix.latitude_deg, fix.altitude_m))
        assert np.linalg.norm(there - got) < 5.0 * np.sqrt(
            np.trace(np.reshape(fix.position_covariance, (3, 3)))
        )


def test_boxes_hold_their_points(played):
    """Returns that the truth counts for an object lie in its box, given its motion during the sweep."""
    drive, packets = played
    clouds = [p for p in packets if isinstance(p, PointCloud)]
    checked = 0
    for cloud, frame in zip(clouds, drive.truth):
        points = transform_points(drive.rig.lidars["lidar"].T_ego_lidar, cloud.xyz.astype(float))
        for thing in (o for o in frame.objects if o.points >= 20 and o.center[0] > 3):
            c, s = np.cos(thing.yaw), np.sin(thing.yaw)
            local = (points - thing.center) @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
            inside = (np.abs(local) < np.array(thing.size) / 2 + 0.35).all(1).sum()
            assert inside >= 0.8 * thing.points, (thing.label, inside, thing.points)
            checked += 1
    assert checked > 0


def test_motion_agrees_with_itself(played):
    """Velocity in the truth is the derivative of the pose; the IMU integrates to it."""
    drive, packets = played
    first, last = drive.truth[0], drive.truth[-1]
    seconds = (last.stamp_ns - first.stamp_ns) * 1e-9
    way = np.array(last.T_map_ego).reshape(4, 4)[:3, 3] - np.array(first.T_map_ego).reshape(4, 4)[:3, 3]
    mean = (np.array(first.velocity) + np.array(last.velocity)) / 2
    np.testing.assert_allclose(way / seconds, mean, atol=0.1)
    rates = np.array([p.angular_rate for p in packets if isinstance(p, ImuSample)])
    turned = rates[:, 2].mean() * drive.config.duration_s
    T0, T1 = drive.ego_pose(0.0), drive.ego_pose(drive.config.duration_s)
    T01 = inverse(T0) @ T1
    np.testing.assert_allclose(turned, np.arctan2(T01[1, 0], T01[0, 0]), atol=0.005)


def test_truth_round_trip(played, tmp_path):
    drive, _ = played
    truth.write(tmp_path / "truth.jsonl", drive.truth)
    assert truth.read(tmp_path / "truth.jsonl") == drive.truth
    (tmp_path / "truth.jsonl").write_text('{"stamp_ns": 3}\n')
    with pytest.raises(ConfigError, match=r"truth.jsonl:1"):
        truth.read(tmp_path / "truth.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("VLP-16", "VLP-17"), "VLP-17.*HDL-64"),
        (("gnss: {gnss: {rate_hz: 10.0, latency_s: 0.03}}\n", ""), "gnss: the rig has"),
        (("columns: 450", "colums: 450"), "columns"),
        (("actors: 5", "actors: 5000"), "ask for less"),
        (("actors: 5", "kinds: [moon]"), "moon: allowed are residential"),
    ],
)
def test_what_cannot_be_is_refused(change, message, monkeypatch):
    monkeypatch.setattr("fusion_rt.sim.drive._TRIES", 3)
    with pytest.raises(ConfigError, match=message):
        Drive(config.parse(SMALL.replace(*change), DriveConfig, "small"), 3)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "sensor: lidar, kind: frozen",
            r"faults\[0\].kind: 'frozen' does not fit lidar .* lost_rings, noisy",
        ),
        (
            "sensor: radar, kind: silent",
            r"faults\[0\].sensor: 'radar' is not one of camera, gnss, imu, lidar",
        ),
        ("sensor: imu, kind: bised", r"faults\[0\].kind: 'bised' is not one of silent, .*, bias"),
        ("sensor: imu", r"faults\[0\].kind: is missing; one of silent, late"),
        ("sensor: imu, kind: bias, rate: 1", r"faults\[0\].rate: unknown key.* angular_rate"),
        ("sensor: imu, kind: silent, from_s: 2, to_s: 1", "from_s 2 is not before to_s 1"),
        ("sensor: lidar, kind: lost_sector, azimuth_deg: [30, 10]", "is no sector"),
    ],
)
def test_a_fault_that_cannot_be_is_refused(fault, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(SMALL + f"faults: [{{{fault}}}]\n", DriveConfig, "small")


def test_a_recorded_drive_with_faults(played, tmp_path):
    """The log gives late packets where they came; the truth is what it was."""
    faults = """
faults:
  - {sensor: lidar, kind: late, delay_s: 0.12}
  - {sensor: imu, kind: silent, from_s: 0.2}
"""
    drive = record(config.parse(SMALL + faults, DriveConfig, "small"), 3, tmp_path / "drive.mcap")
    assert drive.truth == played[0].truth
    with logs.open(tmp_path / "drive.mcap") as log:
        names = [p.header.sensor_id for p in log]
    assert names == [p.header.sensor_id for p in Drive(drive.config, 3).packets()]
    assert names.count("imu") == 20
    assert names[-1] == "lidar"
    with pytest.raises(ConfigError, match="keep step"):
        record(drive.config, 3, tmp_path / "again.mcap", kitti_raw=tmp_path / "raw")


def test_record_writes_log_truth_and_raw(small, played, tmp_path):
    told = []
    drive = record(
        small,
        3,
        tmp_path / "drive.mcap",
        truth_path=tmp_path / "truth.jsonl",
        kitti_raw=tmp_path / "raw",
        on_time=told.append,
    )
    ours = [(p.header.sensor_id, p.header.seq) for p in played[1]]
    with logs.open(tmp_path / "drive.mcap") as log:
        assert log.rig == drive.rig
        assert [(p.header.sensor_id, p.header.seq) for p in log] == ours  # as they came: GNSS is late
    assert truth.read(tmp_path / "truth.jsonl") == played[0].truth
    assert len(list((tmp_path / "raw").glob("*/*/velodyne_points/data/*.bin"))) == 4
    assert 0.3 < told[-1] <= 0.4


def test_the_storm_is_a_drive():
    storm = config.load(Path(__file__).parents[2] / "configs" / "sim" / "storm.yaml", DriveConfig)
    assert not storm.weather.clear
    assert len(storm.faults) == 6
