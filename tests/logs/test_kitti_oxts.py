"""GNSS/IMU records against their own redundancy: position, velocity and heading say the same drive."""

import numpy as np
import pytest
from pyproj import Geod

from fusion_rt.errors import LogError
from fusion_rt.logs.kitti_oxts import oxts_packets, read_oxts
from fusion_rt.messages import GnssFix, ImuSample

RECORD = (
    "49.0 8.4 115.0 0.01 0.02 0.5 0 0 10.0 1.0 0.1 "
    "0.1 0.2 9.8 0.3 0.4 9.7 0.01 0.02 0.03 0.04 0.05 0.06 0.5 0.07 4 10 4 4 0"
)


def packets(text):
    return list(oxts_packets(text, 3, 5_000, "here"))


def test_columns_are_those_of_the_format():
    sample, fix = packets(RECORD)
    assert sample.specific_force == (0.1, 0.2, 9.8)
    assert sample.angular_rate == (0.01, 0.02, 0.03)
    assert (fix.latitude_deg, fix.longitude_deg, fix.altitude_m) == (49.0, 8.4, 115.0)
    assert (fix.satellites, fix.velocity_std, fix.position_covariance[0]) == (10, 0.07, 0.25)
    for packet, sensor in ((sample, "imu"), (fix, "gnss")):
        header = packet.header
        assert (header.sensor_id, header.seq, header.stamp_ns) == (sensor, 3, 5_000)


def test_velocity_from_forward_and_leftward_where_north_and_east_are_left_out():
    east, north, up = packets(RECORD)[1].velocity_enu
    rotation = np.array([[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]])
    np.testing.assert_allclose([east, north], rotation @ [10.0, 1.0])
    assert up == 0.1


@pytest.mark.parametrize(
    ("mode", "kind"), [(0, "3d"), (4, "dgps"), (5, "rtk_float"), (6, "rtk_fixed"), (9, "dgps")]
)
def test_position_modes(mode, kind):
    words = RECORD.split()
    words[27] = str(mode)
    assert packets(" ".join(words))[1].fix_type == kind


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "here: 0 numbers, expected the 30"),
        (RECORD + " 1", "31 numbers"),
        (RECORD.replace("8.4", "east"), "not numbers: could not convert string to float: 'east'"),
        (RECORD.replace("9.8", "nan"), "not finite"),
        (RECORD.replace("49.0", "94.0"), "latitude 94, longitude 8.4 are nowhere on Earth"),
    ],
)
def test_a_damaged_record_is_named(text, says):
    with pytest.raises(LogError, match=says):
        packets(text)


def test_a_real_drive_agrees_with_itself(shared_data):
    path = shared_data / "gnss" / "kitti_oxts" / "drive_tracking_0000.txt"
    found = list(read_oxts(path))
    fixes = [p for p in found if isinstance(p, GnssFix)]
    samples = [p for p in found if isinstance(p, ImuSample)]
    assert len(fixes) == len(samples) == 154
    times = np.array([p.header.stamp_ns for p in fixes]) / 1e9
    np.testing.assert_allclose(np.diff(times), 0.1, atol=1e-6)
    # On the ellipsoid, by another library: the way between fixes is the velocity.
    longitudes, latitudes = ([getattr(p, f"{n}_deg") for p in fixes] for n in ("longitude", "latitude"))
    there = Geod(ellps="WGS84").inv(longitudes[:-1], latitudes[:-1], longitudes[1:], latitudes[1:])
    azimuth, _, way = map(np.asarray, there)
    moved = np.stack([way * np.sin(np.radians(azimuth)), way * np.cos(np.radians(azimuth))], axis=1)
    velocity = np.array([p.velocity_enu[:2] for p in fixes])
    expected = (velocity[:-1] + velocity[1:]) / 2 * 0.1
    assert np.abs(moved.sum(0) - expected.sum(0)).max() < 0.02 * way.sum()
    assert 60 < way.sum() < 80
    force = np.array([p.specific_force for p in samples])
    np.testing.assert_allclose(force.mean(0)[2], 9.81, atol=0.2)  # gravity reads upwards
    yaw = np.array([float(line.split()[5]) for line in path.read_text().splitlines()])
    rate = np.array([p.angular_rate[2] for p in samples])
    turned = np.unwrap(yaw)[-1] - np.unwrap(yaw)[0]
    np.testing.assert_allclose(np.sum(rate) * 0.1, turned, atol=0.05)
    assert abs(turned) > 0.2


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(LogError, match=r"a\.txt: cannot be read"):
        list(read_oxts(tmp_path / "a.txt"))
    (tmp_path / "a.txt").write_text(f"{RECORD}\n{RECORD} 5\n")
    with pytest.raises(LogError, match=r"a\.txt:2: 31 numbers"):
        list(read_oxts(tmp_path / "a.txt"))
