"""The home node on a real bus, with the bundled network."""

import threading
from pathlib import Path

import numpy as np
import pytest
from fusion_rt.nodes import home

from fusion_rt.errors import ConfigError
from fusion_rt.header import Header
from fusion_rt.home_packets import HomeReading, RadarPoints
from fusion_rt.messages import Command

START_NS = 1_772_000_000_000_000_000
FLAT = str(Path(__file__).parents[2] / "configs" / "home" / "flat.yaml")


def header(sensor, seq):
    return Header(sensor_id=sensor, frame_id=sensor, seq=seq, stamp_ns=START_NS + seq * 100_000_000)


def points(seq):
    xyz = np.array([[2.0, 0.1, 0.0]], dtype=np.float32) + np.float32(0.001 * seq)
    ones = np.ones(1, dtype=np.float32)
    return RadarPoints(header=header("kitchen_radar", seq), xyz=xyz, velocity=0.3 * ones, snr_db=15 * ones)


@pytest.fixture
def scenes(bus):
    """Scenes of a running node, and publishers by topic."""
    output = bus.subscriber(["scene"], keep_all=True)
    topics = ("kitchen_radar", "kitchen_pir", "voice")
    publishers = {topic: bus.publisher(topic) for topic in topics}
    config = home.HomeNodeConfig(plan=FLAT, inputs=topics[:2])
    node = threading.Thread(target=home.run, args=(config, bus))
    node.start()
    assert all(publisher.wait_for_subscribers(1, 60.0) for publisher in publishers.values())
    yield output, publishers
    bus.stop()
    node.join()


def test_packets_in_scenes_out_and_silence_too(bus, scenes):
    output, publishers = scenes
    publishers["kitchen_radar"].send(points(0))
    first = output.recv(30.0)
    assert first.header.stamp_ns == START_NS
    assert "tracked" in [point.stage for point in first.header.trace]
    assert first.certificate.model.startswith("home-s-")
    assert [room.room for room in first.rooms] == ["kitchen", "living", "hall", "bedroom", "bathroom"]
    later = output.recv(30.0)  # nothing was sent since: time went on by itself
    assert later.header.stamp_ns > START_NS
    silent = later
    while silent.certificate.rung != "coasting":
        silent = output.recv(30.0)
    assert "kitchen_radar" in silent.rooms[0].why.missing


def test_a_command_becomes_an_intent_in_a_room_and_what_is_wrong_is_counted(bus, scenes):
    output, publishers = scenes
    publishers["kitchen_radar"].send(points(0))
    output.recv(30.0)
    wrong = HomeReading(
        header=header("kitchen_pir", 1), entity="kitchen_pir", kind="motion", value=7.0, unit=""
    )
    publishers["kitchen_pir"].send(wrong)
    asked = Command(
        header=header("kitchen_microphone", 1), intent="turn_on", slots={"device": "ceiling light"}
    )
    publishers["voice"].send(asked)
    intents = ()
    while not intents:
        intents = output.recv(30.0).intents
    assert (intents[0].room, intents[0].slots["room"]) == ("kitchen", "kitchen")
    while "kitchen_pir.out_of_range" not in bus.detail:
        assert output.recv(30.0) is not None
    assert bus.detail["kitchen_pir.out_of_range"] == 1


def test_a_plan_that_is_not_there_is_refused(bus):
    with pytest.raises(ConfigError, match="no such file"):
        home.run(home.HomeNodeConfig(plan="nowhere"), bus)
