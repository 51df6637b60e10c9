"""Logs into KITTI's layouts, and into MCAP with video."""

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory
from msgspec.structs import replace

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter
from fusion_rt.logs.exporting import Options, export
from fusion_rt.logs.importing import import_kitti
from fusion_rt.logs.kitti_object import read_frame
from fusion_rt.logs.kitti_raw import KittiDrive
from fusion_rt.messages import Header, Image, PointCloud
from fusion_rt.payloads import H264
from fusion_rt.rig import Rig
from fusion_rt.transforms import transform_points

START_NS = 1_700_000_000_000_000_000


def scene(k, width=81, height=61):
    """A smooth picture, as a camera takes."""
    v, u = np.mgrid[:height, :width]
    pixels = np.stack([128 + 100 * np.sin((u + 3 * k) / 9), 2 * u + 40, 255 - 3 * v], axis=2)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.fixture
def log(tmp_path, rig, make):
    """Ten images and sweeps, the images 20 ms after; the third image is missing. A fix is among them."""
    camera = replace(
        rig.cameras["camera"],
        width=81,
        height=61,
        K=((60.0, 0.0, 40.5), (0.0, 60.0, 30.5), (0.0, 0.0, 1.0)),
        distortion=(0.0,) * 5,
    )
    path = tmp_path / "a.mcap"
    with LogWriter(path, Rig(cameras={"camera": camera}, lidars=rig.lidars, gnss=rig.gnss)) as out:
        for k in range(10):
            stamp = START_NS + k * 100_000_000
            out.write(make.cloud(50 + k, k, stamp))
            if k != 2:
                header = Header(sensor_id="camera", frame_id="camera", seq=k, stamp_ns=stamp + 20_000_000)
                out.write(Image(header=header, height=61, width=81, encoding="bgr8", data=scene(k)))
        out.write(next(p for p in make.packets() if type(p).__name__ == "GnssFix"))
    return path


def test_raw_layout(log, tmp_path):
    result = export(log, "kitti", tmp_path / "k")
    assert result.counts == {"camera": 9, "lidar": 10}
    assert result.left_out == ("gnss: kitti has no place for GnssFix",)
    drive = KittiDrive(tmp_path / "k")
    packets = list(drive)
    assert drive.errors == []
    with logs.open(log) as opened:
        before = [p for p in opened if isinstance(p, (Image, PointCloud))]
        rig = opened.rig
    for kind, field in ((Image, None), (PointCloud, "xyz")):
        ours = [p for p in before if isinstance(p, kind)]
        theirs = [p for p in packets if isinstance(p, kind)]
        for a, b in zip(ours, theirs, strict=True):
            assert a.header.stamp_ns == b.header.stamp_ns
            if field is None:
                np.testing.assert_array_equal(cv2.imdecode(b.data, cv2.IMREAD_COLOR), a.data)
            else:
                np.testing.assert_array_equal(a.xyz, b.xyz)
                np.testing.assert_array_equal(a.intensity, b.intensity)
    # Seen from the lidar, the camera is where it was; KITTI does not say how high the lidar is.
    for r in (rig, drive.rig):
        T = r.cameras["camera"].T_camera_ego @ r.lidars["lidar"].T_ego_lidar
        np.testing.assert_allclose(transform_points(T, np.eye(3)), _seen(rig), atol=1e-9)


def _seen(rig):
    return transform_points(rig.cameras["camera"].T_camera_ego @ rig.lidars["lidar"].T_ego_lidar, np.eye(3))


def test_object_layout(log, tmp_path):
    """A frame a sweep; one whose image is missing is left out, and said to be."""
    result = export(log, "kitti-object", tmp_path / "k")
    assert "1 sweeps without an image within 50 ms" in result.left_out
    imported = import_kitti(tmp_path / "k", tmp_path / "logs")
    assert [len(imported.logs), imported.errors] == [9, ()]
    with logs.open(log) as opened:
        sweeps = [p for p in opened if isinstance(p, PointCloud)]
        rig = opened.rig
    for n, k in enumerate([0, 1, *range(3, 10)]):
        frame = read_frame(tmp_path / "k", f"{n:06d}")
        image, sweep = frame.packets
        np.testing.assert_array_equal(sweep.xyz, sweeps[k].xyz)
        np.testing.assert_array_equal(cv2.imdecode(image.data, cv2.IMREAD_COLOR), scene(k))
        T = frame.rig.cameras["camera"].T_camera_ego @ frame.rig.lidars["lidar"].T_ego_lidar
        np.testing.assert_allclose(transform_points(T, np.eye(3)), _seen(rig), atol=1e-6)


def test_kitti_holds_one_camera(log, tmp_path, rig, make):
    with LogWriter(
        tmp_path / "two.mcap", Rig(lidars={"a": rig.lidars["lidar"], "b": rig.lidars["lidar"]})
    ) as out:
        for sensor in "ab":
            header = Header(sensor_id=sensor, frame_id=sensor, seq=0, stamp_ns=START_NS)
            out.write(replace(make.cloud(5), header=header))
    with pytest.raises(LogError, match="hold one lidar, the rig has a, b; say --lidar NAME"):
        export(tmp_path / "two.mcap", "kitti", tmp_path / "k")
    with pytest.raises(LogError, match="no lidar 'c'; the rig has: a, b"):
        export(tmp_path / "two.mcap", "kitti", tmp_path / "k", Options(lidar="c"))
    assert export(tmp_path / "two.mcap", "kitti", tmp_path / "k", Options(lidar="b")).counts == {"b": 1}
    assert export(tmp_path / "two.mcap", "pcd", tmp_path / "p").counts == {"a": 1, "b": 1}
    assert (tmp_path / "p" / "b" / f"{START_NS}.pcd").is_file()


def test_distortion_is_taken_out(log, tmp_path):
    """A straight line in the world, bent by the lens, is straight in KITTI's image."""
    with logs.open(log) as opened:
        rig = opened.rig
    camera = replace(rig.cameras["camera"], distortion=(-0.3, 0.1, 0.0, 0.0, 0.0))
    K = camera.intrinsics - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]
    xs = np.linspace(-0.6, 0.6, 400)
    line = np.column_stack([xs, np.full_like(xs, -0.35), np.ones_like(xs)])
    seen = cv2.projectPoints(line, np.zeros(3), np.zeros(3), K, np.array(camera.distortion))[0][:, 0]
    away = np.arange(61)[:, None] - np.interp(np.arange(81), seen[:, 0], seen[:, 1])
    drawn = np.repeat((255 * np.exp(-0.5 * away**2)).astype(np.uint8)[..., None], 3, axis=2)
    with LogWriter(tmp_path / "b.mcap", Rig(cameras={"camera": camera})) as out:
        header = Header(sensor_id="camera", frame_id="camera", seq=0, stamp_ns=START_NS)
        out.write(Image(header=header, height=61, width=81, encoding="bgr8", data=drawn))
    export(tmp_path / "b.mcap", "kitti", tmp_path / "k")
    (path,) = (tmp_path / "k" / "image_02" / "data").glob("*.png")
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float)
    rows = [np.average(np.arange(61), weights=column) for column in pixels.T[8:-8]]
    assert np.ptp(seen[:, 1]) > 1.7
    assert np.ptp(rows) < 0.2
    np.testing.assert_allclose(np.mean(rows), -0.35 * 60 + 30, atol=0.1)


def test_video_in_a_log(log, tmp_path):
    """Foxglove's schema, a frame a message; our reader gives the images again, nearly."""
    result = export(log, "mcap", tmp_path / "v.mcap", Options(video=True))
    assert (result.counts, result.left_out) == ({"camera": 9, "gnss": 1, "lidar": 10}, ())
    with (tmp_path / "v.mcap").open("rb") as file:
        frames = [
            message
            for schema, _, _, message in make_reader(
                file, decoder_factories=[DecoderFactory()]
            ).iter_decoded_messages(topics=["/camera"])
        ]
    assert {(f.format, f.frame_id) for f in frames} == {("h264", "camera")}
    assert frames[0].data[:5] == b"\0\0\0\1\x67"  # Annex B, parameter sets first
    with logs.open(log) as a, logs.open(tmp_path / "v.mcap") as b:
        before, after = list(a), list(b)
        assert not b.skipped
        for was, now in zip(before, after, strict=True):
            assert was.header == now.header
            if isinstance(was, Image):
                assert (now.encoding, now.data.shape) == ("bgr8", (61, 81, 3))
                assert np.abs(now.data.astype(int) - was.data).mean() < 3
        # From the middle on, what refers to frames that were passed over cannot be decoded: counted.
        later = [p for p in b.packets(START_NS + 500_000_000) if isinstance(p, Image)]
        assert later == []
        assert b.skipped == {"/camera": 5}
    assert (tmp_path / "v.mcap").stat().st_size < log.stat().st_size


def test_images_of_another_size_in_a_video(tmp_path, rig):
    """A new stream begins; every image is there."""
    images = []
    for k, width in enumerate((80, 90, 90, 80)):
        header = Header(sensor_id="camera", frame_id="camera", seq=k, stamp_ns=START_NS + k)
        data = scene(0, width)
        images.append(Image(header=header, height=61, width=width, encoding="bgr8", data=data))
    with LogWriter(tmp_path / "a.mcap", rig, video=H264(crf=18)) as out:
        for image in images:
            out.write(image)
    with logs.open(tmp_path / "a.mcap") as log:
        for was, now in zip(images, log, strict=True):
            assert now.data.shape == was.data.shape
            assert np.abs(now.data.astype(int) - was.data).mean() < 3


def test_a_format_that_is_not_known(log, tmp_path):
    with pytest.raises(LogError, match="rosbag3: not one of rosbag2"):
        export(log, "rosbag3", tmp_path / "x")
