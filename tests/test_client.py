"""A program that listens to topics of a run."""

import itertools
import tempfile
import threading

import numpy as np
import pytest

import fusion_rt
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import BusError
from fusion_rt.messages import Header, PointCloud


def cloud(seq):
    return PointCloud(
        header=Header(sensor_id="lidar", frame_id="lidar", seq=seq, stamp_ns=seq),
        xyz=np.full((5000, 3), seq, np.float32),
        intensity=np.zeros(5000, np.float32),
        t=np.zeros(5000, np.float32),
        ring=np.zeros(5000, np.uint16),
    )


def test_messages_come_until_the_loop_is_left():
    with tempfile.TemporaryDirectory(prefix="frt") as folder:
        config = BusConfig(run_dir=f"{folder}/run")
        got = []

        def listen():
            listener = fusion_rt.subscribe("lidar", bus=config, timeout_s=10.0, keep_all=True)
            got.extend(int(m.xyz[0, 0]) for m in itertools.islice(listener, 3))
            listener.close()

        with Bus(config) as bus, bus.publisher("lidar") as publisher:
            thread = threading.Thread(target=listen)
            thread.start()
            assert publisher.wait_for_subscribers(1, 10.0)
            for seq in range(3):
                publisher.send(cloud(seq))
            thread.join(20.0)
    assert got == [0, 1, 2]


def test_silence_ends_it_and_a_wrong_topic_is_refused():
    with tempfile.TemporaryDirectory(prefix="frt") as folder:
        config = BusConfig(run_dir=f"{folder}/run")
        assert list(fusion_rt.subscribe(bus=config, timeout_s=0.05)) == []
        with pytest.raises(BusError, match="topic"):
            next(fusion_rt.subscribe("no topic", bus=config))


def test_the_names_of_the_package():
    for name in fusion_rt.__all__:
        assert getattr(fusion_rt, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fusion_rt.nothing
