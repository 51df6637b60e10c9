"""What goes into a recording comes out of it, bit for bit, in order."""

import struct

import msgspec
import numpy as np
import pytest
from mcap.writer import CompressionType, IndexType, Writer

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter
from fusion_rt.logs.chunks import RIG, rig_metadata
from fusion_rt.messages import Image, ImuSample, PointCloud, complete_ns


def bits(value):
    """Equal for equal bits: unlike ==, which finds NaN unequal and -0 equal to 0."""
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, float):
        return struct.pack("<d", value)
    if isinstance(value, (tuple, list)):
        return [bits(v) for v in value]
    if isinstance(value, dict):
        return {k: bits(v) for k, v in value.items()}
    if isinstance(value, msgspec.Struct):
        fields = [getattr(value, f.name) for f in msgspec.structs.fields(value)]
        return type(value).__name__, [bits(field) for field in fields]
    return value


def write(path, rig, messages, **options):
    with LogWriter(path, rig, **options) as log:
        for message in messages:
            log.write(message)


@pytest.mark.parametrize("compression", ["zstd", "lz4", "none"])
def test_every_packet_and_prediction_survives_exactly(tmp_path, rig, make, compression):
    path = tmp_path / "a.mcap"
    write(path, rig, [*make.packets(), make.prediction()], compression=compression)
    with logs.open(path) as log:
        assert [bits(p) for p in log] == [bits(p) for p in make.packets()]
        assert [bits(p) for p in log.predictions()] == [bits(make.prediction())]
        assert log.rig == rig
        assert log.recovered == ""
        assert not log.skipped
        assert (log.start_ns, log.end_ns) == (make.START_NS, make.START_NS)


def test_a_mirrored_image_is_written_as_it_looks(tmp_path, rig, make):
    mirrored = make.images()[1]
    assert not mirrored.data.flags.c_contiguous
    write(tmp_path / "a.mcap", rig, [mirrored])
    with logs.open(tmp_path / "a.mcap") as log:
        (back,) = log
    np.testing.assert_array_equal(back.data, mirrored.data)


def test_out_of_order_stamps_come_back_in_order_and_ties_as_written(tmp_path, rig, make):
    stamps = np.random.default_rng(3).integers(0, 300, 3000).tolist()
    path = tmp_path / "a.mcap"
    written = [make.imu(i, stamp) for i, stamp in enumerate(stamps)]
    write(path, rig, written)
    with logs.open(path) as log:
        assert len(log._contents.chunks) > 1  # so that chunks overlap in time
        assert list(log) == sorted(written, key=lambda p: p.header.stamp_ns)
        later = sorted((p for p in written if p.header.stamp_ns >= 200), key=lambda p: p.header.stamp_ns)
        assert list(log.packets(start_ns=200)) == later


def test_a_sweep_comes_when_it_is_complete(tmp_path, rig, make):
    """Sent at its stamp, its last points would be from the future."""
    ended = make.cloud(500, stamp_ns=100_000_000)
    sweep = msgspec.structs.replace(ended, t=ended.t + np.float32(0.05))
    end_ns = complete_ns(sweep)
    assert 140_000_000 < end_ns <= 150_000_000
    imu = [make.imu(i, 90_000_000 + 10_000_000 * i) for i in range(8)]
    write(tmp_path / "a.mcap", rig, [sweep, *imu])
    with logs.open(tmp_path / "a.mcap") as log:
        back = list(log)
    assert [complete_ns(p) for p in back] == sorted(complete_ns(p) for p in back)
    assert next(i for i, p in enumerate(back) if isinstance(p, PointCloud)) == 6
    assert next(p for p in back if isinstance(p, PointCloud)).header.stamp_ns == 100_000_000


def test_two_passes_at_once_do_not_disturb_each_other(tmp_path, rig, make):
    write(tmp_path / "a.mcap", rig, [make.imu(i, i) for i in range(3000)])
    with logs.open(tmp_path / "a.mcap") as log:
        for one, other in zip(log, log.packets(start_ns=1000)):
            assert (one.header.stamp_ns + 1000) == other.header.stamp_ns


def test_topics_count_what_is_there(tmp_path, rig, make):
    write(tmp_path / "a.mcap", rig, [*make.packets(), make.prediction()])
    with logs.open(tmp_path / "a.mcap") as log:
        assert log.topics["/lidar"] == logs.reader.Topic("foxglove.PointCloud", 3)
        assert log.topics["/camera"].messages == 5
        assert log.topics["/camera"].schema.split(", ") == ["foxglove.RawImage", "foxglove.CompressedImage"]
        assert log.topics["/prediction"].schema == "fusion_rt.prediction"


def foreign(path, rig=None, **options):
    """What another program may write: its own schemas, ours with damaged content, none at all."""
    with path.open("wb") as file:
        writer = Writer(file, **options)
        writer.start(profile="ros2", library="another")
        if rig is not None:
            writer.add_metadata(RIG, rig_metadata(rig.to_yaml()))
        ros = writer.register_schema("sensor_msgs/msg/Imu", "ros2msg", b"float64 x")
        ours = writer.register_schema("fusion_rt.imu", "jsonschema", b"{}")
        cloud = writer.register_schema("foxglove.PointCloud", "protobuf", b"")
        for i, (topic, encoding, schema, data) in enumerate(
            [
                ("/ros", "cdr", ros, b"\0" * 16),
                ("/imu", "json", ours, b'{"type":"imu"}'),
                ("/imu", "json", ours, b"not JSON"),
                ("/imu", "json", ours, b'{"exact":"###"}'),
                ("/lidar", "protobuf", cloud, b"\xff\xff\xff"),
                ("/lidar", "protobuf", cloud, b""),
                ("/bare", "json", 0, b"{}"),
            ]
        ):
            channel = writer.register_channel(topic, encoding, schema)
            writer.add_message(channel, log_time=i, data=data, publish_time=i)
        writer.finish()


def test_what_is_not_ours_is_skipped_and_counted(tmp_path, rig):
    foreign(tmp_path / "a.mcap", rig)
    with logs.open(tmp_path / "a.mcap") as log:
        for _ in range(2):  # the count is of one pass
            assert list(log) == []
            assert log.skipped == {"/ros": 1, "/imu": 3, "/lidar": 2, "/bare": 1}


@pytest.mark.parametrize(
    "options",
    [{}, {"use_chunking": False}, {"index_types": IndexType.NONE, "compression": CompressionType.NONE}],
    ids=str,
)
def test_a_recording_of_another_program_is_refused_with_advice(tmp_path, options):
    foreign(tmp_path / "a.mcap", **options)
    with pytest.raises(LogError, match=r"a\.mcap: holds no rig.*fusion-rt import"):
        logs.open(tmp_path / "a.mcap")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(100), b"\x89MCAP", b"mcap" * 50])
def test_what_is_no_recording_is_refused_with_advice(tmp_path, content):
    (tmp_path / "a.mcap").write_bytes(content)
    with pytest.raises(LogError, match=r"a\.mcap: not an MCAP recording.*fusion-rt import"):
        logs.open(tmp_path / "a.mcap")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(LogError, match=r"gone\.mcap: cannot be opened: No such file"):
        logs.open(tmp_path / "gone.mcap")
    with pytest.raises(LogError, match="cannot be opened: Is a directory"):
        logs.open(tmp_path)


def test_a_rig_of_another_version_is_named(tmp_path):
    with (tmp_path / "a.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        writer.add_metadata(RIG, rig_metadata("sonars: {front: {}}"))
        writer.finish()
    with pytest.raises(LogError, match=r"a\.mcap \(rig\).*sonars.*another version"):
        logs.open(tmp_path / "a.mcap")


def test_an_empty_recording_is_a_recording(tmp_path, rig):
    write(tmp_path / "a.mcap", rig, [])
    with logs.open(tmp_path / "a.mcap") as log:
        assert (list(log), log.recovered, log.rig) == ([], "", rig)


def test_the_kinds_are_what_the_fixture_promises(make):
    kinds = {type(p) for p in make.packets()}
    assert kinds == {*logs.reader.Packet.__args__}
    assert {Image, ImuSample} < kinds
