"""Our files by the letter of the format: read with the official library, schema by schema, index by index."""

import importlib
import json
import struct

import jsonschema
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.unknown_fields import UnknownFieldSet
from mcap.data_stream import ReadDataStream
from mcap.reader import NonSeekingReader, SeekingReader
from mcap.records import MessageIndex
from mcap.stream_reader import StreamReader

from fusion_rt.logs import LogWriter, mcap_writer
from fusion_rt.logs.foxglove import OWN_FIELD
from fusion_rt.logs.losses import Loss

# Without a schema of Foxglove's.
KINDS = ("imu", "wheels", "home", "sight", "sound", "command", "prediction")


@pytest.fixture(params=mcap_writer.COMPRESSIONS)
def path(request, tmp_path, rig, make, monkeypatch):
    """Some fifty chunks, every kind of message, a recorder's reports."""
    monkeypatch.setattr(mcap_writer, "CHUNK_BYTES", 4096)
    path = tmp_path / "a.mcap"
    with LogWriter(path, rig, compression=request.param) as log:
        for packet in make.packets():
            log.write(packet)
        log.report([Loss(topic="/imu", cause="buffer", messages=1, first=3, last=3)])
        for i in range(200):
            log.write(make.imu(i, make.START_NS + i * 10_000_000))
            log.write(make.prediction(make.START_NS + i * 10_000_000))
        log.end_report("test")
    return path


@pytest.fixture
def messages(path):
    with path.open("rb") as file:
        return list(SeekingReader(file, validate_crcs=True, record_size_limit=1 << 20).iter_messages())


def test_both_official_readers_agree(path, messages):
    with path.open("rb") as file:
        streamed = list(NonSeekingReader(file, validate_crcs=True).iter_messages())
    assert [(c.topic, m.data, m.log_time) for _, c, m in streamed] == [
        (c.topic, m.data, m.log_time) for _, c, m in messages
    ]
    with path.open("rb") as file:
        summary = SeekingReader(file).get_summary()
    assert summary.statistics.message_count == len(messages)
    assert summary.statistics.chunk_count == len(summary.chunk_indexes) > 20
    counts = summary.statistics.channel_message_counts
    assert sum(counts.values()) == len(messages)
    assert summary.statistics.metadata_count == len(summary.metadata_indexes) == 3
    with path.open("rb") as file:
        found = [m.sequence for _, _, m in SeekingReader(file).iter_messages(topics=["/imu"])]
    assert sorted(found) == sorted([3, 4, *range(200)])


def test_protobuf_messages_by_foxglove_s_own_definitions(messages):
    seen = set()
    for schema, channel, message in messages:
        if channel.message_encoding != "protobuf":
            continue
        name = schema.name.removeprefix("foxglove.")
        kind = getattr(importlib.import_module(f"foxglove_schemas_protobuf.{name}_pb2"), name)
        if schema.name not in seen:
            seen.add(schema.name)
            files = {f.name: f for f in FileDescriptorSet.FromString(schema.data).file}
            official = type(files[kind.DESCRIPTOR.file.name])()
            kind.DESCRIPTOR.file.CopyToProto(official)
            assert files[kind.DESCRIPTOR.file.name] == official
            assert {d.name for d in kind.DESCRIPTOR.file.dependencies} <= files.keys()
        parsed = kind.FromString(message.data)
        unknown = {field.field_number for field in UnknownFieldSet(parsed)}
        assert unknown <= {OWN_FIELD}  # all else is as the definition says
        if name in ("RawImage", "CompressedImage", "PointCloud", "LocationFix", "RawAudio"):
            assert unknown == {OWN_FIELD}
    assert len(seen) == 9


def test_json_messages_by_their_schemas(messages):
    validators = {}
    for schema, channel, message in messages:
        if channel.message_encoding != "json":
            continue
        if schema.name not in validators:
            definition = json.loads(schema.data)
            jsonschema.Draft202012Validator.check_schema(definition)
            validators[schema.name] = jsonschema.Draft202012Validator(definition)
        value = json.loads(message.data)
        if "exact" not in value:  # NaN and infinity have no JSON: null, and the exact form beside it
            validators[schema.name].validate(value)
    assert validators.keys() == {f"fusion_rt.{k}" for k in KINDS}


def test_message_indexes_point_at_their_messages(path):
    data = path.read_bytes()
    with path.open("rb") as file:
        indexes = SeekingReader(file).get_summary().chunk_indexes
    with path.open("rb") as file:
        chunks = [r for r in StreamReader(file, emit_chunks=True).records if type(r).__name__ == "Chunk"]
    for index, chunk in zip(indexes, chunks):
        unpacked = unpack(chunk)
        for channel, offset in index.message_index_offsets.items():
            with path.open("rb") as file:
                file.seek(offset + 9)
                record = MessageIndex.read(ReadDataStream(file))
            assert record.channel_id == channel
            for time, at in record.records:
                opcode, _, number, _, log_time = struct.unpack_from("<BQHIQ", unpacked, at)
                assert (opcode, number, log_time) == (5, channel, time)
        end = index.chunk_start_offset + index.chunk_length
        assert data[end] == 7  # the message indexes follow
        assert min(index.message_index_offsets.values()) == end


def unpack(chunk):
    import lz4.frame
    import zstandard

    return {"": bytes, "lz4": lz4.frame.decompress, "zstd": zstandard.decompress}[chunk.compression](
        chunk.data
    )
