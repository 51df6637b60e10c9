"""The replay node on a real bus."""

import threading

import numpy as np
import pytest
from fusion_rt.nodes import replay

from fusion_rt.logs import LogWriter
from fusion_rt.messages import Header, ImuSample, PointCloud, complete_ns
from fusion_rt.rig import Imu, Lidar, Pose, Rig

START_NS = 1_700_000_000_000_000_000


def sample(seq):
    header = Header(sensor_id="imu", frame_id="imu", seq=seq, stamp_ns=START_NS + seq * 10_000_000)
    return ImuSample(header=header, specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0))


def sweep(seq):
    t = np.linspace(-0.05, 0.05, 100, dtype=np.float32)
    return PointCloud(
        header=Header(
            sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=START_NS + 50_000_000 + seq * 100_000_000
        ),
        xyz=np.ones((100, 3), np.float32),
        intensity=np.ones(100, np.float32),
        t=t,
        ring=np.zeros(100, np.uint16),
    )


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "drive.mcap"
    with LogWriter(path, Rig(lidars={"lidar": Lidar(pose=Pose())}, imus={"imu": Imu(pose=Pose())})) as out:
        for packet in [*(sample(i) for i in range(30)), *(sweep(i) for i in range(3))]:
            out.write(packet)
    return path


@pytest.mark.parametrize("preload", [False, True])
def test_packets_come_when_they_are_complete(bus, log, preload):
    """A sweep after the samples that were measured during it."""
    subscriber = bus.subscriber(["lidar", "imu"], keep_all=True)
    config = replay.ReplayConfig(log=str(log), speed=20.0, preload=preload)
    node = threading.Thread(target=replay.run, args=(config, bus))
    node.start()
    got = []
    while len(got) < 33 and (message := subscriber.recv(5.0)) is not None:
        got.append(message)
    node.join()
    assert len(got) == 33
    published = [next(p.monotonic_ns for p in m.header.trace if p.stage == "published") for m in got]
    times = [complete_ns(got[i]) for i in np.argsort(published, kind="stable")]
    assert times == sorted(times)
    assert [m.header.seq for m in got if isinstance(m, PointCloud)] == [0, 1, 2]
