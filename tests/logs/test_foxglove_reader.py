"""Files that Foxglove's own library writes, as other programs do, with its own message classes."""

import cv2
import foxglove
import numpy as np
import pytest
from foxglove import messages as fg

from fusion_rt.errors import LogError
from fusion_rt.logs.foxglove_reader import FoxgloveReader
from fusion_rt.logs.rosbag import RosBag
from fusion_rt.messages import GnssFix, Image, PointCloud
from fusion_rt.payloads import H264
from fusion_rt.payloads.video import VideoEncoder

START_S = 1_700_000_000
HALF = 0.5


def picture(k):
    return cv2.GaussianBlur(np.random.default_rng(k).integers(0, 256, (12, 20, 3), np.uint8), (0, 0), 3)


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "other.mcap"
    context = foxglove.Context()
    encoder = VideoEncoder(H264())
    with foxglove.open_mcap(file, context=context):
        log = {}

        def say(topic, message, k=0):
            if topic not in log:
                kind = type(message).__name__
                log[topic] = getattr(foxglove.channels, f"{kind}Channel")(topic, context=context)
            log[topic].log(message, log_time=START_S * 10**9 + k * 10**8)

        def time(k):
            return fg.Timestamp(sec=START_S, nsec=k * 10**8)

        def place(child, x, rotation):
            return fg.FrameTransform(
                timestamp=time(0),
                parent_frame_id="base_link",
                child_frame_id=child,
                translation=fg.Vector3(x=x, y=0.0, z=1.0),
                rotation=rotation,
            )

        level = fg.Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
        optical = fg.Quaternion(x=-HALF, y=HALF, z=-HALF, w=HALF)
        say("/tf", fg.FrameTransforms(transforms=[place("LIDAR", 1.0, level), place("CAM", 2.0, optical)]))
        calibration = fg.CameraCalibration(
            timestamp=time(0),
            frame_id="CAM",
            width=20,
            height=12,
            distortion_model="plumb_bob",
            D=[0.0] * 5,
            K=[15.0, 0, 9.5, 0, 15, 5.5, 0, 0, 1],
            R=[1.0, 0, 0, 0, 1, 0, 0, 0, 1],
            P=[15.0, 0, 9.5, 0, 0, 15, 5.5, 0, 0, 0, 1, 0],
        )
        for camera in ("JPEG", "RAW", "VIDEO"):
            say(f"/{camera}/calibration", calibration)
        fields = [
            fg.PackedElementField(name=n, offset=4 * k, type=fg.PackedElementFieldNumericType.Float32)
            for k, n in enumerate(("x", "y", "z", "intensity"))
        ]
        for k in range(3):
            points = np.arange(40, dtype="<f4") + k
            say(
                "/LIDAR",
                fg.PointCloud(
                    timestamp=time(k),
                    frame_id="LIDAR",
                    pose=fg.Pose(position=fg.Vector3(), orientation=level),
                    point_stride=16,
                    fields=fields,
                    data=points.tobytes(),
                ),
                k,
            )
            pixels = picture(k)
            jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
            say(
                "/JPEG/image",
                fg.CompressedImage(timestamp=time(k), frame_id="CAM", data=jpeg, format="jpeg"),
                k,
            )
            say(
                "/RAW/image",
                fg.RawImage(
                    timestamp=time(k), frame_id="CAM", width=20, height=12, encoding="bgr8", step=60,
                    data=pixels.tobytes(),
                ),
                k,
            )  # fmt: skip
            frame, _ = encoder.encode(pixels, "bgr8")
            say(
                "/VIDEO/image",
                fg.CompressedVideo(timestamp=time(k), frame_id="CAM", data=frame, format="h264"),
                k,
            )
            say(
                "/gps",
                fg.LocationFix(
                    timestamp=time(k), frame_id="base_link", latitude=49.0, longitude=8.4, altitude=1.0
                ),
                k,
            )
    return file


def test_everything_that_has_a_schema(path):
    with RosBag(path, reader=FoxgloveReader, lidar_height_m=1.8, scale=255) as recording:
        assert len(recording) == 15
        packets = list(recording)
    assert recording.errors == []
    assert recording.rig.modalities() == {
        "camera_JPEG": "camera",
        "camera_RAW": "camera",
        "camera_VIDEO": "camera",
        "lidar": "lidar",
        "gnss": "gnss",
    }
    camera = recording.rig.cameras["camera_RAW"]
    np.testing.assert_allclose(camera.pose.translation, (1.0, 0.0, 1.8), atol=1e-9)
    np.testing.assert_allclose(camera.pose.matrix[:3, 2], (1, 0, 0), atol=1e-9)
    assert camera.K == ((15.0, 0.0, 10.0), (0.0, 15.0, 6.0), (0.0, 0.0, 1.0))
    for k in range(3):
        (cloud,) = [p for p in packets if isinstance(p, PointCloud) and p.header.seq == k]
        assert cloud.header.stamp_ns == START_S * 10**9 + k * 10**8
        np.testing.assert_array_equal(cloud.xyz, (np.arange(40).reshape(10, 4) + k)[:, :3])
        images = {p.header.sensor_id: p for p in packets if isinstance(p, Image) and p.header.seq == k}
        np.testing.assert_array_equal(images["camera_RAW"].data, picture(k))
        assert images["camera_JPEG"].encoding == "jpeg"
        assert np.abs(images["camera_VIDEO"].data.astype(int) - picture(k)).mean() < 4
    fixes = [p for p in packets if isinstance(p, GnssFix)]
    assert {(f.latitude_deg, f.position_covariance[0]) for f in fixes} == {(49.0, 25.0)}


def test_cut_off_and_damaged_files(path, tmp_path):
    whole = path.read_bytes()
    other = tmp_path / "damaged.mcap"
    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        other.write_bytes(whole[:size])
        with pytest.raises(LogError, match=r"damaged\.mcap: "):
            RosBag(other, reader=FoxgloveReader)
    data = bytearray(whole)
    data[len(data) // 3] ^= 255  # within a chunk: its checksum tells
    other.write_bytes(data)
    with pytest.raises(LogError, match=r"what comes behind is left out"):
        RosBag(other, reader=FoxgloveReader)
    with pytest.raises(LogError, match="no topic with PointCloud2"):
        import_nothing(tmp_path)


def import_nothing(tmp_path):
    context = foxglove.Context()
    with foxglove.open_mcap(tmp_path / "empty.mcap", context=context):
        foxglove.Channel("/x", context=context).log({"a": 1})
    RosBag(tmp_path / "empty.mcap", reader=FoxgloveReader)
