"""The real node, fed by a real replay, watched by a WebSocket client that speaks the published protocol."""

import base64
import json
import re
import socket
import struct
import threading
import time
from contextlib import contextmanager, suppress

import numpy as np
import pytest
from fusion_rt.nodes import foxglove as node
from fusion_rt.nodes import replay
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from websockets.sync.client import connect

from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.logs import LogWriter
from fusion_rt.messages import (
    Certificate,
    EgoState,
    GnssFix,
    Header,
    Image,
    ImuSample,
    PointCloud,
    Prediction,
    TrackedObject,
)

SUBPROTOCOL = "foxglove.sdk.v1"
START_NS = 1_700_000_000_000_000_000


def header(sensor, k=0):
    return Header(sensor_id=sensor, frame_id=sensor, seq=k, stamp_ns=START_NS + k * 100_000_000)


def cloud(k, n=1000):
    return PointCloud(
        header=header("lidar", k),
        xyz=np.full((n, 3), k, np.float32),
        intensity=np.ones(n, np.float32),
        t=np.zeros(n, np.float32),
        ring=np.zeros(n, np.uint16),
    )


def prediction(k):
    thing = TrackedObject(
        track_id=7, label="car", class_probabilities={"car": 0.9}, existence=0.9, center=(10.0, -2.0, 0.8),
        size=(4.2, 1.8, 1.6), yaw=0.5, box_covariance=(0.0,) * 16, velocity=(3.0, 4.0),
        velocity_covariance=(1.0, 0.0, 0.0, 1.0), yaw_rate=0.0, age_s=1.0, hits=9, coasting_s=0.0,
        contributions={"lidar": 1.0},
    )  # fmt: skip
    ego = EgoState(
        stamp_ns=START_NS, position=(1.0, 2.0, 0.0), orientation=(0.0, 0.0, 0.0, 1.0),
        velocity=(0.0, 0.0, 0.0), angular_rate=(0.0, 0.0, 0.0), covariance=(0.1,) * 36,
        velocity_covariance=(0.1,) * 9, extrapolated_s=0.0, source="imu+gnss",
    )  # fmt: skip
    certificate = Certificate(
        sensors=(), motion_compensation="none", points_in=0, points_dropped={}, model="", engine="",
        precision="", device="", stage_ms={}, deadline_s=0.05, deadline_met=None, rung="all",
    )  # fmt: skip
    return Prediction(header=header("fusion", k), objects=(thing,), ego=ego, certificate=certificate)


@pytest.fixture
def drive(tmp_path, rig):
    path = tmp_path / "drive.mcap"
    with LogWriter(path, rig) as log:
        for k in range(30):
            log.write(cloud(k))
            pixels = np.full((288, 960, 3), k, np.uint8)
            log.write(Image(header=header("camera", k), height=288, width=960, encoding="bgr8", data=pixels))
            log.write(
                GnssFix(
                    header=header("gnss", k), latitude_deg=49.0, longitude_deg=8.4, altitude_m=115.0,
                    position_covariance=(1.0,) * 9,
                )
            )  # fmt: skip
            log.write(
                ImuSample(
                    header=header("imu", k), specific_force=(0.0, 0.0, 9.8), angular_rate=(0.0, 0.0, 0.0)
                )
            )
    return path


@contextmanager
def running(bus, config):
    """The node in a thread of its own; gives its port."""
    failed = []

    def work():
        try:
            node.run(config, bus)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while "port" not in bus.detail and thread.is_alive():
            time.sleep(0.01)
        assert not failed
        yield int(bus.detail["port"])
    finally:
        bus.stop()
        thread.join()
    assert not failed


class Viewer:
    """What a Foxglove viewer does: reads the advertised channels, subscribes, takes binary messages."""

    def __init__(self, socket):
        self.socket = socket
        self.info = json.loads(self.socket.recv(timeout=10))
        self.channels, self._topics = {}, {}

    def find(self, *topics):
        """Waits until these are advertised."""
        while not set(topics) <= set(self.channels):
            said = self.socket.recv(timeout=10)
            if isinstance(said, str) and (message := json.loads(said))["op"] == "advertise":
                self.channels |= {c["topic"]: c for c in message["channels"]}
        for number, topic in enumerate(topics):
            self._topics[number] = topic
        asked = [{"id": n, "channelId": self.channels[t]["id"]} for n, t in self._topics.items()]
        self.socket.send(json.dumps({"op": "subscribe", "subscriptions": asked}))

    def next(self):
        """(topic, log time, decoded) of the next message: opcode 1, subscription, time, payload."""
        while True:
            said = self.socket.recv(timeout=10)
            if isinstance(said, str):
                self._again(json.loads(said))
            elif said[0] == 1:
                number, stamp_ns = struct.unpack_from("<IQ", said, 1)
                topic = self._topics[number]
                return topic, stamp_ns, self._decode(self.channels[topic], said[13:])

    def _again(self, said):
        """The server may advertise a channel a moment before it knows it."""
        if said["op"] == "status" and "unknown channel" in said["message"].lower():
            (channel,) = map(int, re.findall(r"\d+", said["message"]))
            asked = [
                {"id": n, "channelId": channel}
                for n, t in self._topics.items()
                if self.channels[t]["id"] == channel
            ]
            self.socket.send(json.dumps({"op": "subscribe", "subscriptions": asked}))

    def _decode(self, channel, payload):
        if channel["encoding"] == "json":
            return json.loads(payload)
        files = FileDescriptorSet.FromString(base64.b64decode(channel["schema"]))
        pool = DescriptorPool()
        for file in files.file:
            pool.Add(file)
        message = GetMessageClass(pool.FindMessageTypeByName(channel["schemaName"]))()
        message.ParseFromString(payload)
        return message


@contextmanager
def viewing(port, **options):
    # What has come and was not read keeps the client from seeing that the server closes, too.
    with connect(
        f"ws://127.0.0.1:{port}", subprotocols=[SUBPROTOCOL], max_size=None, close_timeout=0.2, **options
    ) as connected:
        yield Viewer(connected)


def test_a_viewer_sees_a_replay_and_predictions(bus, drive):
    publisher = bus.publisher("prediction")
    with running(bus, node.FoxgloveConfig(rig=str(drive), port=0)) as port:
        playing = threading.Thread(
            target=replay.run, args=(replay.ReplayConfig(log=str(drive), loop=True, speed=2.0), bus)
        )
        playing.start()
        publisher.wait_for_subscribers(1, 10.0)
        publisher.send(prediction(0))  # its channels are advertised with it
        with viewing(port) as viewer:
            assert viewer.socket.subprotocol == SUBPROTOCOL
            assert viewer.info["op"] == "serverInfo"
            topics = ("/lidar", "/camera", "/gnss", "/imu", "/tf", "/camera/calibration")
            viewer.find(*topics, "/prediction", "/prediction/scene", "/ego/pose")
            seen = {}
            while len(seen) < 9:
                publisher.send(prediction(1))
                topic, stamp_ns, message = viewer.next()
                seen[topic] = (stamp_ns, message)
        bus.stop()
        playing.join()
    stamp_ns, sweep = seen["/lidar"]
    k = (stamp_ns - START_NS) // 100_000_000
    assert np.frombuffer(sweep.data, "<f4", 1)[0] == k
    _, image = seen["/camera"]
    assert (image.width, image.height, image.encoding) == (960, 288, "bgr8")
    assert seen["/gnss"][1].latitude == 49.0
    assert seen["/imu"][1]["specific_force"] == [0.0, 0.0, 9.8]
    assert {t.child_frame_id for t in seen["/tf"][1].transforms} & {"camera", "lidar", "ego"}
    assert seen["/camera/calibration"][1].width == 960
    assert seen["/prediction"][1]["objects"][0]["label"] == "car"
    (entity,) = seen["/prediction/scene"][1].entities
    assert entity.cubes[0].size.x == pytest.approx(4.2)
    assert seen["/ego/pose"][1].pose.position.y == 2.0


def test_a_viewer_sees_a_home(bus, make_scene):
    """Rooms, people and sensors as they are now, in the frame that the sensors' places are in."""
    publisher = bus.publisher("scene")
    with running(bus, node.FoxgloveConfig(plan="flat", port=0)) as port:
        publisher.wait_for_subscribers(1, 10.0)
        told = make_scene.scene(make_scene.room("kitchen", True), people=[make_scene.person(5)])
        publisher.send(told)
        with viewing(port) as viewer:
            viewer.find("/scene", "/scene/drawn", "/tf", "/living_camera/calibration")
            seen = {}
            while len(seen) < 4:
                publisher.send(told)
                topic, _, message = viewer.next()
                seen[topic] = message
    assert seen["/scene"]["rooms"][0]["room"] == "kitchen"
    drawn = {entity.id: entity for entity in seen["/scene/drawn"].entities}
    assert {entity.frame_id for entity in drawn.values()} == {"home"}
    assert drawn["person/5"].texts[0].text == "5 standing"
    assert drawn["room/kitchen"].texts[0].text.startswith("Kitchen 93 %")
    assert len(drawn["room/kitchen"].triangles[0].points) == 6
    placed = {t.child_frame_id: t for t in seen["/tf"].transforms}
    assert placed["kitchen_radar"].parent_frame_id == "home"
    radar = drawn["sensor/kitchen_radar"].cubes[0].pose.position
    assert (radar.x, radar.y, radar.z) == (
        placed["kitchen_radar"].translation.x,
        placed["kitchen_radar"].translation.y,
        placed["kitchen_radar"].translation.z,
    )


def test_nobodys_sensors_are_refused():
    with pytest.raises(ConfigError, match="neither rig nor plan"):
        node.FoxgloveConfig()


def test_a_viewer_that_does_not_read_holds_up_nobody(bus, drive):
    """It gets what fits into its queue; the one beside it gets the newest."""
    publisher = bus.publisher("lidar")
    with running(bus, node.FoxgloveConfig(rig=str(drive), port=0, topics=("lidar",), waiting=2)) as port:
        publisher.wait_for_subscribers(1, 10.0)
        publisher.send(cloud(0))
        # The client's own buffers are small too, so that the server's queue is what fills.
        with viewing(port, max_queue=1) as asleep, viewing(port) as awake:
            asleep.find("/lidar")
            awake.find("/lidar")
            for k in range(1, 60):
                publisher.send(cloud(k, n=50_000))
                if k > 3:
                    last = (awake.next()[1] - START_NS) // 100_000_000
            assert last > 50  # 60 MB went by, and by the sleeper
            held = list(_all_that_waits(asleep.socket))
            assert 0 < len(held) < 50


def _all_that_waits(connected):
    with suppress(TimeoutError):
        while True:
            yield connected.recv(timeout=0.5)


def test_nothing_is_encoded_that_nobody_looks_at(bus, drive):
    publisher = bus.publisher("lidar")
    with running(bus, node.FoxgloveConfig(rig=str(drive), port=0, topics=("lidar",))):
        publisher.wait_for_subscribers(1, 10.0)
        for k in range(20):
            publisher.send(cloud(k))
        time.sleep(0.2)
        assert bus.detail["said"] == 0


def test_only_this_machine_unless_configured(bus, drive):
    with running(bus, node.FoxgloveConfig(rig=str(drive), port=0)) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        with pytest.raises(OSError, match="refused"):  # another address of this machine
            socket.create_connection(("127.0.0.2", port), timeout=5)


def test_a_port_in_use_and_half_a_certificate(bus, drive):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(NodeError, match=f"127.0.0.1:{port}: cannot be served on"):
            node.run(node.FoxgloveConfig(rig=str(drive), port=port), bus)
    with pytest.raises(ConfigError, match="give both or neither"):
        node.FoxgloveConfig(rig=str(drive), tls_cert="cert.pem")
