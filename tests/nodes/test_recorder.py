"""The recorder on a real bus: everything is in the files, or they say what is not."""

import os
import signal
import threading
import time

import cv2
import numpy as np
import pytest
from fusion_rt.nodes import recorder

from fusion_rt import logs, telling
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import ConfigError
from fusion_rt.messages import Header, Image, ImuSample
from fusion_rt.payloads import H264
from fusion_rt.rig import Imu, Rig

START_NS = 1_700_000_000_000_000_000


def sample(seq):
    header = Header(sensor_id="imu", frame_id="imu", seq=seq, stamp_ns=START_NS + seq * 10_000_000)
    return ImuSample(header=header, specific_force=(0.0, 0.0, 9.81), angular_rate=(0.0, 0.0, 0.0))


@pytest.fixture
def rig_file(tmp_path):
    path = tmp_path / "rig.yaml"
    path.write_text(Rig(imus={"imu": Imu()}).to_yaml())
    return str(path)


class Recording:
    """The node in a thread, on a bus of its own as in a process of its own."""

    def __init__(self, bus, **config):
        self.bus = Bus(BusConfig(run_dir=str(bus.run_dir)))
        self.config = recorder.RecorderConfig(**config)
        self.paths = None
        self.thread = threading.Thread(target=self._run)

    def _run(self):
        self.paths = recorder.run(self.config, self.bus)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.bus.stop()
        self.thread.join()
        self.bus.close()


def seqs(path):
    with logs.open(path) as log:
        assert log.recovered == ""
        return [packet.header.seq for packet in log]


def test_gaps_are_said_with_their_numbers_and_whose_they_are(bus, tmp_path, rig_file):
    output = bus.publisher("imu", "log")
    with Recording(bus, path=str(tmp_path / "a.mcap"), rig=rig_file) as recording:
        assert output.wait_for_subscribers(1, 10)
        for seq in (0, 1, 2, 10, 11, 12):  # the sensor has left out 3 to 9
            output.send(sample(seq))
        output._drop()  # what a publisher does where its readers hold all slots
        output._drop()
        for seq in (15, 16):
            output.send(sample(seq))
    with logs.open(tmp_path / "a.mcap") as log:
        found = [(loss.cause, loss.first, loss.last, loss.messages) for loss in log.losses]
        assert found == [("bus", 13, 14, 2), ("source", 3, 9, 7)]
        assert log.losses[0].start_ns == sample(12).header.stamp_ns
        assert log.losses[0].end_ns == sample(15).header.stamp_ns
        assert log.ended.written == {"imu": 8}
    assert recording.bus.detail == {"written": 8, "lost": 2, "files": 1}


def test_files_are_split_by_time_and_each_can_be_read_alone(bus, tmp_path, rig_file):
    (tmp_path / "a_000.mcap").touch()  # of an earlier recording
    output = bus.publisher("imu", "log")
    config = {"path": str(tmp_path / "a.mcap"), "rig": rig_file, "split_seconds": 1.0}
    with Recording(bus, **config) as recording:
        assert output.wait_for_subscribers(1, 10)
        for seq in range(250):
            output.send(sample(seq))
    names = [path.name for path in recording.paths]
    assert names == ["a-1_000.mcap", "a-1_001.mcap", "a-1_002.mcap"]
    assert [seqs(p) for p in recording.paths] == [
        list(range(100)),
        list(range(100, 200)),
        list(range(200, 250)),
    ]


def picture(seq, encoding="bgr8"):
    y, x = np.mgrid[:62, :81]
    pixels = np.stack([128 + 90 * np.sin((x + 3 * seq) / 9), 2 * x + 40, 255 - 3 * y], axis=2)
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    data = pixels if encoding == "bgr8" else cv2.imencode(".jpg", pixels)[1].reshape(-1)
    header = Header(sensor_id="cam", frame_id="cam", seq=seq, stamp_ns=START_NS + seq * 100_000_000)
    return pixels, Image(header=header, height=62, width=81, encoding=encoding, data=data)


def test_images_as_h264(bus, tmp_path, rig_file, capsys):
    """Each file begins with a key frame, so it can be read alone; what is no image is lost, and said."""
    pytest.importorskip("av", reason="PyAV is not installed (extra video)")
    output = bus.publisher("cam", "log")
    config = {"path": str(tmp_path / "a.mcap"), "rig": rig_file, "split_seconds": 2.0, "topics": ("cam",)}
    frames = [picture(seq, "jpeg" if seq % 2 else "bgr8") for seq in range(40)]
    broken = Image(
        header=Header(sensor_id="cam", frame_id="cam", seq=40, stamp_ns=frames[-1][1].header.stamp_ns + 1),
        height=62,
        width=81,
        encoding="jpeg",
        data=np.full(100, 255, np.uint8),
    )
    with Recording(bus, h264=H264(crf=18), **config) as recording:
        assert output.wait_for_subscribers(1, 10)
        for _, image in frames:
            output.send(image)
        output.send(broken)
    assert "cam: image 40 cannot be in a video" in capsys.readouterr().err
    assert len(recording.paths) == 2
    got = []
    for path in recording.paths:
        with logs.open(path) as log:
            got += [packet for packet in log if isinstance(packet, Image)]
            assert not log.skipped
            (channel,) = {c.topic for s, c, _ in log.records() if s.name == "foxglove.CompressedVideo"}
            assert channel == "/cam"
    for (pixels, image), packet in zip(frames, got, strict=True):
        assert (packet.header.seq, packet.encoding) == (image.header.seq, "bgr8")
        assert np.abs(packet.data.astype(int) - pixels).mean() < 3
    with logs.open(recording.paths[-1]) as log:
        assert [(loss.cause, loss.first, loss.messages) for loss in log.losses] == [("refused", 40, 1)]


def test_a_snapshot_by_command_and_by_event(bus, tmp_path, rig_file):
    output, alarm = bus.publisher("imu", "log"), bus.publisher("alarm", "event")
    config = {
        "path": str(tmp_path / "a.mcap"),
        "rig": rig_file,
        "snapshot_s": 60.0,
        "snapshot_on": ("alarm",),
    }
    with Recording(bus, **config) as recording:
        assert output.wait_for_subscribers(1, 10)
        assert alarm.wait_for_subscribers(1, 10)
        for seq in range(20):
            output.send(sample(seq))
        wait_for(lambda: recording.bus.detail.get("held", 0) == 20)
        telling.tell(bus, "recorder", "snapshot")
        wait_for(lambda: recording.bus.detail["snapshots"] == 1)
        for seq in range(20, 30):
            output.send(sample(seq))
        telling.tell(bus, "recorder", "juggle")  # no such command: nothing is saved
        alarm.send(sample(0))
        wait_for(lambda: recording.bus.detail["snapshots"] == 2)
    first, second = recording.paths
    assert first.name.startswith("a-2")
    found = seqs(first)
    assert found == list(range(20))
    assert seqs(second) == list(range(30))
    assert sorted(tmp_path.glob("*.mcap")) == sorted(recording.paths)


def test_a_signal_saves_a_snapshot(bus, tmp_path, rig_file):
    """In the main thread, where signals arrive."""
    output = bus.publisher("imu", "log")
    bus_2 = Bus(BusConfig(run_dir=str(bus.run_dir)))
    config = recorder.RecorderConfig(path=str(tmp_path / "new" / "a.mcap"), rig=rig_file, snapshot_s=60.0)

    def play():
        output.wait_for_subscribers(1, 10)
        for seq in range(20):
            output.send(sample(seq))
        wait_for(lambda: bus_2.detail.get("held", 0) == 20)
        os.kill(os.getpid(), signal.SIGUSR1)
        wait_for(lambda: bus_2.detail["snapshots"] == 1)
        bus_2.stop()

    before = signal.getsignal(signal.SIGUSR1)
    player = threading.Thread(target=play)
    player.start()
    with bus_2:
        (path,) = recorder.run(config, bus_2)
    player.join()
    assert len(seqs(path)) > 0
    assert signal.getsignal(signal.SIGUSR1) == before


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_settings_that_contradict_are_refused():
    with pytest.raises(ConfigError, match="snapshot_on without snapshot_s"):
        recorder.RecorderConfig(path="a", rig="b", snapshot_on=("alarm",))
    with pytest.raises(ConfigError, match="a snapshot is one file"):
        recorder.RecorderConfig(path="a", rig="b", snapshot_s=1.0, split_size="1GB")
    with pytest.raises(ConfigError, match="'many' is no size"):
        recorder.RecorderConfig(path="a", rig="b", split_size="many")
