"""A recording survives its writer, and a disk that refuses is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from fusion_rt import logs
from fusion_rt.errors import LogError, RigError
from fusion_rt.logs import LogWriter
from fusion_rt.rig import Camera, Pose, Rig

KILLED = """
import os, sys
import numpy as np
from fusion_rt.logs import LogWriter
from fusion_rt.messages import Header, PointCloud
from fusion_rt.rig import Lidar, Pose, Rig

n, sweeps = 5000, int(sys.argv[2])
log = LogWriter(sys.argv[1], Rig(lidars={"lidar": Lidar(pose=Pose())}))
for seq in range(sweeps):
    header = Header(sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=1000 + seq)
    xyz, zeros = np.zeros((n, 3), np.float32), np.zeros(n, np.float32)  # chunks that a buffer could hold
    log.write(PointCloud(header=header, xyz=xyz, intensity=zeros, t=zeros, ring=np.zeros(n, np.uint16)))
os._exit(9)
"""


@pytest.mark.parametrize(("sweeps", "kept"), [(0, 0), (1, 0), (60, 50)])
def test_a_killed_writer_leaves_all_but_the_last_chunk(tmp_path, sweeps, kept):
    path = tmp_path / "killed.mcap"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", KILLED, path, str(sweeps)], env=environment, check=False)
    assert done.returncode == 9
    with logs.open(path) as log:
        seqs = [packet.header.seq for packet in log]
        assert log.recovered.startswith(f"{path}: the index is missing")
        assert list(log.rig.lidars) == ["lidar"]
    assert seqs == list(range(len(seqs)))
    assert kept <= len(seqs) <= sweeps


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_said_when_the_recording_begins(rig):
    with pytest.raises(LogError, match="/dev/full: cannot be written: No space left"):
        LogWriter("/dev/full", rig)


def test_a_disk_that_fills_up(tmp_path, rig, make):
    """The file size limit of the process stands in for the disk: it too fails a write half way."""
    code = """
import resource, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import conftest
from fusion_rt.errors import LogError
from fusion_rt.logs import LogWriter
from fusion_rt.rig import Rig
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
caught = []
try:
    with LogWriter(sys.argv[1], Rig()) as log:
        for seq in range(100):
            try:
                log.write(conftest.cloud(5000, seq, seq))
            except LogError as error:
                caught.append(str(error))
                if len(caught) == 2:
                    raise
                accepted = seq + 1
except LogError as error:
    assert str(error) == caught[1]
print(*caught, accepted, [loss.first for loss in log.unwritten], sep="\\n")
"""
    path = tmp_path / "full.mcap"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-W", "error", "-c", code, path, str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    first, second, accepted, unwritten = done.stdout.splitlines()
    assert first == f"{path}: cannot be written: File too large; what is there stays readable"
    assert second == f"{path}: the recording has ended; open another"
    with logs.open(path) as log:
        seqs = [packet.header.seq for packet in log]
        assert log.recovered == ""  # half a chunk was cut off again, and that made room for the index
        assert log.ended.why == "the disk refused: File too large"
        assert log.ended.written == {"lidar": len(seqs)}
    assert seqs == list(range(len(seqs)))
    assert len(seqs) >= 5
    assert unwritten == str(list(range(len(seqs), int(accepted))))


def test_a_place_that_cannot_be_written_is_named(tmp_path, rig):
    with pytest.raises(LogError, match=r"nowhere/a\.mcap: cannot be written: No such file"):
        LogWriter(tmp_path / "nowhere" / "a.mcap", rig)


def test_an_unknown_compression_is_refused_before_the_file_is_touched(tmp_path, rig):
    path = tmp_path / "a.mcap"
    path.write_bytes(b"precious")
    with pytest.raises(LogError, match="compression 'rar' is not one of zstd, lz4, none"):
        LogWriter(path, rig, compression="rar")
    assert path.read_bytes() == b"precious"


def test_a_rig_that_could_not_be_read_back_is_refused(tmp_path):
    camera = Camera(width=20, height=12, K=((15, 0, 99), (0, 15, 6), (0, 0, 1)), pose=Pose())
    with pytest.raises(RigError, match="cx is 99 px"):
        LogWriter(tmp_path / "a.mcap", Rig(cameras={"camera": camera}))
    assert not (tmp_path / "a.mcap").exists()


def test_a_stamp_before_1970_is_refused(tmp_path, rig, make):
    sample = make.imu(0, 0)
    with LogWriter(tmp_path / "a.mcap", rig) as log:
        log.write(sample)
        with pytest.raises(LogError, match="imu: stamp -1 lies before 1970"):
            log.write(replace(sample, header=replace(sample.header, stamp_ns=-1)))
        assert log.counts == {"imu": 1}
    log.close()  # a second time


def test_the_first_error_is_the_one_that_is_seen(tmp_path, rig):
    with pytest.raises(ZeroDivisionError), LogWriter(tmp_path / "a.mcap", rig):
        raise ZeroDivisionError
    with logs.open(tmp_path / "a.mcap") as log:
        assert log.recovered == ""
