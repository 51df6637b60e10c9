"""The runtime's kernels and engines against the reference network in torch, and what it is robust to."""

import shutil

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt.device import CpuDevice
from fusion_rt.errors import EngineError, MessageError
from fusion_rt.images import decode_image, feature_intrinsics, network_intrinsics
from fusion_rt.models.package import ModelPackage
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View
from fusion_rt.rig import Camera, Pose
from fusion_rt.transforms import inverse

MOTION = (5.0, 0.1, -1.0)
# The ego frame of the previous scene in the present one: half a metre back, a little turned.
T_NOW_PREVIOUS = np.eye(4)
T_NOW_PREVIOUS[:2, :2] = [[np.cos(0.01), np.sin(0.01)], [-np.sin(0.01), np.cos(0.01)]]
T_NOW_PREVIOUS[0, 3] = -0.5


@pytest.fixture(scope="module")
def perception(model_package):
    return Perception(model_package, CpuDevice(2))


@pytest.fixture
def sweep_of(rig):
    def convert(cloud):
        T = rig.lidars["lidar"].T_ego_lidar[None, :3].astype(np.float32)
        return [Sweep(cloud, np.zeros(1, np.float32), np.ascontiguousarray(T))]

    return convert


@pytest.fixture
def view_of(perception, rig):
    def convert(image):
        camera = rig.cameras["camera"]
        return [View(perception.see(image, camera), camera.T_camera_ego)]

    return convert


def motion(memory):
    T = inverse(T_NOW_PREVIOUS)[:2][:, [0, 1, 3]]
    return Motion(
        known=True,
        speed=MOTION[0],
        yaw_rate=MOTION[1],
        acceleration=MOTION[2],
        T_prev_now=np.ascontiguousarray(T, np.float32) if memory else None,
        since_prev_s=0.1 if memory else 0.0,
    )


@pytest.mark.parametrize(
    ("lidar", "camera", "memory"),
    [(True, True, True), (True, True, False), (True, False, True), (False, True, False)],
)
def test_it_finds_what_the_trained_network_finds(
    perception, random_net, street, as_scene, sweep_of, view_of, lidar, camera, memory
):
    from fusion_rt.train.predict import predict
    from fusion_rt.train.samples import Use, collate, make_sample

    now, previous = street(), street(x_m=-0.5)
    use = Use(lidar=lidar, camera=camera, memory=memory)
    scene = as_scene(previous, now, T_NOW_PREVIOUS, MOTION)
    batch = collate([make_sample(scene, use, random_net.preset, None)], random_net.preset)
    (expected,) = predict(random_net, batch)

    def detect(moment, m):
        cloud, image = moment
        return perception.detect(sweep_of(cloud) if lidar else [], view_of(image) if camera else [], m)

    if memory:
        detect(previous, motion(False))
    got = detect(now, motion(memory)).detections

    assert len(expected.rows) > 15
    scores = got.scores[np.arange(len(got.labels)), got.labels]
    rows = np.column_stack([got.boxes, got.velocity, scores, got.labels, got.std])
    # Each box of either list that is not at an edge of a decision (peak, overlap) is in the other.
    for mine, others in ((rows, expected.rows), (expected.rows, rows)):
        distance = np.abs(mine[:, None, :9] - others[None, :, :9]).max(2) + (
            mine[:, None, 10] != others[None, :, 10]
        )
        nearest = distance.argmin(1)
        found = distance.min(1) < 0.01
        assert found.mean() > 0.95
        assert found[mine[:, 9] > 0.3].all()
        np.testing.assert_allclose(mine[found, 9], others[nearest[found], 9], atol=2e-3)
        np.testing.assert_allclose(mine[found, 11:], others[nearest[found], 11:], rtol=0.01)
    assert np.all(np.diff(scores) <= 0)
    assert (got.velocity_known == memory).all()
    strong = min(5, len(rows), len(expected.rows))
    np.testing.assert_allclose(got.contributions[:strong], expected.contribution[:strong], atol=2e-3)
    assert np.all(got.contributions[:, [not lidar, not camera, not memory]] == 0)


def test_what_was_found_outlives_the_next_answer(perception, street, sweep_of):
    first = perception.detect(sweep_of(street()[0]), [], Motion()).detections
    before = {f: getattr(first, f).copy() for f in ("boxes", "velocity", "scores", "std", "contributions")}
    perception.detect(sweep_of(street(x_m=3.0)[0]), [], Motion())
    for field, values in before.items():
        np.testing.assert_array_equal(getattr(first, field), values)


def test_the_same_again(perception, street, sweep_of, view_of):
    cloud, image = street()
    one, two = (perception.detect(sweep_of(cloud), view_of(image), Motion()) for _ in range(2))
    np.testing.assert_array_equal(one.detections.boxes, two.detections.boxes)
    np.testing.assert_array_equal(one.detections.scores, two.detections.scores)


def test_an_image_in_step_is_lifted_when_it_comes(perception, rig, street, sweep_of):
    """After an answer for its image's own time the next image is lifted at once; that it was foreseen, or
    foreseen wrongly, does not change an answer."""
    camera, moved = rig.cameras["camera"], np.eye(4)
    moved[0, 3] = 0.7
    (cloud, image), (_, other) = street(), street(x_m=3.0)
    lifts: list[str] = []
    perception._lap = lifts.append

    def answers(*asked):
        """How often features were lifted, and the last answer's canvas; each: image, T_then_now."""
        lifts.clear()
        for shown, T_then_now in asked:
            perception.detect(
                sweep_of(cloud),
                [View(perception.see(shown, camera), camera.T_camera_ego @ T_then_now)],
                Motion(),
            )
        return lifts.count("lift"), perception._bev.inputs["camera_bev"].copy()

    still = np.eye(4)
    answers((other, moved))
    times, surprised = answers((image, still))
    assert times == 1
    assert answers((other, still), (image, still))[0] == 2
    lifts.clear()
    features = perception.see(image, camera)
    assert lifts[-1] == "lift"
    lifts.clear()
    perception.detect(sweep_of(cloud), [View(features, camera.T_camera_ego)], Motion())
    assert "lift" not in lifts
    np.testing.assert_array_equal(perception._bev.inputs["camera_bev"], surprised)
    times, foreseen_wrongly = answers((image, moved))
    assert times == 2
    assert answers((image, moved))[0] == 1
    np.testing.assert_array_equal(perception._bev.inputs["camera_bev"], foreseen_wrongly)
    assert np.abs(foreseen_wrongly - surprised).max() > 0
    perception.detect(sweep_of(cloud), [], Motion())
    assert not perception._bev.inputs["camera_bev"].any()


def test_points_that_are_left_out_are_counted(perception, street, sweep_of):
    cloud = street()[0]
    hostile = np.array(
        [[np.nan, 0, 0], [np.inf, 5, 0], [500, 0, 0], [10, 0, 50], [1e30, -1e30, 0]], np.float32
    )
    n = len(hostile)
    worse = replace(
        cloud,
        xyz=np.concatenate([cloud.xyz, hostile]),
        intensity=np.concatenate([cloud.intensity, np.ones(n, np.float32)]),
        t=np.concatenate([cloud.t, np.full(n, np.nan, np.float32)]),
        ring=np.zeros(len(cloud.xyz) + n, np.uint16),
    )
    good, bad = (perception.detect(sweep_of(c), [], Motion()) for c in (cloud, worse))
    assert (good.points_in, good.points_dropped) == (len(cloud.xyz), {})
    assert bad.points_in == len(cloud.xyz) + n
    assert bad.points_dropped == {"not_finite": 2, "outside": 3}
    np.testing.assert_array_equal(bad.detections.boxes, good.detections.boxes)


def test_columns_of_a_wider_array_are_welcome(perception, street, sweep_of):
    cloud = street()[0]
    wide = np.column_stack([cloud.xyz, cloud.intensity, cloud.t]).astype(np.float32)
    views = replace(cloud, xyz=wide[:, :3], intensity=wide[:, 3], t=wide[:, 4])
    one, two = (perception.detect(sweep_of(c), [], Motion()) for c in (cloud, views))
    np.testing.assert_array_equal(one.detections.boxes, two.detections.boxes)


def test_two_sweeps_are_one_cloud(perception, street, sweep_of):
    cloud = street()[0]
    halves = [
        replace(cloud, xyz=cloud.xyz[s], intensity=cloud.intensity[s], t=cloud.t[s], ring=cloud.ring[s])
        for s in (slice(0, 2000), slice(2000, None))
    ]
    one = perception.detect(sweep_of(cloud), [], Motion())
    two = perception.detect([s for half in halves for s in sweep_of(half)], [], Motion())
    assert two.points_in == one.points_in
    np.testing.assert_array_equal(one.detections.boxes, two.detections.boxes)


def test_more_points_than_ever_before(model_package, street, sweep_of):
    perception, cloud = Perception(model_package, CpuDevice(1)), street()[0]
    many = 40
    dense = replace(
        cloud,
        xyz=np.tile(cloud.xyz, (many, 1)),
        intensity=np.tile(cloud.intensity, many),
        t=np.tile(cloud.t, many),
        ring=np.tile(cloud.ring, many),
    )
    assert perception.detect(sweep_of(dense), [], Motion()).points_in == many * len(cloud.xyz) > 1 << 17


def test_an_empty_sweep(perception, street, sweep_of):
    cloud = street()[0]
    empty = replace(
        cloud, xyz=cloud.xyz[:0], intensity=cloud.intensity[:0], t=cloud.t[:0], ring=cloud.ring[:0]
    )
    perceived = perception.detect(sweep_of(empty), [], Motion())
    assert (perceived.points_in, perceived.points_dropped) == (0, {})


@pytest.mark.parametrize("encoding", ["bgr8", "rgb8", "mono8", "png"])
def test_images_of_every_encoding_decode_to_the_same(street, encoding):
    grey = np.repeat(street()[1].data[:, :, :1], 3, axis=2)
    data = {
        "bgr8": grey,
        "rgb8": grey,
        "mono8": np.ascontiguousarray(grey[:, :, 0]),
        "png": cv2.imencode(".png", grey)[1].reshape(-1),
    }[encoding]
    np.testing.assert_array_equal(decode_image(replace(street()[1], encoding=encoding, data=data)), grey)


def test_colours_keep_their_order(perception, street, rig):
    image = street()[1]
    swapped = replace(image, encoding="rgb8", data=np.ascontiguousarray(image.data[:, :, ::-1]))
    png = replace(image, encoding="png", data=cv2.imencode(".png", image.data)[1].reshape(-1))
    cut = replace(image, data=np.dstack([image.data, image.data])[:, :, :3])  # not contiguous
    first = perception.see(image, rig.cameras["camera"]).features
    for other in (swapped, png, cut):
        np.testing.assert_array_equal(perception.see(other, rig.cameras["camera"]).features, first)


def test_how_to_hold_the_picture_is_ignored(street):
    """EXIF orientation 6 asks viewers for a quarter turn; the rig knows nothing of it."""
    jpeg = cv2.imencode(".jpg", street()[1].data)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + b"\0\0\0\0"
    exif = b"Exif\0\0" + tiff
    turned = jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (960, 288, 3)
    image = replace(street()[1], encoding="jpeg", data=np.frombuffer(turned, np.uint8))
    assert decode_image(image).shape == (288, 960, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not decode as jpeg"),
        (b"\xff\xd8\xff\xe0 no image", r"does not decode as jpeg \(13 bytes\)"),
    ],
)
def test_a_damaged_image_is_refused(street, data, message):
    with pytest.raises(MessageError, match=message):
        decode_image(replace(street()[1], encoding="jpeg", data=np.frombuffer(data, np.uint8)))


def test_an_image_of_another_size_is_refused(perception, street, rig):
    image = street()[1]
    half = replace(image, height=144, width=480, data=np.ascontiguousarray(image.data[::2, ::2]))
    with pytest.raises(MessageError, match="image 480x144, the rig says 960x288"):
        perception.see(half, rig.cameras["camera"])
    liar = replace(image, encoding="png", data=cv2.imencode(".png", half.data)[1].reshape(-1))
    with pytest.raises(MessageError, match="decodes to 480x144, its packet says 960x288"):
        perception.see(liar, rig.cameras["camera"])


def test_a_model_file_of_another_precision_is_refused(model_package, tmp_path):
    parts = {part: f"{part}.int8.onnx" for part in ("camera", "bev", "refine")}
    for part, name in parts.items():
        shutil.copy(model_package.path(part, "f32"), tmp_path / name)
    spec = replace(model_package.spec, precisions={"int8": parts}, precision="int8")
    with pytest.raises(EngineError, match="holds f32 layers, int8 was asked for"):
        Perception(ModelPackage(tmp_path, spec, model_package.pillars, model_package.points), CpuDevice(1))


def test_a_package_with_another_second_look_is_refused(model_package):
    refine = model_package.spec.tensors["refine"]
    earlier = replace(refine, inputs={"roi": (128, 160), "camera_roi": (128, 160)})
    spec = replace(model_package.spec, tensors=model_package.spec.tensors | {"refine": earlier})
    with pytest.raises(EngineError, match=r"given roi, camera_roi; from here it is roi, view, box, points\."):
        Perception(
            ModelPackage(model_package.folder, spec, model_package.pillars, model_package.points),
            CpuDevice(1),
        )


@pytest.mark.parametrize(
    ("size", "cy", "expected_cy"),
    [
        ((640, 192), 89.1, 89.1),  # the network's own size: untouched
        ((1280, 720), 360.0, 96.0),  # 16:9: the horizon comes to the middle, rows above and below go
        ((1280, 720), 690.0, 345.0 - 168.0),  # it cannot lose more rows than there are
        ((1280, 720), 100.0, 50.0),  # a high horizon stays where it is
        ((1242, 375), 172.9, 172.9 * 640 / 1242),  # KITTI: hardly a row to spare
    ],
)
def test_the_network_s_image(size, cy, expected_cy):
    width, height = size
    camera = Camera(
        width=width, height=height, K=((700.0, 0, width / 2), (0, 710.0, cy), (0, 0, 1)), pose=Pose()
    )
    K = network_intrinsics(camera.intrinsics, size, (640, 192))
    scale = 640 / width
    assert K[0, 0] == pytest.approx(700 * scale)
    assert K[1, 1] == pytest.approx(710 * scale)
    assert K[:2, 2] == pytest.approx((320, expected_cy))
    assert K[2].tolist() == [0, 0, 1]


@pytest.mark.parametrize("zoom", [0.5, 1.0, 3.0])
def test_a_camera_tells_depths_as_one_of_the_known_focal_length_would(zoom):
    """What looks as large is told as far away; where it is seen does not change."""
    K = np.array([[400.0 * zoom, 0, 320], [0, 410 * zoom, 96], [0, 0, 1]])
    seen = np.array([3.0, -1.0, 30.0])
    own, told = feature_intrinsics(K, 4) @ seen, feature_intrinsics(K, 4, focal_px=410.0) @ seen
    assert told[:2] / told[2] == pytest.approx(own[:2] / own[2])
    assert own[:2] / own[2] == pytest.approx((K @ seen)[:2] / 30 / 4)
    assert own[2] == 30
    assert told[2] == pytest.approx(30 / zoom)
    mirrored = feature_intrinsics(np.diag([-1.0, 1, 1]) @ K, 4, focal_px=410.0) @ seen
    assert mirrored[2] == pytest.approx(30 / zoom)


def test_velocities_are_not_used_where_the_model_cannot_measure_them(model_package, street, sweep_of):
    spec = replace(model_package.spec, measures_velocity=False)
    package = ModelPackage(model_package.folder, spec, model_package.pillars, model_package.points)
    modest = Perception(package, CpuDevice(1))
    modest.detect(sweep_of(street()[0]), [], motion(False))
    assert not modest.detect(sweep_of(street()[0]), [], motion(True)).detections.velocity_known.any()


def test_explaining_leaves_the_next_answer_as_it_would_be(model_package, street, sweep_of, rig):
    def answers(explained):
        perception = Perception(model_package, CpuDevice(1))
        camera = rig.cameras["camera"]
        for k, x_m in enumerate((-0.5, 0.0)):
            cloud, image = street(x_m=x_m)
            view = View(perception.see(image, camera), camera.T_camera_ego)
            found = perception.detect(sweep_of(cloud), [view], motion(k > 0)).detections
            seen = perception.explain() if explained else None
        return found, seen

    (plain, _), (found, seen) = answers(False), answers(True)
    np.testing.assert_array_equal(plain.boxes, found.boxes)
    np.testing.assert_array_equal(plain.scores, found.scores)
    assert seen.rows.shape[1] == 16
    assert len(seen.rows) == len(seen.shares) == len(seen.drops) > 5
    np.testing.assert_allclose(seen.shares.sum(1), 1, atol=1e-3)
    assert (np.abs(seen.drops).max(0) > 1e-3).all()  # each of the three matters to something


def test_what_was_not_there_explains_nothing(perception, street, sweep_of):
    perception.detect(sweep_of(street()[0]), [], Motion())
    seen = perception.explain()
    np.testing.assert_array_equal(seen.shares[:, 1:], 0)
    assert np.abs(seen.drops[:, 0]).max() > 1e-3
