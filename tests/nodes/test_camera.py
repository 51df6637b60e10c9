import threading
from itertools import pairwise

import cv2
import numpy as np
import pytest
from fusion_rt.nodes.camera import CameraConfig, run

from fusion_rt.bus import detach
from fusion_rt.errors import NodeError


@pytest.fixture
def video(tmp_path):
    """Ten grey frames, brighter from one to the next."""
    path = tmp_path / "v.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 50.0, (320, 240))
    for i in range(10):
        writer.write(np.full((240, 320, 3), 20 * i, np.uint8))
    writer.release()
    return path


def test_a_file_is_published_frame_by_frame(bus, video):
    with bus.subscriber(["cam"], keep_all=True) as inputs:
        config = CameraConfig(sensor_id="cam", source=str(video), loop=True)
        node = threading.Thread(target=run, args=(config, bus))
        node.start()
        frames = [detach(inputs.recv(10)) for _ in range(25)]  # kept: more than the ring has slots
        bus.stop()
        node.join()
    seqs = [frame.header.seq for frame in frames]
    assert seqs == list(range(seqs[0], seqs[0] + 25))
    assert all(a.header.stamp_ns < b.header.stamp_ns for a, b in pairwise(frames))
    for frame in frames:
        assert frame.data.shape == (240, 320, 3)
        assert abs(int(frame.data.mean()) - 20 * (frame.header.seq % 10)) <= 2


def test_the_end_of_a_file_ends_the_node(bus, video):
    run(CameraConfig(sensor_id="cam", source=str(video)), bus)
    assert not bus.stopping


def test_a_file_that_is_no_video(bus, tmp_path):
    path = tmp_path / "text.avi"
    path.write_text("not a video")
    with pytest.raises(NodeError, match=r"cam: .*text.avi: no frame"):
        run(CameraConfig(sensor_id="cam", source=str(path)), bus)


def test_a_camera_that_is_not_there_is_waited_for(bus, capfd):
    config = CameraConfig(sensor_id="cam", source="/dev/video97")
    node = threading.Thread(target=run, args=(config, bus))
    node.start()
    while bus.detail.get("reopened", 0) < 2:
        bus.wait(0.02)
    bus.stop()
    node.join()
    assert capfd.readouterr().err.count("cam: /dev/video97: no frames; trying again") == 1
