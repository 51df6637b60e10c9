"""Damage: whatever happens to the bytes, it is said, and no packet comes back that was not written."""

import numpy as np
import pytest

from fusion_rt import logs
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter
from fusion_rt.messages import pack

COUNT = 40


def fingerprint(packet):
    header, arrays = pack(packet)
    return header, *(a.tobytes() for a in arrays)


@pytest.fixture
def written(tmp_path, rig, make, monkeypatch):
    """Its bytes, and the packets in it by fingerprint; many small chunks."""
    monkeypatch.setattr("fusion_rt.logs.mcap_writer.CHUNK_BYTES", 4096)
    path = tmp_path / "good.mcap"
    packets = [make.cloud(30 + i, i, i * 10) if i % 2 else make.imu(i, i * 10) for i in range(COUNT)]
    with LogWriter(path, rig) as log:
        for packet in packets:
            log.write(packet)
    return path.read_bytes(), [fingerprint(p) for p in packets]


def read(path):
    """The packets, and what is said of the rest: "" where nothing is missing."""
    with logs.open(path) as log:
        return [fingerprint(p) for p in log], log.recovered


def check(path, rig, good):
    """Either refused by name, or read in order, and what is missing is said. Returns how many, or -1."""
    try:
        log = logs.open(path)
    except LogError as error:
        said = str(error)
        found = None
    else:
        with log:
            found, said = [fingerprint(p) for p in log], log.recovered
            assert log.rig == rig
            assert not log.skipped
    if found is None:
        assert said.startswith(str(path))
        return -1
    assert said.startswith(str(path)) if said else found == good
    kept = set(found)
    assert [p for p in good if p in kept] == found
    return len(found)


def test_cut_anywhere(tmp_path, written, rig):
    data, good = written
    path = tmp_path / "cut.mcap"
    lengths = []
    for size in [
        *range(0, 200, 20),
        *np.linspace(200, len(data) - 1, 60).astype(int).tolist(),
        len(data) - 1,
    ]:
        path.write_bytes(data[:size])
        lengths.append(check(path, rig, good))
    assert lengths[-1] == COUNT  # only the last byte is missing: all is there
    readable = [n for n in lengths if n >= 0]
    assert readable == sorted(readable)  # the more bytes, the more packets
    assert len(readable) > 40
    assert len(set(readable)) > 5


def test_a_cut_recording_says_why(tmp_path, written):
    data, good = written
    path = tmp_path / "cut.mcap"
    path.write_bytes(data[: len(data) * 2 // 3])
    found, said = read(path)
    assert found == good[: len(found)]
    assert 0 < len(found) < COUNT
    assert "the index is missing; read through instead" in said


def test_flipped_anywhere(tmp_path, written, rig):
    data, good = written
    path = tmp_path / "flipped.mcap"
    rng = np.random.default_rng(5)
    counts = []
    for position in rng.integers(0, len(data), 120).tolist():
        damaged = bytearray(data)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        counts.append(check(path, rig, good))
    assert sum(n > 0 for n in counts) > 100  # one bit costs a chunk, not the drive


def test_every_byte_of_the_frame_may_be_wrong(tmp_path, written, rig):
    """Lengths, offsets, opcodes: the bytes that a library believes."""
    data, good = written
    path = tmp_path / "frame.mcap"
    for position in [*range(8, 30, 2), *range(len(data) - 60, len(data), 2)]:
        for value in (0, 0xFF):
            damaged = bytearray(data)
            damaged[position] = value
            path.write_bytes(damaged)
            check(path, rig, good)


def test_a_damaged_chunk_is_left_out_and_named(tmp_path, written):
    data, good = written
    path = tmp_path / "hole.mcap"
    path.write_bytes(data)
    with logs.open(path) as log:
        places = log._contents.chunks
    damaged = bytearray(data)
    damaged[places[2].offset + 200] ^= 0xFF
    path.write_bytes(damaged)
    found, said = read(path)
    lost = [p for p in good if p not in found]
    assert 0 < len(lost) < COUNT / 2
    assert found == [p for p in good if p not in lost]
    assert "is damaged" in said
    assert "left out" in said


def test_a_damaged_chunk_is_left_out_without_an_index_too(tmp_path, written):
    data, good = written
    path = tmp_path / "hole.mcap"
    path.write_bytes(data)
    with logs.open(path) as log:
        place = log._contents.chunks[2]
    damaged = bytearray(data[:-1])
    damaged[place.offset + 200] ^= 0xFF
    path.write_bytes(damaged)
    found, said = read(path)
    assert COUNT / 2 < len(found) < COUNT
    assert [p for p in good if p in found] == found
    assert "1 damaged chunk left out" in said


def test_a_length_of_exabytes_costs_no_memory(tmp_path, written):
    data, _ = written
    path = tmp_path / "huge.mcap"
    for length in (2**62, 2**63, 2**64 - 1):
        path.write_bytes(data[:9] + length.to_bytes(8, "little") + data[17 : len(data) // 2])
        with pytest.raises(LogError, match="holds no rig"):
            logs.open(path)


def test_a_changed_rig_is_not_believed(tmp_path, written):
    data, _ = written
    path = tmp_path / "rig.mcap"
    assert data.count(b"1.73") == 1
    path.write_bytes(data.replace(b"1.73", b"1.78"))  # no checksum of the format covers it
    with pytest.raises(LogError, match=r"rig\.mcap: holds no rig"):
        logs.open(path)


def test_a_damaged_index_is_not_believed(tmp_path, written):
    data, good = written
    path = tmp_path / "index.mcap"
    path.write_bytes(data)
    with logs.open(path) as log:
        topics = log.topics
    damaged = bytearray(data)
    damaged[data.rindex(b"/lidar") + 1] ^= 2  # the name of a topic, in the summary at the end
    path.write_bytes(damaged)
    with logs.open(path) as log:
        assert "the index is damaged" in log.recovered
        assert log.topics == topics
        assert [fingerprint(p) for p in log] == good
