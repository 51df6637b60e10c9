"""Household sensors through a real broker."""

import json
import math
import time
from contextlib import closing

import pytest
from fusion_rt.nodes import household as node

from fusion_rt.bus import Bus
from fusion_rt.sensors.household import Source
from fusion_rt.sinks.listening import LONGEST, WAITING, Listener
from fusion_rt.sinks.mqtt import Broker

PLAN = """
rooms: {kitchen: {name: Kitchen, polygon: [[0, 0], [4, 0], [4, 4], [0, 4]]}}
sensors:
  kitchen_temperature: {kind: temperature, room: kitchen, period_s: 60}
  back_door: {kind: contact, room: kitchen}
"""
SENSORS = {
    "kitchen_temperature": Source(topic="zigbee2mqtt/kitchen", shape="zigbee2mqtt"),
    "back_door": Source(topic="hall/binary_sensor/door/state", shape="esphome"),
}


@pytest.fixture
def say():
    """port -> what a real client publishes with: (topic, payload, retain)"""
    clients = []

    def connect(port):
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.connect("127.0.0.1", port)
        client.loop_start()
        clients.append(client)

        def publish(topic, payload, retain=False):
            if isinstance(payload, dict):
                payload = json.dumps(payload)
            client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

        return publish

    yield connect
    for client in clients:
        client.disconnect()
        client.loop_stop()


def until(condition, tries=600):
    for _ in range(tries):
        got = condition()
        if got:
            return got
    raise AssertionError("it did not happen")


def test_readings_come_in_and_the_broker_comes_back(mosquitto, say, run_node, config, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    settings = node.HouseholdConfig(host="127.0.0.1", port=mosquitto.port, plan=str(plan), sensors=SENSORS)
    with Bus(config) as other, other.subscriber(list(SENSORS), keep_all=True) as inputs:
        bus = run_node(node.run, settings)
        mosquitto.start()
        publish = say(mosquitto.port)
        publish("hall/binary_sensor/door/state", "ON", retain=True)
        door = until(lambda: inputs.recv(0.1))
        assert (door.header.sensor_id, door.value) == ("back_door", 1.0)
        publish("zigbee2mqtt/kitchen", {"temperature": "wrong"})
        publish("zigbee2mqtt/kitchen", {"temperature": 21.5})
        warm = until(lambda: inputs.recv(0.1))
        assert (warm.header.sensor_id, warm.value, warm.unit) == ("kitchen_temperature", 21.5, "°C")
        until(lambda: other.wait(0.02) or bus.detail.get("kitchen_temperature.type") == 1)
        publish("zigbee2mqtt/kitchen/availability", {"state": "offline"})
        assert math.isnan(until(lambda: inputs.recv(0.1)).value)
        mosquitto.stop()
        until(lambda: other.wait(0.02) or not bus.detail["connected"])
        mosquitto.start()  # it has forgotten everything
        publish = say(mosquitto.port)
        until(lambda: other.wait(0.02) or bus.detail["connected"])

        def again():
            publish("hall/binary_sensor/door/state", "OFF")
            return inputs.recv(0.1)

        assert until(again).value == 0.0


def test_who_comes_late_is_told_the_state(mosquitto, say, run_node, config, tmp_path):
    plan = tmp_path / "plan.yaml"
    plan.write_text(PLAN)
    mosquitto.start()
    say(mosquitto.port)("hall/binary_sensor/door/state", "ON", retain=True)
    settings = node.HouseholdConfig(host="127.0.0.1", port=mosquitto.port, plan=str(plan), sensors=SENSORS)
    with Bus(config) as other:
        bus = run_node(node.run, settings)
        until(lambda: other.wait(0.02) or bus.detail.get("back_door.retained"))
        for _ in range(2):  # the second comes after the first has gone
            with other.subscriber(["back_door"], keep_all=True) as late:
                assert until(lambda: late.recv(0.1)).value == 1.0
                assert late.recv(0.5) is None
            other.wait(0.5)


def test_what_the_broker_kept_is_told_apart(mosquitto, say):
    mosquitto.start()
    publish = say(mosquitto.port)
    publish("a/b", "1", retain=True)
    with closing(Listener(Broker(host="127.0.0.1", port=mosquitto.port), "", ["a/#"])) as listener:
        (kept,) = until(lambda: listener.take(0.1))
        assert (kept.topic, kept.payload, kept.retained) == ("a/b", b"1", True)
        publish("a/b", "2", retain=True)
        (new,) = until(lambda: listener.take(0.1))
        assert (new.payload, new.retained) == (b"2", False)


def test_a_flood_is_bounded(mosquitto, say):
    mosquitto.start()
    publish = say(mosquitto.port)
    with closing(Listener(Broker(host="127.0.0.1", port=mosquitto.port), "", ["a/#"])) as listener:
        until(lambda: listener.connected or listener.take(0.05))
        publish("a/ready", "", retain=True)
        until(lambda: listener.take(0.1))
        publish("a/large", b" " * (LONGEST + 1))
        from paho.mqtt import publish as at_once

        many = [{"topic": "a/flood", "payload": str(i), "qos": 1} for i in range(WAITING + 500)]
        at_once.multiple(many, hostname="127.0.0.1", port=mosquitto.port)
        publish("a/last", "end")
        got = []
        until(lambda: time.sleep(0.02) or listener.left_out >= 501)
        until(lambda: got.extend(listener.take(0.1)) or (got and got[-1].topic == "a/last"))
    assert len(got) + listener.left_out == WAITING + 502
    assert len(got) <= WAITING + 1


def test_sensors_are_found_at_a_broker(mosquitto, say):
    from typer.testing import CliRunner

    from fusion_rt.cli import app

    mosquitto.start()
    publish = say(mosquitto.port)
    publish("zigbee2mqtt/kitchen", {"temperature": 21.5, "linkquality": 3}, retain=True)
    where = ["home", "discover", "--broker", f"127.0.0.1:{mosquitto.port}", "--seconds", "1"]
    done = CliRunner().invoke(app, [*where, "--json"])
    (found,) = json.loads(done.stdout)
    assert (found["slug"], found["kind"], found["value"]) == ("kitchen_temperature", "temperature", 21.5)
    done = CliRunner().invoke(app, where)
    assert "kitchen_temperature: {topic: zigbee2mqtt/kitchen, shape: zigbee2mqtt}" in done.stdout
