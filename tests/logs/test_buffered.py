"""A disk that waits, is full for a while, or to the end: what is in no file is said, number by number."""

import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fusion_rt import logs
from fusion_rt.errors import ConfigError, LogError
from fusion_rt.logs.buffered import BufferedLog
from fusion_rt.logs.losses import loss_of
from fusion_rt.logs.parts import LogParts, free_path, nbytes, parse_size


@pytest.fixture
def slow(monkeypatch):
    """Set: the disk goes on. Every write of the file waits for it."""
    going, writev = threading.Event(), os.writev

    def waiting(fd, parts):
        going.wait(10)
        return writev(fd, parts)

    going.set()
    monkeypatch.setattr("fusion_rt.logs.mcap_writer.os.writev", waiting)
    return going


def test_a_full_buffer_loses_and_says_which(tmp_path, rig, make, slow):
    log = LogParts(tmp_path / "a.mcap", rig, compression="none")
    size = nbytes(make.cloud(50_000))
    with BufferedLog(log, 5 * size + 100) as buffer:
        slow.clear()
        for seq in range(12):
            buffer.put(make.cloud(50_000, seq, 1000 + seq))
        slow.set()
    with logs.open(tmp_path / "a.mcap") as written:
        assert [p.header.seq for p in written] == [0, 1, 2, 3, 4]
        (loss,) = written.losses
        assert (loss.topic, loss.cause, loss.first, loss.last, loss.messages) == (
            "/lidar",
            "buffer",
            5,
            11,
            7,
        )
        assert (loss.start_ns, loss.end_ns) == (1005, 1011)
        assert written.ended.written == {"lidar": 5}
    assert (buffer.written, buffer.lost) == (5, 7)


def test_what_is_lost_is_in_the_file_before_the_end(tmp_path, rig, make, slow, monkeypatch):
    """As a killed recorder leaves it."""
    monkeypatch.setattr("fusion_rt.logs.buffered.IDLE_S", 0.05)
    log = LogParts(tmp_path / "a.mcap", rig)
    with BufferedLog(log, 2 * nbytes(make.imu(0, 0)) + 100) as buffer:
        slow.clear()
        for seq in range(10):
            buffer.put(make.imu(seq, seq))
        slow.set()
        while not (found := lost_numbers(tmp_path / "a.mcap")):
            pass
        assert found == [(2, 9)]
        with logs.open(tmp_path / "a.mcap") as unfinished:
            assert unfinished.recovered.endswith("messages are there")
            assert unfinished.ended is None


def lost_numbers(path):
    with logs.open(path) as log:
        return [(loss.first, loss.last) for loss in log.losses]


@pytest.mark.parametrize("compression", ["none", "lz4"])
@pytest.mark.parametrize("room", [0, 20_000])
def test_a_disk_that_is_full_for_a_while_costs_nothing(
    tmp_path, rig, make, compression, room, monkeypatch, capfd
):
    """Until the buffer is full; what the half-written chunk held is written again. room: for a file's
    beginning, but for no chunk; then no empty files are left behind."""
    full, writev = threading.Event(), os.writev
    refused = threading.Event()

    def maybe(fd, parts):
        if full.is_set() and sum(map(len, parts)) > room:
            refused.set()
            raise OSError(28, "No space left on device")
        return writev(fd, parts)

    monkeypatch.setattr("fusion_rt.logs.mcap_writer.os.writev", maybe)
    log = LogParts(tmp_path / "a.mcap", rig, compression=compression)
    with BufferedLog(log, 64 << 20, retry_s=0.01) as buffer:
        for seq in range(60):
            if seq == 25:
                full.set()
            buffer.put(make.cloud(3000, seq, seq))
        assert refused.wait(10)
        threading.Event().wait(0.1)  # for some tries in vain
        full.clear()
    found = [path.name for path in log.paths]
    assert found[0] == "a.mcap"
    numbers = []
    for path in log.paths:
        with logs.open(path) as part:
            numbers += [packet.header.seq for packet in part]
            assert not part.losses
    assert numbers == list(range(60))
    assert (buffer.written, buffer.lost) == (60, 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(found)
    assert len(found) <= 2
    assert capfd.readouterr().err.count("trying again") == 1


FULL = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import conftest
from fusion_rt.errors import LogError
from fusion_rt.logs.buffered import BufferedLog
from fusion_rt.logs.losses import loss_of
from fusion_rt.logs.parts import LogParts
from fusion_rt.rig import Rig
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = LogParts(Path(sys.argv[1]), Rig(), compression="none")
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
try:
    with BufferedLog(log, 64 << 20, retry_s=0.01) as buffer:
        for seq in range(100):
            buffer.put(conftest.cloud(5000, seq, seq))
            if len(log.paths) == 2:  # no third file
                resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
except LogError as error:
    print(error)
print(buffer.written, buffer.lost)
"""


def test_a_disk_that_stays_full(tmp_path):
    path = tmp_path / "a.mcap"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-W", "error", "-c", FULL, path, str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    error, counts = done.stdout.splitlines()
    written, lost = map(int, counts.split())
    assert error.endswith(f"{lost} messages are in no file")
    assert written + lost == 100
    numbers = []
    for part in sorted(tmp_path.iterdir(), key=lambda p: (len(p.name), p.name)):
        with logs.open(part) as log:
            numbers += [packet.header.seq for packet in log]
    assert numbers == list(range(written))


def test_a_file_without_messages_is_kept_for_its_report(tmp_path, rig, make, monkeypatch):
    log = LogParts(tmp_path / "a.mcap", rig)
    writev = os.writev

    def full(fd, parts):
        if sum(map(len, parts)) > 20_000:
            raise OSError(28, "No space left on device")
        return writev(fd, parts)

    monkeypatch.setattr("fusion_rt.logs.mcap_writer.os.writev", full)
    for reported in (True, False):
        log.open()
        log.report([loss_of(make.imu(7, 7), "buffer")] if reported else [])
        with pytest.raises(LogError, match="No space left"):
            log.write(make.cloud(50_000))
        assert log.refused
    assert [path.name for path in tmp_path.iterdir()] == ["a.mcap"]
    with logs.open(tmp_path / "a.mcap") as written:
        assert [loss.first for loss in written.losses] == [7]
        assert written.ended.why == "the disk refused: No space left on device"


def test_files_stay_below_their_size(tmp_path, rig, make):
    log = LogParts(tmp_path / "a.mcap", rig, compression="none", split_bytes=2 << 20)
    with BufferedLog(log, 64 << 20) as buffer:
        for seq in range(100):
            buffer.put(make.cloud(3000, seq, seq))
            buffer.put(make.imu(seq, seq))
    assert len(log.paths) > 3
    assert all((1 << 20) < p.stat().st_size <= (2 << 20) for p in log.paths[:-1])
    numbers = []
    for path in log.paths:
        with logs.open(path) as part:
            numbers += [p.header.seq for p in part if p.header.sensor_id == "lidar"]
            assert part.rig == rig
            assert part.recovered == ""
    assert numbers == list(range(100))


@pytest.mark.parametrize(
    "parts",
    [
        [[100, 120, 140], [0, 20, 40], [60]],
        [[40, 60, 80], [0, 20, 40], [60, 80], [0, 20]],  # a loop of less than twice as long
    ],
)
def test_a_recording_whose_time_goes_back_is_split_there(tmp_path, rig, make, parts):
    """As of a replay in a loop."""
    log = LogParts(tmp_path / "a.mcap", rig, split_ns=50)
    for stamp in itertools.chain.from_iterable(parts):
        log.write(make.imu(stamp, stamp))
    log.close()
    stamps = []
    for path in log.paths:
        with logs.open(path) as part:
            stamps.append([p.header.stamp_ns for p in part])
    assert stamps == parts


def test_sensors_whose_time_goes_back_one_after_the_other(tmp_path, rig, make):
    """At the end of a loop the IMU begins again before the last sweep has come: not a file for each."""
    log = LogParts(tmp_path / "a.mcap", rig, split_ns=50)
    for kind, stamp in zip("IIPIIPIIPIIPIIP", (60, 70, 60, 80, 90, 80, 0, 10, 95, 20, 30, 5, 40, 60, 45)):
        log.write(make.imu(stamp, stamp) if kind == "I" else make.cloud(1, stamp, stamp))
    log.close()
    stamps = []
    for path in log.paths:
        with logs.open(path) as part:
            stamps.append(sorted(p.header.stamp_ns for p in part))
    assert stamps == [[60, 60, 70, 80, 80, 90], [0, 5, 10, 20, 30, 40, 95], [45, 60]]


def test_a_stamp_before_1970_is_lost_alone(tmp_path, rig, make, capfd):
    log = LogParts(tmp_path / "a.mcap", rig)
    with BufferedLog(log, 1 << 20) as buffer:
        for seq, stamp in enumerate((1, 2, -3, 4)):
            buffer.put(make.imu(seq, stamp))
    with logs.open(tmp_path / "a.mcap") as written:
        assert [p.header.seq for p in written] == [0, 1, 3]
        assert [(loss.cause, loss.first) for loss in written.losses] == [("refused", 2)]
    assert "lies before 1970" in capfd.readouterr().err


def test_a_place_that_cannot_be_written(tmp_path, rig):
    with pytest.raises(LogError, match=r"nowhere/a\.mcap: cannot be written"):
        LogParts(tmp_path / "nowhere" / "a.mcap", rig)


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "drive.mcap"
    assert free_path(path) == path
    path.touch()
    assert free_path(path).name == "drive-1.mcap"
    (tmp_path / "drive-1.mcap").touch()
    assert free_path(path).name == "drive-2.mcap"


@pytest.mark.parametrize(
    ("text", "size"), [("1GB", 10**9), ("2 MiB", 2 << 20), ("1.5kb", 1500), ("70000", 70000)]
)
def test_sizes(text, size):
    assert parse_size(text) == size


def test_a_size_that_is_none(tmp_path, rig):
    with pytest.raises(ConfigError, match="'1 parsec' is no size"):
        parse_size("1 parsec")
    with pytest.raises(ConfigError, match="the least is 1048576"):
        LogParts(tmp_path / "a.mcap", rig, split_bytes=5)
