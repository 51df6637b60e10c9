"""Logs checked, repaired, cut, merged and compared."""

import struct

import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer
from msgspec.structs import replace

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter
from fusion_rt.logs.checking import check
from fusion_rt.logs.comparing import diff
from fusion_rt.logs.cutting import cut
from fusion_rt.logs.losses import Loss
from fusion_rt.logs.merging import merge
from fusion_rt.logs.repairing import repair
from fusion_rt.messages import pack
from fusion_rt.rig import Imu, Lidar, Pose, Rig

STEP_NS = 10_000_000


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr("fusion_rt.logs.mcap_writer.CHUNK_BYTES", 4096)


@pytest.fixture
def write(tmp_path, rig, make, small_chunks):
    """name -> a log: IMU samples with these numbers, a sweep every ten."""

    def go(name, seqs, *, losses=(), ended=True, rig=rig):
        path = tmp_path / name
        with LogWriter(path, rig) as log:
            for seq in seqs:
                log.write(make.imu(seq, seq * STEP_NS))
                if seq % 10 == 0:
                    log.write(make.cloud(50, seq // 10, seq * STEP_NS))
            log.report(list(losses))
            if ended:
                log.end_report()
        return path

    return go


def lost(first, last, cause="buffer", topic="/imu"):
    return Loss(topic=topic, cause=cause, messages=last - first + 1, first=first, last=last)


def packets(path):
    with logs.open(path) as log:
        assert log.recovered == ""
        return [(header, *(a.tobytes() for a in arrays)) for header, arrays in map(pack, log)]


def places(path):
    with logs.open(path) as log:
        return log._contents.chunks


# --- check


def test_a_sound_log(write):
    report = check(write("a.mcap", range(200)))
    assert (report.sound, report.problems) == (True, [])
    imu = report.topics["/imu"]
    assert (imu.messages, imu.missing, imu.late, imu.went_back, imu.undecodable) == (200, 0, 0, 0, 0)
    assert report.ended.written == {"imu": 200, "lidar": 20}


def test_gaps_need_an_explanation(write):
    seqs = [*range(5), *range(10, 21), *range(25, 40)]
    report = check(write("a.mcap", seqs, losses=[lost(5, 7), lost(8, 9, "bus")]))
    (problem,) = report.problems
    assert problem.what == "/imu: 4 numbers are missing, unexplained: 21 to 24"
    assert (report.topics["/imu"].missing, report.topics["/imu"].unexplained) == (9, 4)
    assert check(write("b.mcap", seqs, losses=[lost(5, 9), lost(21, 24, "disk")])).sound
    of_another = [lost(5, 9), lost(21, 24, topic="/lidar")]
    assert not check(write("c.mcap", seqs, losses=of_another)).sound


def test_a_sensor_that_begins_anew_is_counted(write):
    topic = check(write("a.mcap", [*range(30), *range(10)])).topics["/imu"]
    assert (topic.went_back, topic.late, topic.missing) == (1, 10, 0)


def test_a_damaged_chunk_is_found_with_its_place_and_messages(write):
    path = write("a.mcap", range(200))
    place = places(path)[3]
    damage(path, place.offset + 200)
    report = check(path)
    assert not report.sound
    problem = next(p for p in report.problems if p.offset == place.offset)
    assert "messages were there" in problem.what
    counted = int(problem.what.split("; ")[1].split()[0])
    assert counted + sum(t.messages for t in report.topics.values()) == 222  # 2 of where the sensors sit


def test_an_index_that_lies(write):
    path = write("a.mcap", range(200))
    data = bytearray(path.read_bytes())
    start = struct.unpack_from("<Q", data, len(data) - 28)[0]
    # The chunk indexes say that all messages are of one time; the summary's checksum is made to agree.
    with logs.open(path) as log:
        first = log._contents.chunks[0]
    at = data.index(struct.pack("<QQQ", *first[:3]), start)
    data[at : at + 8] = struct.pack("<Q", 7)
    import zlib

    data[-12:-8] = struct.pack("<I", zlib.crc32(data[start:-12]))
    path.write_bytes(data)
    assert [p.what for p in check(path).problems] == ["the index describes a chunk that is not there so"]


def test_messages_of_others_and_no_rig(tmp_path):
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        channel = writer.register_channel("/x", "json", writer.register_schema("x", "jsonschema", b"{}"))
        writer.add_message(channel, 1, b"{}", 1)
        writer.finish()
    whats = [p.what for p in check(tmp_path / "a.mcap").problems]
    assert whats == ["holds no rig, or a damaged one", "/x: 1 messages are not ours, or damaged within"]
    (tmp_path / "b.mcap").write_text("no recording")
    with pytest.raises(LogError, match=r"b\.mcap: not an MCAP recording"):
        check(tmp_path / "b.mcap")


# --- repair


def damage(path, *offsets):
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 0xFF
    path.write_bytes(data)


def test_a_torn_log_becomes_whole(write, tmp_path):
    path = write("a.mcap", range(200))
    whole = packets(path)
    path.write_bytes(path.read_bytes()[: places(path)[-2].offset + 50])
    result = repair(path, tmp_path / "whole.mcap")
    (damaged,) = result.damage
    assert damaged.length == 50
    found = packets(tmp_path / "whole.mcap")
    assert found == whole[: len(found)]
    assert len(found) == result.messages > 150
    assert check(tmp_path / "whole.mcap").sound
    with (tmp_path / "whole.mcap").open("rb") as file:
        assert len(list(make_reader(file, validate_crcs=True).iter_messages())) == result.messages + 2
    with pytest.raises(LogError, match="is there already"):
        repair(path, tmp_path / "whole.mcap")


def test_what_a_damaged_chunk_held_is_said_by_number(write, tmp_path):
    path = write("a.mcap", range(200))
    whole = packets(path)
    damage(path, places(path)[3].offset + 200)
    result = repair(path, tmp_path / "whole.mcap")
    losses = [loss for loss in result.losses if loss.topic == "/imu"]
    assert losses[0].cause == "damage"
    assert (
        losses[0].messages
        == losses[0].last - losses[0].first + 1
        == result.damage[0].counts[imu_channel(path)]
    )
    assert check(tmp_path / "whole.mcap").sound  # all that is missing is explained
    found = packets(tmp_path / "whole.mcap")
    assert [p for p in whole if p in found] == found
    assert len(found) == result.messages == 220 - sum(loss.messages for loss in result.losses)


def imu_channel(path):
    with logs.open(path) as log:
        return next(c.id for c in log._contents.channels.values() if c.topic == "/imu")


def test_a_length_that_is_wrong_costs_one_chunk(write, tmp_path):
    """Without an index, and with a record that claims to be of another length: the next chunk is searched."""
    path = write("a.mcap", range(200))
    chunks = places(path)
    damage(path, chunks[3].offset + 2)  # 255 x 256 bytes longer, or shorter
    path.write_bytes(path.read_bytes()[:-30])
    result = repair(path, tmp_path / "whole.mcap")
    assert result.damage[0].offset == chunks[3].offset
    found = [loss for loss in result.losses if loss.topic == "/imu"]
    assert len(found) == 1
    assert len(packets(tmp_path / "whole.mcap")) == 220 - sum(loss.messages for loss in result.losses)


def test_a_damaged_rig_must_be_given(write, tmp_path, rig):
    path = write("a.mcap", range(30))
    path.write_bytes(path.read_bytes().replace(b"1.73", b"1.78"))
    with pytest.raises(LogError, match=r"holds no rig.*--rig"):
        repair(path, tmp_path / "whole.mcap")
    assert not (tmp_path / "whole.mcap").exists()
    repair(path, tmp_path / "whole.mcap", rig=rig)
    assert check(tmp_path / "whole.mcap").sound


# --- cut


def test_a_part(write, tmp_path):
    path = write(
        "a.mcap", range(200), losses=[lost(300, 310), replace(lost(1, 2), start_ns=10**9, end_ns=10**9)]
    )
    with logs.open(path) as log:
        n = cut(log, tmp_path / "b.mcap", start_ns=50 * STEP_NS, end_ns=120 * STEP_NS, without=["lidar"])
    with logs.open(tmp_path / "b.mcap") as part:
        assert [p.header.seq for p in part] == list(range(50, 120))
        assert part.topics["/camera/calibration"].messages == part.topics["/tf"].messages == 1
        assert part.start_ns == 50 * STEP_NS
        assert [loss.first for loss in part.losses] == [1]  # the one of that time
    assert n == 70


def test_predictions_take_along_what_is_drawn_of_them(tmp_path, rig, make):
    with LogWriter(tmp_path / "a.mcap", rig) as log:
        log.write(make.imu(0, make.START_NS))
        log.write(make.prediction())
    with logs.open(tmp_path / "a.mcap") as log:
        cut(log, tmp_path / "with.mcap", topics=["prediction"])
        cut(log, tmp_path / "without.mcap", without=["prediction"])
    with logs.open(tmp_path / "with.mcap") as part:
        assert part.topics.keys() == {
            "/prediction",
            "/prediction/scene",
            "/ego/pose",
            "/tf",
            "/camera/calibration",
        }
        assert part.topics["/tf"].messages == 2
    with logs.open(tmp_path / "without.mcap") as part:
        assert part.topics.keys() == {"/imu", "/tf", "/camera/calibration"}


def test_a_part_of_nothing(write, tmp_path):
    with logs.open(write("a.mcap", range(20))) as log:
        with pytest.raises(LogError, match="no topic 'radar'; there are: imu, lidar"):
            cut(log, tmp_path / "b.mcap", topics=["radar"])
        with pytest.raises(LogError, match="holds nothing of that there"):
            cut(log, tmp_path / "b.mcap", start_ns=10**15)
    assert not (tmp_path / "b.mcap").exists()


# --- merge


def test_parts_of_one_recording(write, tmp_path):
    whole = packets(write("whole.mcap", range(200)))
    with logs.open(write("a.mcap", range(100))) as a, logs.open(write("b.mcap", range(100, 200))) as b:
        n = merge([b, a], tmp_path / "ab.mcap")
    assert packets(tmp_path / "ab.mcap") == whole
    assert n == 220
    assert check(tmp_path / "ab.mcap").sound


def test_two_sensors_of_one_name(write, tmp_path, rig):
    with logs.open(write("a.mcap", range(100))) as a, logs.open(write("b.mcap", range(100))) as b:
        with pytest.raises(LogError, match=r"both have (imu|lidar) at the same time; rename one: --rename"):
            merge([a, b], tmp_path / "ab.mcap")
        names = {"lidar": "rear", "imu": "imu_2", "camera": "c2", "gnss": "g2"}
        merge([a, b], tmp_path / "ab.mcap", rename=[{}, names])
    with logs.open(tmp_path / "ab.mcap") as log:
        rear = [p for p in log if p.header.sensor_id == "rear"]
        front = [p for p in log if p.header.sensor_id == "lidar"]
        assert log.rig.lidars["rear"] == rig.lidars["lidar"]
    assert [p.header.frame_id for p in rear] == ["rear"] * 10
    assert [p.xyz.tobytes() for p in rear] == [p.xyz.tobytes() for p in front]


def test_rigs_that_contradict(write, tmp_path):
    one = Rig(lidars={"lidar": Lidar(pose=Pose())}, imus={"imu": Imu()})
    other = Rig(lidars={"lidar": Lidar(pose=Pose(translation=(1.0, 0.0, 0.0)))}, imus={"imu": Imu()})
    with (
        logs.open(write("a.mcap", range(10), rig=one)) as a,
        logs.open(write("b.mcap", range(10, 20), rig=other)) as b,
    ):
        with pytest.raises(LogError, match="lidar is two different sensors"):
            merge([a, b], tmp_path / "ab.mcap")
        merge([a, b], tmp_path / "ab.mcap", rename=[{}, {"lidar": "moved"}])
        with pytest.raises(LogError, match="no sensor 'radar' to rename"):
            merge([a, b], tmp_path / "c.mcap", rename=[{"radar": "r"}])
    with logs.open(tmp_path / "ab.mcap") as log:
        assert log.rig.lidars.keys() == {"lidar", "moved"}


# --- diff


def test_no_difference(write):
    assert diff(write("a.mcap", range(50)), write("b.mcap", range(50))) is None


def test_the_first_difference_of_logs(tmp_path, rig, make):
    sweep = make.cloud(100)
    xyz = sweep.xyz.copy()
    xyz[12, 2] = np.nextafter(xyz[12, 2], np.float32(100))
    for name, second in (("a", sweep), ("b", replace(sweep, xyz=xyz))):
        with LogWriter(tmp_path / f"{name}.mcap", rig) as log:
            log.write(make.imu(0, make.START_NS - 10**9))
            log.write(second)
    found = diff(tmp_path / "a.mcap", tmp_path / "b.mcap")
    assert (found.where, found.field) == ("/lidar, message 1, at 1.000 s", "xyz[12, 2]")
    assert found.a == repr(float(sweep.xyz[12, 2]))
    assert diff(tmp_path / "a.mcap", tmp_path / "b.mcap", topics=["imu"]) is None
    assert diff(tmp_path / "a.mcap", tmp_path / "b.mcap", ignore=["xyz"]) is None


def test_a_log_that_is_shorter_or_of_another_rig(write):
    found = diff(write("a.mcap", range(50)), write("b.mcap", range(49)))
    assert (found.where, found.a, found.b) == ("/imu, message 50, at 0.490 s", "more", "nothing")
    found = diff(write("c.mcap", range(50)), write("d.mcap", range(50), rig=Rig(imus={"imu": Imu()})))
    assert (found.where, found.field) == ("rig", "cameras.camera")


def test_files_of_predictions(tmp_path):
    a, b = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    a.write_text('{"x": [1, {"y": 2.0}]}\n{"x": [1, {"y": 2.0, "t": 5}]}\n')
    b.write_text('{"x": [1, {"y": 2.0}]}\n{"x": [1, {"y": 2.5, "t": 6}]}\n')
    assert diff(a, a) is None
    found = diff(a, b)
    assert (found.where, found.field, found.a, found.b) == ("line 2", "x[1].y", "2.0", "2.5")
    assert diff(a, b, ignore=["y", "t"]) is None
    b.write_text('{"x":[1,{"y":2.0}]}\n')
    assert diff(a, b).a == "other bytes"
    b.write_text('{"x": [1, {"y": 2.0}]}\n')
    assert (diff(a, b).where, diff(a, b).b) == ("line 2", "nothing")


def test_what_cannot_be_compared(write, tmp_path):
    (tmp_path / "a.jsonl").touch()
    with pytest.raises(LogError, match="one is a recording, the other is not"):
        diff(write("a.mcap", range(3)), tmp_path / "a.jsonl")
    with pytest.raises(LogError, match=r"gone: cannot be opened"):
        diff(tmp_path / "gone", tmp_path / "a.jsonl")
