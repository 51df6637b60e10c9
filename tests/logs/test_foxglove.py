"""The official readers open our recordings: mcap, and protobuf messages from the schemas in the file."""

import json

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from fusion_rt.errors import LogError, MessageError
from fusion_rt.logs import LogWriter, foxglove
from fusion_rt.transforms import transform_points


@pytest.fixture
def opened(tmp_path, rig, make):
    """Topic -> [(schema name, decoded message, log time)], read by the format's own library."""
    path = tmp_path / "a.mcap"
    with LogWriter(path, rig) as log:
        for message in [*make.packets(), make.prediction()]:
            log.write(message)
    found = {}
    with path.open("rb") as file:
        reader = make_reader(file, validate_crcs=True)
        decoder = DecoderFactory()
        for schema, channel, message in reader.iter_messages():
            decode = decoder.decoder_for(channel.message_encoding, schema) or json.loads
            found.setdefault(channel.topic, []).append((schema.name, decode(message.data), message.log_time))
    return found


def test_stamps(opened, make):
    assert {time for messages in opened.values() for _, _, time in messages} == {make.START_NS}
    (_, fix, _), *_ = opened["/gnss"]
    assert fix.timestamp.seconds * 10**9 + fix.timestamp.nanos == make.START_NS


def test_raw_images(opened, make):
    bgr, rgb, mono = (message for name, message, _ in opened["/camera"] if name == "foxglove.RawImage")
    for message, ours in zip((bgr, rgb, mono), make.images()):
        assert (message.width, message.height, message.encoding) == (20, 12, ours.encoding)
        assert message.frame_id == "camera"
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        np.testing.assert_array_equal(rows.reshape(ours.data.shape), ours.data)


def test_compressed_images(opened, make):
    jpeg, png = (m for name, m, _ in opened["/camera"] if name == "foxglove.CompressedImage")
    assert (jpeg.format, png.format) == ("jpeg", "png")
    decoded = cv2.imdecode(np.frombuffer(png.data, np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded, make.images()[0].data)


def test_point_cloud(opened, make):
    name, message, _ = opened["/lidar"][0]
    assert (name, message.frame_id) == ("foxglove.PointCloud", "lidar")
    ours = make.cloud(1000)
    # By the description in the message, as a viewer does. In Foxglove's numbers FLOAT32 is 7, UINT16 is 3.
    kinds = {7: "<f4", 3: "<u2"}
    columns = {}
    for field in message.fields:
        raw = np.frombuffer(message.data, np.uint8).reshape(-1, message.point_stride)
        kind = np.dtype(kinds[field.type])
        columns[field.name] = (
            raw[:, field.offset : field.offset + kind.itemsize].copy().view(kind).reshape(-1)
        )
    np.testing.assert_array_equal(np.stack([columns[a] for a in "xyz"], axis=1), ours.xyz)
    for field in ("intensity", "t", "ring"):
        np.testing.assert_array_equal(columns[field], getattr(ours, field))
    assert message.pose.orientation.w == 1.0


def test_location(opened):
    ((name, fix, _),) = opened["/gnss"]
    assert name == "foxglove.LocationFix"
    assert (fix.latitude, fix.longitude, fix.altitude) == (49.011212804408, -8.4228850417969, 112.8)
    assert list(fix.position_covariance) == [0.25, 0, 0, 0, 0.25, 0, 0, 0, 1.0]
    assert fix.position_covariance_type == 3  # KNOWN


def test_audio(opened):
    ((name, audio, _),) = opened["/microphone"]
    assert (name, audio.format, audio.sample_rate, audio.number_of_channels) == (
        "foxglove.RawAudio",
        "pcm-s16",
        16000,
        1,
    )
    np.testing.assert_array_equal(np.frombuffer(audio.data, "<i2"), np.arange(-300, 300))


def test_json_messages_can_be_read_by_anyone(opened):
    finite, not_finite = (message for _, message, _ in opened["/imu"])
    assert finite["specific_force"] == [0.1, -0.2, 9.81]
    assert "exact" not in finite
    assert not_finite["specific_force"] == [None, None, None]
    assert opened["/prediction"][0][1]["objects"][0]["label"] == "car"


def test_ego_pose(opened):
    ((name, pose, _),) = opened["/ego/pose"]
    assert (name, pose.frame_id) == ("foxglove.PoseInFrame", "map")
    assert (pose.pose.position.x, pose.pose.position.y, pose.pose.position.z) == (100.0, 200.0, 3.0)
    assert (pose.pose.orientation.z, pose.pose.orientation.w) == (0.6, 0.8)


def test_scene_entities(opened):
    ((name, scene, _),) = opened["/prediction/scene"]
    assert name == "foxglove.SceneUpdate"
    (entity,) = scene.entities
    assert (entity.id, entity.frame_id) == ("7", "ego")
    (cube,) = entity.cubes
    assert (cube.pose.position.x, cube.pose.position.y, cube.pose.position.z) == (10.0, -2.0, 0.8)
    assert (cube.size.x, cube.size.y, cube.size.z) == (4.2, 1.8, 1.6)
    np.testing.assert_allclose(2 * np.arctan2(cube.pose.orientation.z, cube.pose.orientation.w), 0.5)
    (arrow,) = entity.arrows
    np.testing.assert_allclose(arrow.shaft_length, 5.0)
    heading = 2 * np.arctan2(arrow.pose.orientation.z, arrow.pose.orientation.w)
    np.testing.assert_allclose(heading, np.arctan2(4.0, 3.0))
    assert entity.texts[0].text == "car 7 5.0 m/s"
    assert [(p.x, p.y) for p in entity.lines[0].points] == [(10.0, -2.0), (11.5, 0.0), (13.0, 2.0)]


def test_transforms_and_calibration_place_the_sensors(opened, rig):
    (_, first, _), (_, of_ego, _) = opened["/tf"]
    placed = {t.child_frame_id: t for t in first.transforms}
    assert set(placed) == {"camera", "lidar", "imu"}
    assert [t.parent_frame_id for t in of_ego.transforms] == ["map"]
    camera = placed["camera"]
    q = camera.rotation
    # A point one metre along the optical axis, moved by the quaternion as its definition says.
    axis, w, point = np.array([q.x, q.y, q.z]), q.w, np.array([0.0, 0.0, 1.0])
    turned = point + 2 * np.cross(axis, np.cross(axis, point) + w * point)
    translation = np.array([camera.translation.x, camera.translation.y, camera.translation.z])
    expected = transform_points(rig.cameras["camera"].pose.matrix, point[None])[0]
    np.testing.assert_allclose(turned + translation, expected, atol=1e-12)
    np.testing.assert_allclose(expected, [1.3, 0.1, 1.6], atol=1e-12)  # it looks forward
    ((_, calibration, _),) = opened["/camera/calibration"]
    assert (calibration.width, calibration.height, calibration.frame_id) == (20, 12, "camera")
    assert list(calibration.K) == [15.0, 0, 10, 0, 15, 6, 0, 0, 1]
    assert list(calibration.P) == [15.0, 0, 10, 0, 0, 15, 6, 0, 0, 0, 1, 0]
    assert list(calibration.D) == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_a_cut_message_is_damaged_or_not_ours(make):
    for packet in make.packets():
        if foxglove.schema(packet) is None:
            continue
        name, data = foxglove.schema(packet).DESCRIPTOR.full_name, foxglove.encode(packet)
        for size in np.linspace(0, len(data) - 1, 60).astype(int).tolist():
            try:
                assert foxglove.decode(name, data[:size]) is None
            except (LogError, MessageError):
                continue


def test_points_that_are_no_whole_number_are_damaged(make):
    data = foxglove.encode(make.cloud(3))
    message = foxglove.schema(make.cloud(3))()
    message.ParseFromString(data)
    message.data = message.data[:-1]
    with pytest.raises(LogError, match=r"foxglove\.PointCloud message is damaged"):
        foxglove.decode("foxglove.PointCloud", message.SerializeToString())
