"""kill -9 while recording, at random moments: what is in the file is whole and can be read, nothing is left.

FUSION_RT_KILL_ROUNDS=200 pytest tests/system/test_kill_recorder.py    goes on for longer."""

import os
import random
import threading
import time

import numpy as np
import psutil
import pytest

from fusion_rt import logs
from fusion_rt.bus import Bus, BusConfig, ring
from fusion_rt.logs.checking import check
from fusion_rt.logs.repairing import repair
from fusion_rt.messages import Header, Image, ImuSample
from fusion_rt.processes import NodeProcess
from fusion_rt.rig import Camera, Imu, Pose, Rig
from fusion_rt.scenario import Node

ROUNDS = int(os.environ.get("FUSION_RT_KILL_ROUNDS", 4))
K = ((100.0, 0.0, 160.0), (0.0, 100.0, 120.0), (0.0, 0.0, 1.0))


@pytest.fixture
def sensors(run_dir):
    """A camera and an IMU that go on publishing from a thread."""
    ended = threading.Event()
    with Bus(BusConfig(run_dir=str(run_dir))) as bus:
        camera, imu = bus.publisher("camera"), bus.publisher("imu")

        def publish():
            seq = 0
            while not ended.wait(0.002):
                header = {"seq": seq, "stamp_ns": 10**18 + seq * 2_000_000}
                imu.send(
                    ImuSample(
                        header=Header(sensor_id="imu", frame_id="imu", **header),
                        specific_force=(float(seq), 0.0, 0.0),
                        angular_rate=(0.0, 0.0, 0.0),
                    )
                )
                if seq % 5 == 0:
                    header["seq"] = seq // 5
                    camera.send(
                        Image(
                            header=Header(sensor_id="camera", frame_id="camera", **header),
                            height=240,
                            width=320,
                            encoding="bgr8",
                            data=np.full((240, 320, 3), seq // 5 % 256, np.uint8),
                        )
                    )
                seq += 1
                listening.append(camera.subscribers)

        listening = [0]
        thread = threading.Thread(target=publish)
        thread.start()
        yield lambda: listening[-1]
        ended.set()
        thread.join()


@pytest.mark.timeout(60 + 5 * ROUNDS)
def test_killed_recorders(run_dir, sensors, tmp_path):
    chance = random.Random(3)
    rig = tmp_path / "rig.yaml"
    camera = Camera(width=320, height=240, K=K, pose=Pose())
    rig.write_text(Rig(cameras={"camera": camera}, imus={"imu": Imu()}).to_yaml())
    packets, pids = [], []
    for i in range(ROUNDS):
        path = tmp_path / f"{i}.mcap"
        config = {"path": str(path), "rig": str(rig), "compression": ("lz4", "zstd", "none")[i % 3]}
        recorder = NodeProcess(
            Node(name="recorder", use="recorder", source="test", config=config),
            BusConfig(run_dir=str(run_dir)),
        )
        recorder.start()
        end = time.monotonic() + 30
        while not sensors():
            assert time.monotonic() < end, "it did not listen"
            time.sleep(0.001)
        time.sleep(chance.uniform(0.0, 1.5))
        pids.append(recorder.pid)
        recorder.stop(9)
        assert recorder.wait(10)
        recorder.close()
        packets.append(whole_packets(path))
        while sensors():
            assert time.monotonic() < end, "it is still counted as a listener"
            time.sleep(0.001)
    assert sum(n > 0 for n in packets) >= ROUNDS / 2
    assert [name for name in ring.segments() if int(name.split("-")[2]) in pids] == []
    assert [child for child in psutil.Process().children() if child.pid in pids] == []


def whole_packets(path):
    """How many; each as it was sent, one after the other. Repairing makes the log a sound one."""
    if not path.exists():
        return 0  # killed before it began
    if path.stat().st_size < 1000:
        return 0  # before the rig was in it: there is nothing to read
    numbers = {"camera": [], "imu": []}
    with logs.open(path) as log:
        assert "the index is missing" in log.recovered
        for packet in log:
            header = packet.header
            numbers[header.sensor_id].append(header.seq)
            assert (
                header.stamp_ns == 10**18 + header.seq * (10 if header.sensor_id == "camera" else 2) * 10**6
            )
            if header.sensor_id == "camera":
                assert (packet.data == header.seq % 256).all()
            else:
                assert packet.specific_force[0] == header.seq
        assert not log.skipped
        losses = log.losses
    for found in numbers.values():
        assert not found or found == list(range(found[0], found[0] + len(found))) or losses
    fixed = path.with_stem(path.stem + "-whole")
    result = repair(path, fixed)
    assert result.messages == sum(map(len, numbers.values()))
    assert check(fixed).sound
    return result.messages
