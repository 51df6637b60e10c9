import threading

import pytest
from fusion_rt.nodes.recorder import Buffer, free_path

from fusion_rt.errors import LogError
from fusion_rt.messages import Header, ImuSample


def sample(seq):
    header = Header(sensor_id="imu", frame_id="imu", seq=seq, stamp_ns=seq)
    return ImuSample(header=header, specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0))


class Disk:
    """Stands in for a LogWriter on a disk that waits, or refuses."""

    def __init__(self, fails_at=None):
        self.open, self.seqs, self.fails_at = threading.Event(), [], fails_at

    def write(self, message):
        self.open.wait(10)
        if message.header.seq == self.fails_at:
            raise LogError("the disk is full")
        self.seqs.append(message.header.seq)


def test_what_waits_is_written_at_the_end():
    disk = Disk()
    with Buffer(disk, 1 << 20) as buffer:
        for seq in range(100):
            buffer.put(sample(seq))
        disk.open.set()
    assert disk.seqs == list(range(100))
    assert (buffer.written, buffer.dropped) == (100, 0)


def test_a_full_buffer_drops_and_counts():
    disk = Disk()
    with Buffer(disk, 10_500) as buffer:
        for seq in range(50):
            buffer.put(sample(seq))
        assert buffer.dropped == 40
        disk.open.set()
    assert buffer.written == 10


def test_a_disk_that_refuses_is_an_error():
    disk = Disk(fails_at=3)
    disk.open.set()

    def fill():
        with Buffer(disk, 1 << 20) as buffer:
            for seq in range(10):
                buffer.put(sample(seq))

    with pytest.raises(LogError, match="full"):
        fill()
    assert disk.seqs == [0, 1, 2]


def test_nothing_is_overwritten(tmp_path):
    path = tmp_path / "drive.mcap"
    assert free_path(path) == path
    path.touch()
    assert free_path(path).name == "drive-1.mcap"
    (tmp_path / "drive-1.mcap").touch()
    assert free_path(path).name == "drive-2.mcap"
