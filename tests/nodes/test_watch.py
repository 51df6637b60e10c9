"""A camera that tells where people are, and keeps its images to itself."""

import threading
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from fusion_rt.nodes.watch import WatchConfig, run

from fusion_rt.errors import ConfigError, NodeError
from fusion_rt.messages import Header, Image, Sight
from fusion_rt.sensors.people import find_files
from fusion_rt.telling import command

PLAN = """
rooms:
  living: {{name: Living room, polygon: [[0, 0], [4, 0], [4, 4], [0, 4]], raw: {raw}}}
sensors:
  eye: {{kind: camera, room: living, width: 300, height: 290, K: [[300, 0, 150], [0, 300, 145], [0, 0, 1]]}}
  door: {{kind: contact, room: living}}
"""


@pytest.fixture
def plan(tmp_path):
    def write(raw):
        path = tmp_path / "plan.yaml"
        path.write_text(PLAN.format(raw=str(raw).lower()))
        return str(path)

    return write


@pytest.fixture
def _needs_the_networks():
    try:
        find_files(None, "lite")
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def walker(shared_data):
    pixels = cv2.imread(str(shared_data / "kitti_object" / "training" / "image_2" / "000000.png"))
    return np.ascontiguousarray(pixels[80:370, 610:910])


@pytest.fixture
def video(tmp_path, walker):
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (300, 290))
    for _ in range(5):
        writer.write(walker)
    writer.release()
    return path


@contextmanager
def running(config, bus):
    failed = []

    def guarded():
        try:
            run(config, bus)
        except Exception as error:
            failed.append(error)

    node = threading.Thread(target=guarded)
    node.start()
    try:
        yield
    finally:
        bus.stop()
        node.join()
    assert failed == []


@pytest.mark.usefixtures("_needs_the_networks")
def test_a_film_becomes_people_and_no_image_leaves(bus, plan, video):
    config = WatchConfig(sensor_id="eye", plan=plan(False), source=str(video), loop=True)
    with bus.subscriber(["eye"], keep_all=True) as inputs, running(config, bus):
        sights = []
        while len(sights) < 2:
            sight = inputs.recv(0.5)
            if sight is not None:
                sights.append(sight)
        assert {publisher.topic for publisher in bus._publishers} == {"eye"}
        topics = {path.name for path in Path(bus.run_dir).rglob("*") if "eye" not in path.name}
        assert not {name for name in topics if "image" in name or "camera" in name}
        assert bus._publishers[0]._ring is None  # nothing went through shared memory
    for sight in sights:
        assert isinstance(sight, Sight)
        assert (sight.width, sight.height, len(sight.scores)) == (300, 290, 1)
        arrays = [
            v for v in map(sight.__getattribute__, sight.__struct_fields__) if isinstance(v, np.ndarray)
        ]
        assert sum(a.nbytes for a in arrays) < 1000
    assert bus.detail["people"] == 1


@pytest.mark.usefixtures("_needs_the_networks")
def test_where_the_room_allows_it_images_come_and_go(bus, plan, walker):
    config = WatchConfig(sensor_id="eye", plan=plan(True), images="door_camera", publish_images="shown")
    with (
        bus.subscriber(["eye", "shown"], keep_all=True) as inputs,
        bus.publisher("door_camera") as camera,
        running(config, bus),
    ):
        heard = {}
        seq = 0
        while len(heard) < 2 or "damaged" not in bus.detail:
            header = Header(sensor_id="cam", frame_id="cam", seq=seq, stamp_ns=10**9 + seq)
            data, encoding = (np.zeros(9, np.uint8), "jpeg") if seq % 3 == 2 else (walker, "bgr8")
            camera.send(Image(header=header, height=290, width=300, encoding=encoding, data=data))
            seq += 1
            packet = inputs.recv(0.2)
            if packet is not None:
                heard[packet.header.sensor_id, type(packet)] = packet
        stamps = {p.header.stamp_ns for p in heard.values()}
    assert {kind for _, kind in heard} == {Sight, Image}
    assert all(10**9 <= stamp < 10**9 + seq for stamp in stamps)  # the image's own time


@pytest.mark.parametrize("key", ["images", "publish_images"])
def test_images_of_a_room_that_forbids_it(bus, plan, key):
    camera = {"source": 0} if key == "publish_images" else {}
    with pytest.raises(
        ConfigError, match=rf"eye: {key}: images of living would leave.*rooms.living.raw: true"
    ):
        run(WatchConfig(sensor_id="eye", plan=plan(False), **camera, **{key: "t"}), bus)


def test_what_is_no_camera(bus, plan):
    with pytest.raises(ConfigError, match=r"door: not a camera of .*; there are: eye"):
        run(WatchConfig(sensor_id="door", plan=plan(False), source=0), bus)
    with pytest.raises(ConfigError, match="`source`, a camera, or `images`, a topic"):
        WatchConfig(sensor_id="eye", plan="p")


@pytest.mark.usefixtures("_needs_the_networks")
def test_a_camera_that_is_switched_off_is_closed(bus, plan, video):
    config = WatchConfig(sensor_id="eye", plan=plan(False), source=str(video), loop=True, rate_hz=60)
    with (
        bus.subscriber(["eye"], keep_all=True) as inputs,
        bus.publisher("tell.watch", "event") as tell,
        running(config, bus),
    ):
        while inputs.recv(0.5) is None:
            pass
        for intent, on in (("off", 0.0), ("on", 1.0)):
            tell.send(command("tell.watch", intent))
            while bus.detail["on"] != on:
                bus.wait(0.02)
            if intent == "off":
                while inputs.recv(0.5) is not None:  # the last one under way
                    pass
        while inputs.recv(0.5) is None:
            pass


@pytest.mark.usefixtures("_needs_the_networks")
def test_a_file_that_is_no_film(bus, plan, tmp_path):
    path = tmp_path / "text.avi"
    path.write_text("not a film")
    with pytest.raises(NodeError, match=r"eye: .*text.avi: no frame"):
        run(WatchConfig(sensor_id="eye", plan=plan(False), source=str(path)), bus)
