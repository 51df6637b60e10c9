import struct

import numpy as np
import pypcd4
import pytest

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs.exporting import Options, export
from fusion_rt.logs.importing import import_recording
from fusion_rt.logs.kitti_raw import KittiDrive
from fusion_rt.logs.pcd import PcdFolder, read_columns, write_cloud
from fusion_rt.logs.writer import LogWriter

ENCODINGS = ("ascii", "binary", "binary_compressed")
HEADER = """# .PCD v0.7 - Point Cloud Data file format
VERSION 0.7
FIELDS x y z intensity
SIZE 4 4 4 4
TYPE F F F F
COUNT 1 1 1 1
WIDTH {n}
HEIGHT 1
VIEWPOINT 0 0 0 1 0 0 0
POINTS {n}
DATA {data}
"""


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_cloud_comes_back(tmp_path, make, encoding):
    cloud = make.cloud(100)
    write_cloud(tmp_path / "a.pcd", cloud, encoding)
    columns = read_columns(tmp_path / "a.pcd")
    exact = encoding != "ascii"
    for k, axis in enumerate("xyz"):
        np.testing.assert_allclose(columns[axis], cloud.xyz[:, k], rtol=0 if exact else 1e-5)
    np.testing.assert_allclose(columns["time"], cloud.t, rtol=0 if exact else 1e-4)
    np.testing.assert_array_equal(columns["ring"], cloud.ring)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_files_cut_off_at_every_length(tmp_path, make, encoding):
    path = tmp_path / "a.pcd"
    write_cloud(path, make.cloud(20), encoding)
    whole = path.read_bytes()
    # A text that ends within its last number is a text with another number.
    end = whole.rindex(b" ") if encoding == "ascii" else len(whole)
    for size in range(0, end, 7):
        path.write_bytes(whole[:size])
        with pytest.raises(LogError, match=r"a\.pcd: "):
            read_columns(path)


@pytest.mark.parametrize(
    ("text", "body", "said"),
    [
        (HEADER.format(n=10**15, data="binary"), bytes(160), "need 16000000000000000 bytes, 160 are there"),
        (
            HEADER.format(n=10**15, data="ascii"),
            b"1 2 3 4\n",
            "POINTS says 1000000000000000, 8 bytes of text",
        ),
        (
            HEADER.format(n=10**8, data="binary_compressed"),
            struct.pack("<II", 100, 1_600_000_000) + bytes(100),
            "100 compressed bytes of 1600000000",
        ),
        (HEADER.format(n=3, data="ascii"), b"1 2 3 4\n1 2 3 4\n", "POINTS says 3, 2 are there"),
        (HEADER.format(n=1, data="ascii"), b"1 2 x 4\n", "ascii points cannot be read"),
        (HEADER.format(n=1, data="zip"), bytes(16), "not a PCD header"),
        (HEADER.format(n=-1, data="binary"), bytes(16), "not a PCD header"),
        (HEADER.format(n=1, data="binary").replace("WIDTH 1", "WIDTH 7"), bytes(16), "WIDTH 7 x HEIGHT 1"),
        (HEADER.format(n=1, data="binary").replace("SIZE 4", "SIZE 3"), bytes(16), "not a PCD header"),
        ("P6\n", bytes(1000), "no line DATA"),
    ],
)
def test_headers_that_lie(tmp_path, text, body, said):
    (tmp_path / "a.pcd").write_bytes(text.encode() + body)
    with pytest.raises(LogError, match=rf"a\.pcd: .*{said}"):
        read_columns(tmp_path / "a.pcd")


def test_a_folder_with_a_damaged_file(tmp_path, make):
    """Stamps by the period; 10 comes behind 9; intensities of 8 bits become 0 to 1."""
    for k in range(12):
        points = np.column_stack([make.cloud(30).xyz, np.linspace(0, 255, 30)])
        pypcd4.PointCloud.from_xyzi_points(points.astype(np.float32)).save(tmp_path / f"{k}.pcd")
    (tmp_path / "3.pcd").write_bytes(b"nothing")
    folder = PcdFolder(tmp_path, period_s=0.05, lidar_height_m=1.8)
    sweeps = list(folder)
    assert [s.header.seq for s in sweeps] == [0, 1, 2, *range(4, 12)]
    stamps = np.array([s.header.stamp_ns for s in sweeps])
    np.testing.assert_array_equal((stamps - stamps[0]) // 50_000_000, [0, 1, 2, *range(4, 12)])
    np.testing.assert_allclose(sweeps[0].intensity, np.linspace(0, 1, 30), atol=1e-6)
    assert folder.rig.lidars["lidar"].pose.translation == (0.0, 0.0, 1.8)
    (fault,) = folder.errors
    assert "3.pcd: not a PCD file" in fault
    assert "0.05 s apart" in folder.notes[0]


@pytest.mark.parametrize(
    ("name", "stamp_ns"),
    [
        ("1317046453.072943544", 1317046453072943544),
        ("1317046453.5", 1317046453500000000),
        ("lidar_1317046453072943544", 1317046453072943544),
        ("1317046453072943", 1317046453072943000),
        ("1317046453072", 1317046453072000000),
    ],
)
def test_stamps_in_names(tmp_path, make, name, stamp_ns):
    write_cloud(tmp_path / f"{name}.pcd", make.cloud(200))
    (sweep,) = PcdFolder(tmp_path, lidar_height_m=1.0)
    assert sweep.header.stamp_ns == stamp_ns


def test_nothing_to_import(tmp_path):
    with pytest.raises(LogError, match=r"no \.pcd file is there"):
        PcdFolder(tmp_path)
    (tmp_path / "a.pcd").write_bytes(b"")
    with pytest.raises(LogError, match=r"no file can be read; .*no line DATA"):
        PcdFolder(tmp_path)


def test_real_sweeps_through_pcd_files(kitti_sequence, tmp_path):
    drive = KittiDrive(kitti_sequence)
    packets = [p for _, p in zip(range(6), drive)]
    with LogWriter(tmp_path / "a.mcap", drive.rig) as log:
        for packet in packets:
            log.write(packet)
    exported = export(tmp_path / "a.mcap", "pcd", tmp_path / "pcd", Options(pcd_encoding="binary"))
    assert exported.counts == {"lidar": 3}
    assert exported.left_out == ("camera: pcd has no place for Image (3 such)",)
    folder = PcdFolder(tmp_path / "pcd")
    assert abs(folder.rig.lidars["lidar"].pose.translation[2] - 1.73) < 0.1  # by the ground alone
    import_recording(folder, tmp_path / "b.mcap")
    with logs.open(tmp_path / "b.mcap") as log:
        again = list(log)
    sweeps = [p for p in packets if p.header.sensor_id == "lidar"]
    for a, b in zip(sweeps, again, strict=True):
        assert a.header.stamp_ns == b.header.stamp_ns
        for field in ("xyz", "intensity", "t", "ring"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
