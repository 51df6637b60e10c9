import math

import pytest

from fusion_rt.errors import LogError
from fusion_rt.train.datasets import umafall

WORN = "t_ms,sensor,position,x,y,z"


def test_samples_in_si(write):
    rows = [
        "100,acc,waist,0,0,1",
        "100,gyro,waist,180,0,0",
        "150,acc,waist,0,0,3",
        "120,acc,rightpocket,1,0,0",
    ]
    recording = umafall.read(write("a.csv.gz", WORN, rows), "02", "lateralFall", fall=True)
    first, phone, last = recording.samples
    assert first.header.sensor_id == "waist"
    assert first.specific_force == pytest.approx((0, 0, 9.80665))
    assert first.angular_rate == pytest.approx((math.pi, 0, 0))
    assert phone.header.sensor_id == "rightpocket"
    assert all(map(math.isnan, phone.angular_rate))
    assert last.header.stamp_ns == recording.fall_ns == 150_000_000  # the largest acceleration
    assert recording.duration_s == pytest.approx(0.05)


def test_what_is_wrong_is_counted(write):
    rows = [
        "150,acc,waist,0,0,1",
        "100,acc,waist,0,0,1",
        "160,acc,waist,,0,1",
        "170,mag,waist,0,0,1",
        "180,acc,waist,0",
    ]
    recording = umafall.read(write("a.csv", WORN, rows), "02", "Walking", fall=False)
    assert [s.header.stamp_ns for s in recording.samples] == [100_000_000, 150_000_000]
    assert recording.fall_ns is None
    assert recording.notes == {
        "rows that are not measured values (left out)": 3,
        "rows that were not in time order (sorted)": 1,
    }
    with pytest.raises(LogError, match="no acceleration in it"):
        umafall.read(write("b.csv", WORN, ["100,gyro,waist,0,0,1"]), "02", "Walking", fall=False)


def test_a_folder(write, tmp_path):
    write("a.csv", WORN, ["100,acc,waist,0,0,1"])
    write("labels.csv", "file,subject,kind,movement", ["a.csv,02,fall,forwardFall"])
    assert umafall.read_folder(tmp_path)[0].fall_ns == 100_000_000
    write("labels.csv", "file,subject,kind,movement", ["a.csv,02,stumble,forwardFall"])
    with pytest.raises(LogError, match="kind is 'stumble', expected fall or adl"):
        umafall.read_folder(tmp_path)
