"""The replay node on a real bus."""

import threading
import time

import numpy as np
import pytest
from fusion_rt.nodes import replay

from fusion_rt import telling
from fusion_rt.bus import BusConfig
from fusion_rt.errors import ConfigError, NodeError
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


class Playing:
    """The node in a thread; `got` is all that came."""

    def __init__(self, bus, log, topics=("lidar", "imu"), **config):
        self.bus = bus
        self.subscriber = bus.subscriber(topics, keep_all=True)
        self.config = replay.ReplayConfig(log=str(log), **config)
        self.thread = threading.Thread(target=replay.run, args=(self.config, bus))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.bus.stop()
        self.thread.join()

    def take(self, count):
        found = []
        while len(found) < count and (message := self.subscriber.recv(5.0)) is not None:
            found.append(message)
        assert len(found) == count
        return found

    def rest(self):
        self.thread.join()
        found = []
        while (message := self.subscriber.recv(0.1)) is not None:
            found.append(message)
        return found


@pytest.mark.parametrize("preload", [False, True])
def test_a_part_of_it(bus, log, preload):
    with Playing(bus, log, start_s=0.1, until_s=0.2, speed=20.0, preload=preload) as playing:
        got = playing.rest()
    assert [m.header.seq for m in got if isinstance(m, ImuSample)] == list(range(10, 20))
    assert [m.header.seq for m in got if isinstance(m, PointCloud)] == [0]  # complete at 0.1 s


def test_sensors_left_out_and_renamed(bus, log):
    with Playing(
        bus, log, ("lidar_top", "imu"), without=("imu",), remap={"lidar": "lidar_top"}, speed=20.0
    ) as playing:
        got = playing.rest()
    assert [(m.header.sensor_id, m.header.frame_id, m.header.seq) for m in got] == [
        ("lidar_top", "lidar_top", seq) for seq in range(3)
    ]


def test_stamps_shifted_to_now_go_on_through_a_loop(bus, log):
    before = time.time_ns()
    with Playing(bus, log, topics=("imu",), without=("lidar",), stamps="now", loop=True) as playing:
        got = playing.take(70)
    after = time.time_ns()
    stamps = [m.header.stamp_ns for m in got]
    assert stamps == sorted(stamps)
    assert before <= stamps[0]
    assert stamps[-1] <= after
    assert [m.header.seq for m in got] == list(range(70))
    assert set(np.diff(stamps[:30])) == {10_000_000}


def test_commands(bus, log):
    """Paused from the start, sought, resumed, sped up: what a terminal's keys do."""
    with Playing(bus, log, topics=("imu",), without=("lidar",), paused=True, speed=0.5) as playing:
        telling.tell(bus, "replay", *telling.parse(["seek", "0.25"]))
        assert playing.subscriber.recv(0.3) is None
        assert (bus.detail["position_s"], bus.detail["paused"]) == (0.25, 1.0)
        telling.tell(bus, "replay", *telling.parse(["seek", "-0.05"]))
        telling.tell(bus, "replay", "nonsense")
        telling.tell(bus, "replay", *telling.parse(["speed", "0"]))
        telling.tell(bus, "replay", *telling.parse(["speed", "1000"]))
        telling.tell(bus, "replay", "toggle")
        got = playing.rest()
    assert [m.header.seq for m in got] == list(range(20, 30))
    assert (bus.detail["speed"], bus.detail["paused"]) == (1000.0, 0.0)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"without": ("camera",)}, "no sensor 'camera'; there are: lidar, imu"),
        ({"topics": ("lidr",)}, "no sensor 'lidr'; did you mean 'lidar'"),
        ({"remap": {"lidar": "imu"}}, "would both be 'imu'"),
        ({"without": ("lidar", "imu")}, "no sensor is left"),
    ],
)
def test_sensors_that_are_not_there(bus, log, config, message):
    with pytest.raises(ConfigError, match=message):
        replay.run(replay.ReplayConfig(log=str(log), **config), bus)


def test_settings_that_contradict_are_refused():
    with pytest.raises(ConfigError, match="until_s 1 is not after start_s 2"):
        replay.ReplayConfig(log="a", start_s=2.0, until_s=1.0)
    with pytest.raises(ConfigError, match="stamps: now goes with speed 1"):
        replay.ReplayConfig(log="a", stamps="now", speed=2.0)
    with pytest.raises(ConfigError, match="expected one word"):
        telling.parse(["pause", "now"])


def test_a_node_that_does_not_listen(bus, monkeypatch):
    monkeypatch.setattr(telling, "WAIT_S", 0.1)
    with pytest.raises(NodeError, match="replay does not listen for commands"):
        telling.tell(bus, "replay", "pause")


def test_keys_become_commands(bus):
    subscriber = bus.subscriber(["keys.replay"])
    with telling.Steering(BusConfig(run_dir=str(bus.run_dir)), "replay") as steering:
        steering.press(["x", "space", "left", "+", "-", "-"])
        found = [subscriber.recv(5) for _ in range(5)]
    assert [(m.intent, m.slots) for m in found] == [
        telling.parse(words.split()) for words in ("toggle", "seek -5", "speed 2", "speed 1", "speed 0.5")
    ]
