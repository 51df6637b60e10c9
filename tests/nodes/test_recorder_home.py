"""A live home, recorded: real MQTT in, and a log that replays by itself."""

import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from fusion_rt.nodes import home, household, recorder, replay

from fusion_rt import logs
from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import ConfigError
from fusion_rt.logs.checking import check
from fusion_rt.messages import Command, Header, HomeReading, RadarPoints
from fusion_rt.plan import Plan
from fusion_rt.sensors.household import Source

FLAT = str(Path(__file__).parents[2] / "configs" / "home" / "flat.yaml")
FRAMES = 40


@contextmanager
def node(bus, run, config):
    """In a thread, on a bus of its own as in a process of its own."""
    failed = []
    with Bus(BusConfig(run_dir=str(bus.run_dir))) as own:

        def work():
            try:
                run(config, own)
            except Exception as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield own
        finally:
            own.stop()
            thread.join()
            assert not failed


def header(sensor, seq, frame=""):
    return Header(sensor_id=sensor, frame_id=frame or sensor, seq=seq, stamp_ns=time.time_ns())


def somebody(seq):
    """Walks up and down in the kitchen."""
    xyz = np.array([[1.5 + 0.3 * np.sin(seq / 5), 0.1, 0.0]] * 6, np.float32)
    ones = np.ones(6, np.float32)
    return RadarPoints(header=header("kitchen_radar", seq), xyz=xyz, velocity=0.3 * ones, snr_db=15 * ones)


def occupied(scenes):
    return {room.room for scene in scenes for room in scene.rooms if room.occupied}


def live(bus, broker, spoken, path):
    """Two seconds of a home."""
    sources = {
        "front_door": Source(topic="zigbee2mqtt/front_door", shape="zigbee2mqtt"),
        "kitchen_pir": Source(topic="zigbee2mqtt/kitchen_pir", shape="zigbee2mqtt"),
    }
    spoken.say("zigbee2mqtt/front_door", b'{"contact": true}', retain=True)  # of an unknown age
    mqtt = household.HouseholdConfig(host="127.0.0.1", port=broker.port, plan=FLAT, sensors=sources)
    recording = recorder.RecorderConfig(path=str(path), plan=FLAT)
    with (
        bus.publisher("kitchen_radar") as radar,
        bus.publisher("voice", "event") as voice,
        node(bus, recorder.run, recording) as recorded,
        node(bus, home.run, home.HomeNodeConfig(plan=FLAT)),
        node(bus, household.run, mqtt) as sensing,
    ):
        assert radar.wait_for_subscribers(2, 60.0)
        assert voice.wait_for_subscribers(2, 60.0)
        while not sensing.detail.get("connected"):
            time.sleep(0.02)
        for seq in range(FRAMES):
            radar.send(somebody(seq))
            if seq % 10 == 5:
                spoken.say("zigbee2mqtt/kitchen_pir", b'{"occupancy": true}')
            if seq == 30:
                asked = {"intent": "turn_on", "slots": {"device": "ceiling light"}}
                voice.send(Command(header=header("kitchen_microphone", 0, "voice"), **asked))
            time.sleep(0.05)
        while recorded.detail.get("written", 0) < FRAMES + 6:
            time.sleep(0.02)


def test_a_live_home_replays_by_itself(bus, brokers, tmp_path):
    broker = brokers.mosquitto(brokers.free_port(), tmp_path)
    broker.start()
    path = tmp_path / "evening.mcap"
    try:
        spoken = brokers.Listener(broker.port)
        live(bus, broker, spoken, path)
        spoken.close()
    finally:
        broker.stop()

    with logs.open(path) as log:
        packets, recorded = list(log), list(log.scenes())
        assert log.plan == Plan.load(FLAT)
        assert (log.end_ns - log.start_ns) / 1e9 < 600  # the door's state is a day older, and stands inside
    door = next(p for p in packets if p.header.sensor_id == "front_door")
    assert (packets[-1].header.stamp_ns - door.header.stamp_ns) / 1e9 > 80_000
    readings = {p.header.sensor_id for p in packets if isinstance(p, HomeReading)}
    assert readings == {"front_door", "kitchen_pir"}
    assert len([p for p in packets if isinstance(p, RadarPoints)]) == FRAMES
    assert [p.intent for p in packets if isinstance(p, Command)] == ["turn_on"]
    assert check(path).problems == []
    assert "kitchen" in occupied(recorded)

    output = bus.subscriber(["scene"], keep_all=True)
    played = replay.ReplayConfig(log=str(path), wait_for_s=60.0, topics=("kitchen_radar", *sorted(readings)))
    with node(bus, home.run, home.HomeNodeConfig(plan=str(path))), node(bus, replay.run, played):
        again = []
        while len({s.header.stamp_ns for s in again} & {s.header.stamp_ns for s in recorded}) < 5:
            again.append(output.recv(30.0))
            assert again[-1] is not None
        again += all_of_until(output, recorded[-1].header.stamp_ns)
    assert "kitchen" in occupied(again)
    assert [room.room for room in again[-1].rooms] == list(Plan.load(FLAT).rooms)
    # Its way began anew: the bus of then has another clock.
    assert all(len([p for p in s.header.trace if p.stage == "published"]) <= 2 for s in again)


def all_of_until(subscriber, stamp_ns):
    found = [subscriber.recv(30.0)]
    while found[-1].header.stamp_ns < stamp_ns:
        found.append(subscriber.recv(30.0))
    return found


def test_a_recorder_without_sensors():
    with pytest.raises(ConfigError, match="neither rig nor plan"):
        recorder.RecorderConfig(path="a")
