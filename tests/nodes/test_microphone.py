"""The microphone's node on a real bus: what goes out, and what does not."""

import os
import threading
import time

import numpy as np
import pytest
import soundfile
import yaml
from fusion_rt.nodes import microphone

from fusion_rt import telling
from fusion_rt.errors import ConfigError
from fusion_rt.home_packets import Sound
from fusion_rt.messages import AudioChunk
from fusion_rt.scenario import find_file
from fusion_rt.sound.listening import ListenConfig

LISTEN = ListenConfig(voice=None, events=None)  # what is tested here is the way, not the ear
MIC = "office_microphone"


@pytest.fixture
def recording(tmp_path):
    t = np.arange(3 * 48_000) / 48_000
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.1 * np.sin(2 * np.pi * 1000 * t), 48_000)
    return path


@pytest.fixture
def raw_plan(tmp_path):
    """The office, whose sound may leave."""
    plan = yaml.safe_load(find_file("office", "home").read_text())
    plan["rooms"]["office"]["raw"] = True
    path = tmp_path / "raw.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


def start(bus, **config):
    settings = microphone.MicrophoneConfig(sensor_id=MIC, listen=LISTEN, **{"plan": "office", **config})
    node = threading.Thread(target=microphone.run, args=(settings, bus))
    node.start()
    return node


def receive(subscriber, node, count=1000):
    got = []
    while len(got) < count:
        message = subscriber.recv(0.5)
        if message is not None:
            got.append(message)
        elif not node.is_alive():
            break
    return got


def files_under(folder):
    return {os.path.join(place, name) for place, _, names in os.walk(folder) for name in names}


def test_levels_go_out_and_nothing_else(bus, recording, tmp_path, monkeypatch):
    """No topic has samples, no message has, and no file is written."""
    monkeypatch.chdir(tmp_path)
    before = files_under(tmp_path)
    subscriber = bus.subscriber([MIC, "voice", "raw"], keep_all=True)
    node = start(bus, source=str(recording))
    got = receive(subscriber, node)
    node.join()
    assert got
    assert all(isinstance(message, Sound) for message in got)
    assert not any(message.embedding.size for message in got)
    assert {p.topic for p in bus._publishers} == {MIC, "voice"}
    assert files_under(tmp_path) == before
    stamps = [message.header.stamp_ns for message in got]
    assert stamps == sorted(stamps)
    assert got[-1].level_dba == pytest.approx(100, abs=1)


def test_samples_leave_only_where_the_plan_says_so(bus, recording, raw_plan):
    with pytest.raises(ConfigError, match="raw_topic: sound of the room 'office' stays in its process"):
        microphone.run(
            microphone.MicrophoneConfig(sensor_id=MIC, plan="office", raw_topic="raw", source=str(recording)),
            bus,
        )
    with pytest.raises(ConfigError, match="source: sound of the room"):
        microphone.run(microphone.MicrophoneConfig(sensor_id=MIC, plan="office", source="bus:raw"), bus)
    subscriber = bus.subscriber(["raw"], keep_all=True)
    node = start(bus, plan=str(raw_plan), raw_topic="raw", source=str(recording))
    assert all(isinstance(message, AudioChunk) for message in receive(subscriber, node, 3))
    bus.stop()
    node.join()


def test_mute_ends_the_sound_and_unmute_brings_it_back(bus, recording):
    subscriber = bus.subscriber([MIC], keep_all=True)
    node = start(bus, source=str(recording), loop=True, wait_for_s=0.0)
    assert receive(subscriber, node, 1)
    telling.tell(bus, MIC, "mute")
    while bus.detail.get("muted") != 1.0:
        time.sleep(0.02)
    while subscriber.recv(0.3) is not None:
        pass
    frames = bus.detail["frames"]
    assert subscriber.recv(1.0) is None
    assert bus.detail["frames"] == frames
    with bus.publisher("tell.microphone", "event") as publisher:
        assert publisher.wait_for_subscribers(1, 5.0)
        publisher.send(telling.command("tell.microphone", "unmute"))
    assert receive(subscriber, node, 1)
    bus.stop()
    node.join()


def test_a_wrong_name_is_told(bus):
    with pytest.raises(
        ConfigError, match=r"'kitchen' is no microphone of the plan; there are: office_microphone"
    ):
        microphone.run(microphone.MicrophoneConfig(sensor_id="kitchen", plan="office"), bus)
