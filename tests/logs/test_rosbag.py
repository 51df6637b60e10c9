"""Bags that the library's own writer makes, as drivers publish; and our logs through bags and back."""

from contextlib import suppress
from itertools import islice

import cv2
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from fusion_rt import logs, offline
from fusion_rt.errors import FusionError, LogError
from fusion_rt.logs import LogWriter
from fusion_rt.logs.exporting import Options, export
from fusion_rt.logs.importing import import_recording
from fusion_rt.logs.kitti_raw import KittiDrive
from fusion_rt.logs.rosbag import OWN_RIG, RosBag
from fusion_rt.messages import GnssFix, Image, ImuSample, PointCloud
from fusion_rt.payloads import H264
from fusion_rt.payloads.video import VideoEncoder
from fusion_rt.pipeline import PipelineConfig
from fusion_rt.rig import Camera, Lidar, Pose, Rig

START_NS = 1_700_000_000_000_000_000
VIDEO = (
    "builtin_interfaces/Time timestamp\nstring frame_id\nuint8[] data\nstring format\n",
    "foxglove_msgs/msg/CompressedVideo",
)


class Bag:
    """A bag in the making, as any ROS node would have it recorded."""

    def __init__(self, path, version=2):
        self.ros1 = version == 1
        self.store = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        if self.ros1:
            tf = "geometry_msgs/TransformStamped[] transforms\n"
            self.store.register(get_types_from_msg(tf, "tf2_msgs/msg/TFMessage"))
        self.store.register(get_types_from_msg(*VIDEO))
        self.path = path
        self.writer = Writer1(path) if self.ros1 else Writer2(path, version=9)
        self.connections = {}

    def __enter__(self):
        self.writer.open()
        return self

    def __exit__(self, *error):
        self.writer.close()

    def new(self, name, /, **fields):
        package = {"Time": "builtin_interfaces", "Header": "std_msgs", "TFMessage": "tf2_msgs"}
        for one in ("Transform", "TransformStamped", "Vector3", "Quaternion"):
            package[one] = "geometry_msgs"
        return self.store.types[f"{package.get(name, 'sensor_msgs')}/msg/{name}"](**fields)

    def header(self, frame, k=0, stamp_ns=None):
        stamp_ns = START_NS + k * 100_000_000 if stamp_ns is None else stamp_ns
        seq = {"seq": k} if self.ros1 else {}
        stamp = self.new("Time", sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
        return self.new("Header", stamp=stamp, frame_id=frame, **seq)

    def add(self, topic, message, k=0):
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(
                topic, message.__msgtype__, typestore=self.store
            )
        serialize = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        data = serialize(message, message.__msgtype__)
        # What arrives is recorded later than it was measured.
        self.writer.write(self.connections[topic], START_NS + k * 100_000_000 + 30_000_000, data)

    def place(self, *frames, topic="/tf_static"):
        """(parent, child, x y z, quaternion) each."""
        transforms = [
            self.new(
                "TransformStamped",
                header=self.header(parent),
                child_frame_id=child,
                transform=self.new(
                    "Transform",
                    translation=self.new("Vector3", **dict(zip("xyz", map(float, xyz)))),
                    rotation=self.new("Quaternion", **dict(zip("xyzw", map(float, q)))),
                ),
            )
            for parent, child, xyz, q in frames
        ]
        self.add(topic, self.new("TFMessage", transforms=transforms))

    def calibrate(self, topic, *, width=20, height=12, model="plumb_bob", D=(0.1, 0.0, 0.0, 0.0, 0.0), k=0):
        K = np.array([15.0, 0, 9.5, 0, 15, 5.5, 0, 0, 1])
        P = np.array([14.0, 0, 9.5, -1.5, 0, 14, 5.5, 0, 0, 0, 1, 0])
        matrices = {"D": np.array(D, np.float64), "K": K, "R": np.eye(3).reshape(-1), "P": P}
        roi = self.new("RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        info = self.new(
            "CameraInfo",
            header=self.header("optical", k),
            height=height,
            width=width,
            distortion_model=model,
            binning_x=0,
            binning_y=0,
            roi=roi,
            **{n if self.ros1 else n.lower(): m for n, m in matrices.items()},
        )
        self.add(topic, info, k)

    def image(self, topic, pixels, encoding, k=0, *, padding=0, big=False):
        rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
        if big and rows.dtype.itemsize > 1:
            rows = rows.astype(rows.dtype.newbyteorder(">"))
        rows = np.pad(rows.view(np.uint8), ((0, 0), (0, padding)), constant_values=77)
        message = self.new(
            "Image",
            header=self.header("optical", k),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=int(big),
            step=rows.shape[1],
            data=rows.reshape(-1),
        )
        self.add(topic, message, k)

    def cloud(self, topic, points, k=0, *, shape=None, row_padding=0, frame="velodyne", **changes):
        """points: structured (N,); its fields as PointFields, also of big-endian types."""
        numbers = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 8}
        height, width = shape or (1, len(points))
        fields = [
            self.new("PointField", name=name, offset=offset, datatype=numbers[t.str[1:]], count=1)
            for name, (t, offset) in ((n, points.dtype.fields[n][:2]) for n in points.dtype.names)
        ]
        big = any(points.dtype[n].str[0] == ">" for n in points.dtype.names)
        rows = np.ascontiguousarray(points).view(np.uint8).reshape(height, -1)
        rows = np.pad(rows, ((0, 0), (0, row_padding)), constant_values=255)
        values = {
            "header": self.header(frame, k),
            "height": height,
            "width": width,
            "fields": fields,
            "is_bigendian": big,
            "point_step": points.dtype.itemsize,
            "row_step": rows.shape[1],
            "data": rows.reshape(-1),
            "is_dense": False,
        }
        self.add(topic, self.new("PointCloud2", **(values | changes)), k)


XYZI = [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("intensity", "<f4")]
VELODYNE = np.dtype([*XYZI, ("ring", "<u2"), ("time", "<f4")])
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # z forward in a frame with x forward
LEVEL = (0.0, 0.0, 0.0, 1.0)


def points(dtype=VELODYNE, n=500, seed=0):
    """Mostly ground, 1.9 m below the sensor."""
    rng = np.random.default_rng(seed)
    made = np.zeros(n, dtype)
    made["x"], made["y"] = rng.uniform(-20, 20, (2, n))
    made["z"] = -1.9 + rng.normal(0, 0.02, n)
    if "intensity" in made.dtype.names:
        made["intensity"] = rng.integers(0, 256, n)
    return made


def colours(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (12, 20, 3), np.uint8)


def drive(bag):
    """Camera, Velodyne, GNSS and IMU as usual drivers name and place them."""
    bag.place(
        ("base_link", "velodyne", (1.0, 0.0, 1.2), LEVEL),
        ("velodyne", "camera_link", (0.3, 0.1, -0.1), LEVEL),
        ("camera_link", "optical", (0.0, 0.0, 0.0), OPTICAL),
        ("base_link", "imu_link", (0.2, 0.0, 0.5), LEVEL),
        ("base_link", "gps", (-0.5, 0.4, 1.5), LEVEL),
    )
    for k in range(3):
        bag.calibrate("/cam/camera_info", k=k)
        bag.image("/cam/image_raw", colours(k), "rgb8", k)
        made = points(seed=k)
        made["ring"] = np.arange(len(made)) % 16
        made["time"] = np.linspace(-0.1, 0.0, len(made))
        bag.cloud("/velodyne_points", made, k)
        vector = {"x": 0.1, "y": -0.2, "z": 9.81}
        bag.add(
            "/imu/data",
            bag.new(
                "Imu",
                header=bag.header("imu_link", k),
                orientation=bag.new("Quaternion", x=0.0, y=0.0, z=0.0, w=1.0),
                orientation_covariance=np.zeros(9),
                angular_velocity=bag.new("Vector3", x=0.01, y=0.02, z=0.03),
                angular_velocity_covariance=np.zeros(9),
                linear_acceleration=bag.new("Vector3", **vector),
                linear_acceleration_covariance=np.zeros(9),
            ),
            k,
        )
        bag.add(
            "/fix",
            bag.new(
                "NavSatFix",
                header=bag.header("gps", k),
                status=bag.new("NavSatStatus", status=2 if k else -1, service=1),
                latitude=49.0 if k else float("nan"),
                longitude=8.4 if k else float("nan"),
                altitude=115.0,
                position_covariance=np.diag([0.04, 0.04, 0.16]).reshape(-1),
                position_covariance_type=2,
            ),
            k,
        )


@pytest.mark.parametrize("version", [1, 2])
def test_a_drive_as_drivers_publish_it(tmp_path, version):
    path = tmp_path / ("drive.bag" if version == 1 else "drive")
    with Bag(path, version) as bag:
        drive(bag)
    with RosBag(path) as recording:
        packets = list(recording)
        rig = recording.rig
    assert rig.modalities() == {"camera": "camera", "lidar": "lidar", "gnss": "gnss", "imu": "imu"}
    # The ground that the sweep shows is 1.9 m below; ego lies there, below the lidar.
    np.testing.assert_allclose(rig.lidars["lidar"].pose.translation, (0, 0, 1.9), atol=0.01)
    height = rig.lidars["lidar"].pose.translation[2]
    np.testing.assert_allclose(rig.cameras["camera"].pose.translation, (0.3, 0.1, height - 0.1), atol=1e-9)
    np.testing.assert_allclose(rig.cameras["camera"].pose.matrix[:3, 2], (1, 0, 0), atol=1e-9)
    np.testing.assert_allclose(rig.imus["imu"].pose.translation, (-0.8, 0, height - 0.7), atol=1e-9)
    np.testing.assert_allclose(rig.gnss["gnss"].lever_arm, (-1.5, 0.4, height + 0.3), atol=1e-9)
    # ROS's pixel centres lie at whole numbers.
    assert rig.cameras["camera"].K == ((15.0, 0.0, 10.0), (0.0, 15.0, 6.0), (0.0, 0.0, 1.0))
    assert rig.cameras["camera"].distortion == (0.1, 0.0, 0.0, 0.0, 0.0)
    assert "1.90 m above the ground" in recording.notes[0]
    images = [p for p in packets if isinstance(p, Image)]
    sweeps = [p for p in packets if isinstance(p, PointCloud)]
    assert [p.header.stamp_ns for p in images] == [START_NS + k * 100_000_000 for k in range(3)]
    assert [p.header.seq for p in sweeps] == [0, 1, 2]
    for k, (image, sweep) in enumerate(zip(images, sweeps)):
        assert image.encoding == "rgb8"
        np.testing.assert_array_equal(image.data, colours(k))
        made = points(seed=k)
        np.testing.assert_array_equal(sweep.xyz[:, 0], made["x"])
        np.testing.assert_array_equal(sweep.intensity, made["intensity"] / np.float32(255))
        np.testing.assert_array_equal(sweep.ring, np.arange(500) % 16)
        np.testing.assert_array_equal(sweep.t, np.linspace(-0.1, 0.0, 500).astype(np.float32))
    fixes = [p for p in packets if isinstance(p, GnssFix)]
    assert [(f.fix_type, f.latitude_deg, f.position_covariance[8]) for f in fixes] == [
        ("rtk_fixed", 49.0, 0.16)
    ] * 2
    assert next(p for p in packets if isinstance(p, ImuSample)).specific_force == (0.1, -0.2, 9.81)
    (fault,) = recording.errors
    assert "/fix: latitude nan, longitude nan: no position" in fault


def only_cloud(path, *args, **changes):
    """A bag with one cloud, imported."""
    with Bag(path) as bag:
        bag.cloud("/points", *args, **changes)
    with RosBag(path, lidar_height_m=1.7) as recording:
        return list(recording), recording.errors


@pytest.mark.parametrize("height", [1, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_points_of_any_layout(tmp_path, order, height):
    """Padding in points and rows, either byte order, NaN as organised clouds have them, Ouster's ns."""
    dtype = np.dtype(
        {
            "names": ["x", "y", "z", "reflectivity", "t", "ring"],
            "formats": [order + code for code in ("f4", "f4", "f4", "u2", "u4", "u1")],
            "offsets": [0, 4, 8, 16, 20, 26],
            "itemsize": 48,
        }
    )
    made = points(dtype, 40)
    made["x"][3] = np.nan
    made["reflectivity"], made["ring"] = np.arange(40) * 6, np.arange(40)
    made["t"] = np.arange(40) * 2_500_000
    (sweep,), faults = only_cloud(tmp_path / "bag", made, shape=(height, 40 // height), row_padding=7)
    assert faults == []
    for k, axis in enumerate("xyz"):
        np.testing.assert_array_equal(sweep.xyz[:, k], made[axis].astype("=f4"))
    np.testing.assert_allclose(sweep.t, np.arange(40) * 2.5e-3, rtol=1e-6)
    np.testing.assert_allclose(sweep.intensity, np.arange(40) * 6 / 255, rtol=1e-6)
    np.testing.assert_array_equal(sweep.ring, np.arange(40))


@pytest.mark.parametrize("unit", [1.0, 1e9])
def test_absolute_times(tmp_path, unit):
    made = points(np.dtype([*XYZI, ("timestamp", "<f8")]), 50)
    after = np.linspace(-0.05, 0.05, 50)
    made["timestamp"] = (START_NS * 1e-9 + after) * unit
    (sweep,), _ = only_cloud(tmp_path / "bag", made)
    np.testing.assert_allclose(sweep.t, after, atol=1e-6)


def test_intensities_up_to_one_stay(tmp_path):
    made = points(np.dtype(XYZI), 50)
    made["intensity"] = np.linspace(0, 1, 50)
    (sweep,), _ = only_cloud(tmp_path / "bag", made)
    np.testing.assert_array_equal(sweep.intensity, made["intensity"])
    assert not sweep.t.any()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"point_step": 12}, "'intensity' ends at byte 16 of a point, point_step is 12"),
        ({"point_step": 0}, "point_step is 0"),
        ({"width": 1 << 31}, "need .* bytes, 11000 are there"),
        ({"height": 1 << 31}, "need .* bytes, 11000 are there"),
        ({"height": 2, "width": 250, "row_step": 5}, "row_step 5 is less than 250 points"),
        ({"data": np.zeros(7, np.uint8)}, "need 11000 bytes, 7 are there"),
        ({"fields": []}, "the points have no x, y, z; there are: no fields"),
    ],
)
def test_clouds_whose_sizes_lie(tmp_path, changes, said):
    with pytest.raises(LogError, match=rf"/points: .*{said}"):
        raise LogError(only_cloud(tmp_path / "bag", points(), **changes)[1][0])


def test_times_in_another_unit(tmp_path):
    made = points()
    made["time"] = np.linspace(0, 100_000, len(made))  # us
    _, (fault,) = only_cloud(tmp_path / "bag", made)
    assert "the points' time is 50000 s after the stamp" in fault


def photos(path, *images, info=None, **options):
    """A bag with one camera, and a lidar that places it, imported."""
    with Bag(path) as bag:
        bag.place(("velodyne", "optical", (0, 0, 0), OPTICAL))
        bag.cloud("/points", points())
        bag.calibrate("/cam/camera_info", **(info or {}))
        for k, (pixels, encoding, more) in enumerate(images):
            bag.image("/cam/image_raw", pixels, encoding, k, **more)
    with RosBag(path, **options) as recording:
        return [p for p in recording if isinstance(p, Image)], recording.errors


def test_image_encodings(tmp_path):
    colour = colours()
    grey = colour[..., 0]
    deep = (np.arange(240, dtype=np.uint16) * 257).reshape(12, 20)
    alpha = np.dstack([colour, grey])
    images, faults = photos(
        tmp_path / "bag",
        (colour, "bgr8", {"padding": 4}),
        (grey, "mono8", {"padding": 12}),
        (alpha, "bgra8", {}),
        (alpha, "rgba8", {}),
        (deep, "mono16", {}),
        (deep, "mono16", {"big": True}),
        (grey, "bayer_rggb8", {}),
        (colour[..., :2], "yuv422", {}),
        (colour, "8UC3", {}),
        (colour, "rgb9", {}),
        (deep, "16UC1", {}),
    )
    assert [i.encoding for i in images] == ["bgr8", "mono8", *["bgr8"] * 7]
    np.testing.assert_array_equal(images[0].data, colour)
    np.testing.assert_array_equal(images[1].data, grey)
    np.testing.assert_array_equal(images[2].data, colour)
    np.testing.assert_array_equal(images[3].data, colour[..., ::-1])
    for k in (4, 5):
        np.testing.assert_allclose(images[k].data[..., 0], np.arange(240).reshape(12, 20), atol=1)
    # RGGB: red is measured at even rows and columns.
    np.testing.assert_array_equal(images[6].data[2:-2:2, 2:-2:2, 2], grey[2:-2:2, 2:-2:2])
    np.testing.assert_array_equal(
        images[7].data, cv2.cvtColor(np.ascontiguousarray(colour[..., :2]), cv2.COLOR_YUV2BGR_UYVY)
    )
    (fault,) = faults
    assert "/cam/image_raw: encoding 'rgb9' is not known; publish rgb8, bgr8, mono8, a Bayer" in fault
    assert fault.endswith("(2 such)")


def test_compressed_images_and_video(tmp_path):
    encoder = VideoEncoder(H264(crf=20))
    frames = [cv2.GaussianBlur(colours(k), (0, 0), 4) for k in range(3)]
    with Bag(tmp_path / "bag") as bag:
        bag.place(("velodyne", "optical", (0, 0, 0), OPTICAL))
        bag.cloud("/points", points())
        for camera in ("front", "left"):
            bag.calibrate(f"/{camera}/camera_info")
        for k, pixels in enumerate(frames):
            for form in (".jpg", ".png", None):
                data = b"broken" if form is None else cv2.imencode(form, pixels)[1].tobytes()
                message = bag.new(
                    "CompressedImage",
                    header=bag.header("optical", k),
                    format="bgr8; jpeg compressed bgr8",
                    data=np.frombuffer(data, np.uint8),
                )
                bag.add("/front/image_raw/compressed", message, k)
            stamp = bag.new("Time", sec=START_NS // 10**9, nanosec=k)
            video = bag.store.types[VIDEO[1]](
                timestamp=stamp,
                frame_id="optical",
                data=np.frombuffer(encoder.encode(pixels, "bgr8")[0], np.uint8),
                format="h264",
            )
            bag.add("/left/video", video, k)
    with RosBag(tmp_path / "bag") as recording:
        packets = [p for p in recording if isinstance(p, Image)]
        assert set(recording.rig.cameras) == {"camera_front", "camera_left"}
    front = [p for p in packets if p.header.sensor_id == "camera_front"]
    left = [p for p in packets if p.header.sensor_id == "camera_left"]
    assert [p.encoding for p in front] == ["jpeg", "png"] * 3
    np.testing.assert_array_equal(cv2.imdecode(front[1].data, cv2.IMREAD_COLOR), frames[0])
    assert [p.header.stamp_ns for p in left] == [START_NS // 10**9 * 10**9 + k for k in range(3)]
    for pixels, image in zip(frames, left):
        assert np.abs(image.data.astype(int) - pixels).mean() < 4
    (fault,) = recording.errors
    assert "62 72 6f 6b 65 6e: neither JPEG nor PNG" in fault
    assert fault.endswith("(3 such)")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"width": 40, "height": 24}, "calibrated at 40 x 24 px, the images have 20 x 12"),
        (
            {"model": "equidistant", "D": (0.1, 0.2, 0.3, 0.4)},
            "distortion model 'equidistant' with 4 numbers",
        ),
        ({"model": "rational_polynomial", "D": range(8)}, "distortion model 'rational_polynomial'"),
    ],
)
def test_calibrations_that_the_rig_cannot_hold(tmp_path, info, said):
    """Where the user did not ask for it, the camera alone is left out; where he did, it is an error."""
    images, (fault,) = photos(tmp_path / "bag", (colours(), "bgr8", {}), info=info)
    assert images == []
    assert said in fault
    assert "--rig RIG.yaml" in fault
    with pytest.raises(LogError, match=said):
        RosBag(tmp_path / "bag", topics={"camera": "/cam/image_raw"})


def test_a_rig_may_be_given(tmp_path):
    camera = Camera(width=20, height=12, K=((9.0, 0, 10), (0, 9.0, 6), (0, 0, 1)), pose=Pose())
    rig = Rig(cameras={"front": camera, "rear": camera}, lidars={"lidar": Lidar(pose=Pose())})
    images, faults = photos(
        tmp_path / "bag",
        (colours(), "bgr8", {}),
        info={"width": 40},
        rig=rig,
        topics={"front": "/cam/image_raw"},
    )
    assert [i.header.sensor_id for i in images] == ["front"]
    assert faults == []
    with RosBag(tmp_path / "bag", rig=rig, topics={"front": "/cam/image_raw"}) as recording:
        assert recording.rig == Rig(cameras={"front": camera}, lidars=rig.lidars)
    with pytest.raises(LogError, match="/points would be lidar 'roof', which the rig does not hold"):
        RosBag(tmp_path / "bag", rig=rig, topics={"roof": "/points"})


def test_topics_that_are_not_there(tmp_path):
    with Bag(tmp_path / "bag") as bag:
        bag.cloud("/velodyne_points", points())
        bag.calibrate("/cam/camera_info")
        bag.image("/cam/image_raw", colours(), "rgb8")
    path = tmp_path / "bag"
    with pytest.raises(
        LogError, match=r"no topic /velodyne_point; did you mean /velodyne_points\? there are: "
    ):
        RosBag(path, topics={"lidar": "/velodyne_point"})
    with pytest.raises(LogError, match="/cam/camera_info holds sensor_msgs/msg/CameraInfo; sensors are"):
        RosBag(path, topics={"camera": "/cam/camera_info"})
    with pytest.raises(LogError, match="no frame 'base'; the transforms name: none"):
        RosBag(path, base="base")
    with pytest.raises(LogError, match="no static transform joins its frame 'optical' to 'velodyne'"):
        RosBag(path, topics={"camera": "/cam/image_raw"})
    with RosBag(path) as recording:  # the lidar alone can be used
        assert recording.rig.modalities() == {"lidar": "lidar"}
        assert len(list(recording)) == 1
        assert "no static transform joins its frame 'optical'" in recording.errors[0]


@pytest.mark.parametrize("version", [1, 2])
def test_bags_that_are_cut_off(tmp_path, version):
    """At every length: what can be read is, or an error of ours says what is wrong."""
    path = tmp_path / ("drive.bag" if version == 1 else "drive")
    with Bag(path, version) as bag:
        drive(bag)
    file = path if version == 1 else next(path.glob("*.db3"))
    whole = file.read_bytes()
    failed = 0
    for size in np.linspace(0, len(whole) - 1, 25).astype(int).tolist():
        file.write_bytes(whole[:size])
        try:
            with RosBag(path) as recording:
                n = len(list(recording))
                assert n == 14 or recording.errors
        except FusionError as error:
            failed += str(path) in str(error)
    assert failed > 5


def test_bags_with_damaged_bytes(tmp_path):
    with Bag(tmp_path / "drive") as bag:
        drive(bag)
    file = next((tmp_path / "drive").glob("*.db3"))
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(30):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 200):
            data[at] = rng.integers(0, 256)
        file.write_bytes(data)
        with suppress(FusionError), RosBag(tmp_path / "drive") as recording:
            list(recording)


def test_what_is_no_bag(tmp_path):
    (tmp_path / "a.bag").write_bytes(b"#ROSBAG V1.2\n")
    with pytest.raises(LogError, match=r"a\.bag: not a ROS bag that can be read: Bag version"):
        RosBag(tmp_path / "a.bag")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LogError, match=r"empty: not a ROS bag that can be read: .*metadata"):
        RosBag(tmp_path / "empty")
    with pytest.raises(LogError, match="gone: no such file or folder"):
        RosBag(tmp_path / "gone")


def test_a_log_of_ours_is_no_bag(kitti_log):
    with pytest.raises(LogError, match="Profile is not ros2; was it recorded by others than ROS"):
        RosBag(kitti_log)


def contents(path):
    with logs.open(path) as log:
        packets = list(log)
        assert not log.recovered
        return log.rig, [(p, [a.tobytes() for a in _arrays(p)]) for p in packets]


def _arrays(packet):
    names = {"points": ("xyz", "intensity", "t", "ring"), "image": ("data",)}
    return [getattr(packet, n) for n in names.get(type(packet).__struct_config__.tag, ())]


def same(a, b):
    assert [p.header for p, _ in a] == [p.header for p, _ in b]
    assert [d for _, d in a] == [d for _, d in b]


@pytest.fixture(scope="session")
def kitti_log(kitti_sequence, tmp_path_factory):
    """Its first 1.5 s: 15 images and sweeps."""
    path = tmp_path_factory.mktemp("logs") / "kitti.mcap"
    drive = KittiDrive(kitti_sequence)
    with LogWriter(path, drive.rig) as log:
        for packet in islice(drive, 30):
            log.write(packet)
    return path


@pytest.mark.parametrize(
    ("to", "storage"), [("rosbag1", "sqlite3"), ("rosbag2", "sqlite3"), ("rosbag2", "mcap")]
)
def test_a_real_drive_through_a_bag_is_the_same(kitti_log, tmp_path, to, storage):
    bag, again = tmp_path / ("a.bag" if to == "rosbag1" else "a"), tmp_path / "again.mcap"
    exported = export(kitti_log, to, bag, Options(storage=storage))
    assert exported.counts == {"camera": 15, "lidar": 15}
    with RosBag(bag) as recording:
        import_recording(recording, again)
        assert recording.errors == []
    assert again.read_bytes() == kitti_log.read_bytes()  # and so is every prediction from it


def test_a_real_drive_whose_rig_comes_from_its_transforms(kitti_log, tmp_path):
    """Without our exact rig beside them, as in anyone's bag: the predictions agree."""
    export(kitti_log, "rosbag2", tmp_path / "bag")
    with RosBag(tmp_path / "bag", base="base_footprint") as recording:
        import_recording(recording, tmp_path / "again.mcap")
    rig, packets = contents(kitti_log)
    found, again = contents(tmp_path / "again.mcap")
    same(packets, again)
    for name in ("cameras", "lidars"):
        ((ours, theirs),) = zip(getattr(rig, name).values(), getattr(found, name).values())
        np.testing.assert_allclose(theirs.pose.matrix, ours.pose.matrix, atol=1e-12)
    np.testing.assert_array_equal(found.cameras["camera"].intrinsics, rig.cameras["camera"].intrinsics)
    before, after = (
        [
            [(o.track_id, o.label, np.round(o.center, 2).tolist()) for o in p.objects]
            for p in offline.predictions(path, PipelineConfig())
        ]
        for path in (kitti_log, tmp_path / "again.mcap")
    )
    assert sum(map(len, before)) > 20
    assert after == before


def test_the_bundled_drive_through_a_bag(tmp_path):
    """With GNSS and IMU: nothing is lost but the number of satellites."""
    from fusion_rt.scenario import locate

    log = locate("bundled:drive.mcap")
    exported = export(log, "rosbag2", tmp_path / "bag")
    with RosBag(tmp_path / "bag") as recording:
        import_recording(recording, tmp_path / "again.mcap")
        assert OWN_RIG in recording._reader.types
    rig, packets = contents(log)
    found, again = contents(tmp_path / "again.mcap")
    assert sum(exported.counts.values()) == len(packets)
    assert found == rig
    same(packets, again)
    for (a, _), (b, _) in zip(packets, again):
        if isinstance(a, GnssFix):
            assert (b.latitude_deg, b.longitude_deg, b.altitude_m) == (
                a.latitude_deg,
                a.longitude_deg,
                a.altitude_m,
            )
            assert b.position_covariance == a.position_covariance
            assert b.velocity_enu == a.velocity_enu
        elif isinstance(a, ImuSample):
            assert (b.specific_force, b.angular_rate) == (a.specific_force, a.angular_rate)


def test_nothing_is_overwritten(kitti_log, tmp_path):
    (tmp_path / "there").touch()
    for to in ("rosbag1", "rosbag2", "pcd", "kitti", "mcap"):
        with pytest.raises(LogError, match="is there already; nothing is overwritten"):
            export(kitti_log, to, tmp_path / "there")
