"""Recordings of a home: its plan, its packets, its scenes and its truth."""

import msgspec
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap_protobuf.decoder import DecoderFactory

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter, json_form
from fusion_rt.logs.checking import check
from fusion_rt.logs.comparing import diff
from fusion_rt.logs.cutting import cut
from fusion_rt.logs.exporting import export
from fusion_rt.logs.merging import merge
from fusion_rt.logs.repairing import repair
from fusion_rt.messages import HomeReading, RadarPoints, Sight
from fusion_rt.rig import Rig


@pytest.fixture
def at_home(make):
    """Packets of a home at five moments, numbered by them."""
    kinds = [p for p in make.packets() if p.header.sensor_id in ("radar", "hall_camera", "ear", "hall")]
    first = {p.header.sensor_id: p for p in reversed(kinds)}
    return [
        msgspec.structs.replace(
            packet, header=msgspec.structs.replace(packet.header, seq=i, stamp_ns=make.START_NS + i * 10**8)
        )
        for i in range(5)
        for packet in first.values()
    ]


@pytest.fixture
def recording(tmp_path, plan, make, at_home):
    path = tmp_path / "home.mcap"
    with LogWriter(path, plan=plan) as log:
        for packet in at_home:
            log.write(packet)
        log.write(make.scene())
        log.write(make.truth())
    return path


def read(path):
    with logs.open(path) as log:
        return log.plan, list(log), list(log.scenes()), list(log.truths()), list(log.predictions())


def packed(messages):
    return [json_form.encode(m) if not isinstance(m, RadarPoints) else m.xyz.tobytes() for m in messages]


def test_the_plan_the_scenes_and_the_truth_come_back(recording, plan, make, at_home):
    plan_back, packets, scenes, truths, predictions = read(recording)
    assert plan_back == plan
    assert plan_back.to_yaml() == plan.to_yaml()
    assert type(plan).from_yaml(plan.to_yaml()) == plan
    assert (scenes, truths, predictions) == ([make.scene()], [make.truth()], [])
    assert packed(packets) == packed(at_home)
    with logs.open(recording) as log:
        assert log.rig == Rig()
        assert log.modalities() == plan.modalities()
        assert log.topics["/scene"].schema == "fusion_rt.scene"
        assert log.topics["/truth"].schema == "fusion_rt.home_truth"


def test_a_viewer_sees_the_radars_points_and_where_it_hangs(recording, make):
    with recording.open("rb") as file:
        reader = make_reader(file, decoder_factories=[DecoderFactory()])
        clouds = [m for _, _, _, m in reader.iter_decoded_messages(topics=["/radar"])]
        (transforms,) = [m for _, _, _, m in reader.iter_decoded_messages(topics=["/tf"])]
    cloud = clouds[0]
    assert cloud.frame_id == "radar"
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "velocity", "snr"]
    points = np.frombuffer(cloud.data, "<f4").reshape(-1, cloud.point_stride // 4)
    np.testing.assert_array_equal(points[:, :3], np.arange(9).reshape(3, 3))
    np.testing.assert_array_equal(points[:, 3], np.array([-0.5, np.nan, 1e-40], np.float32))
    placed = {t.child_frame_id: t for t in transforms.transforms}
    assert placed["radar"].parent_frame_id == "home"
    assert placed["radar"].translation.z == 1.5


def test_the_tools_keep_the_plan(recording, tmp_path, plan, make):
    assert check(recording).problems == []
    half, rest = tmp_path / "half.mcap", tmp_path / "rest.mcap"
    middle = make.START_NS + 2 * 10**8
    with logs.open(recording) as log:
        cut(log, half, end_ns=middle)
        cut(log, rest, start_ns=middle)
    with logs.open(half) as a, logs.open(rest) as b:
        merge([a, b], tmp_path / "whole.mcap")
    assert read(tmp_path / "whole.mcap")[0] == plan
    assert packed(read(tmp_path / "whole.mcap")[1]) == packed(read(recording)[1])
    repair(recording, tmp_path / "repaired.mcap")
    export(recording, "mcap", tmp_path / "again.mcap")
    for copy in ("repaired.mcap", "again.mcap"):
        assert read(tmp_path / copy)[0] == plan
        assert packed(read(tmp_path / copy)[1]) == packed(read(recording)[1])
        assert read(tmp_path / copy)[2:4] == ([make.scene()], [make.truth()])


def test_a_difference_of_plans_is_found_and_refused(recording, tmp_path, plan):
    other = tmp_path / "other.mcap"
    moved = msgspec.structs.replace(plan, site="elsewhere")
    with LogWriter(other, plan=moved):
        pass
    found = diff(recording, other)
    assert (found.where, found.field) == ("plan", "site")
    with logs.open(recording) as a, logs.open(other) as b, pytest.raises(LogError, match="different homes"):
        merge([a, b], tmp_path / "both.mcap")


def test_sensors_side_by_side_can_be_renamed(recording, tmp_path, plan, make):
    with logs.open(recording) as log:
        merge([log], tmp_path / "renamed.mcap", rename=[{"radar": "hall_radar", "front_door": "door"}])
    renamed, packets, *_ = read(tmp_path / "renamed.mcap")
    assert renamed.doors["front"].contact == "door"
    assert renamed.sensors["hall_radar"] == plan.sensors["radar"]
    assert {p.header.sensor_id for p in packets if isinstance(p, RadarPoints)} == {"hall_radar"}


def test_a_damaged_plan_is_named(recording, tmp_path):
    data = recording.read_bytes()
    assert data.count(b'"site":"small"') == 1
    (tmp_path / "bad.mcap").write_bytes(data.replace(b'"site":"small"', b'"site":"smaLl"'))
    problems = check(tmp_path / "bad.mcap").problems
    assert any("fusion_rt.plan is damaged" in problem.what for problem in problems)


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"sight","boxes":[[1,2]],"scores":[],"keypoints":[]}',
        b'{"type":"sight","scores":[]}',
        b'{"type":"sight","boxes":{"a":1},"scores":[],"keypoints":[]}',
        b'{"type":"sight","boxes":[["x",1,2,3]],"scores":[1],"keypoints":[]}',
        b'{"type":"sound","embedding":null}',
        b'{"type":"nothing"}',
        b"[]",
    ],
)
def test_arrays_that_are_none_are_damage(data):
    with pytest.raises(LogError, match="damaged"):
        json_form.decode(data)


def test_arrays_are_lists_that_people_can_read(make):
    sights = [p for p in make.packets() if isinstance(p, Sight) and len(p.scores) and p.scores[0] < 1]
    (sight,) = sights
    plain = msgspec.json.decode(json_form.encode(sight))
    assert np.array(plain["boxes"]).shape == (2, 4)
    assert "exact" not in plain
    unavailable = next(p for p in make.packets() if isinstance(p, HomeReading))
    assert msgspec.json.decode(json_form.encode(unavailable))["value"] is None
