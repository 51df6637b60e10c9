import numpy as np
import pytest

from fusion_rt.errors import LogError
from fusion_rt.train.datasets import radhar

RADAR = "frame,point_id,stamp_s,x_m,y_m,z_m,range_m,velocity_mps,doppler_bin,bearing_deg,intensity_db"


def point(frame, stamp_s, y=-0.5, velocity=0.6147):
    return f"{frame},0,{stamp_s:.9f},1.5,{y},0.2,1.6,{velocity},9,-18.0,24.5"


def test_frames_in_our_axes(write):
    # The driver's pair: the second frame comes 1.6 ms after the first.
    rows = [point(0, 100.0), point(0, 100.0001, y=0.25), point(1, 100.0016), point(2, 100.06)]
    recording = radhar.read(write("walk_01.csv.gz", RADAR, rows), "walk")
    assert [len(f.xyz) for f in recording.frames] == [2, 1, 1]
    assert np.diff([f.header.stamp_ns for f in recording.frames]).tolist() == [33_333_333, 33_333_334]
    np.testing.assert_allclose(recording.frames[0].xyz, [[1.5, 0.5, 0.2], [1.5, -0.25, 0.2]], atol=1e-6)
    np.testing.assert_allclose(recording.frames[0].velocity, 0.6147, atol=1e-6)
    assert recording.name == "walk_01"
    assert recording.notes == {}


def test_lost_shuffled_and_broken_rows(write):
    rows = [point(3, 100.1), point(0, 100.0), "0,1,100.0,nan,0,0,0,0,0,0,0", point(1, 100.0)]
    recording = radhar.read(write("jump_01.csv", RADAR, rows), "jump")
    assert [f.header.stamp_ns - recording.frames[0].header.stamp_ns for f in recording.frames] == [
        0,
        33_333_333,
        10**8,
    ]
    assert recording.notes == {
        "rows that are no numbers (left out)": 1,
        "rows that were not in frame order (sorted)": 1,
        "frames whose stamp does not follow (numbered on)": 1,
    }


def test_a_folder_and_what_is_wrong_with_it(write, tmp_path):
    write("walk_01.csv", RADAR, [point(0, 1.0)])
    write("labels.csv", "file,activity", ["walk_01.csv,walk"])
    assert [r.activity for r in radhar.read_folder(tmp_path)] == ["walk"]
    write("labels.csv", "file,activity", ["none.csv,walk"])
    with pytest.raises(LogError, match=r"'none\.csv' is not a file"):
        radhar.read_folder(tmp_path)
    write("labels.csv", "file,what", ["walk_01.csv,walk"])
    with pytest.raises(LogError, match="no column activity"):
        radhar.read_folder(tmp_path)
    with pytest.raises(LogError, match="columns are"):
        radhar.read(write("bad.csv", "a,b", ["1,2"]), "walk")
    (tmp_path / "cut.csv.gz").write_bytes(b"\x1f\x8b\x08 nothing")
    with pytest.raises(LogError, match="cannot be read"):
        radhar.read(tmp_path / "cut.csv.gz", "walk")
