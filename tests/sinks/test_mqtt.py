import json
import queue
import signal
import socket
import time

import numpy as np
import pytest
from fusion_rt.nodes import mqtt as node

from fusion_rt.bus import Bus
from fusion_rt.errors import ConfigError
from fusion_rt.sinks import Outgoing, from_raw


@pytest.fixture
def listen():
    """port -> a queue of what a real client hears."""
    clients = []

    def start(port):
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        heard = queue.Queue()
        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.on_connect = lambda client, *_: client.subscribe("cars/7/#")
        client.on_subscribe = lambda *_: heard.put(None)
        client.on_message = lambda _, __, message: heard.put((message.topic, message.payload))
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", port)
        client.loop_start()
        clients.append(client)
        assert heard.get(timeout=10) is None
        return heard

    yield start
    for client in clients:
        client.disconnect()
        client.loop_stop()


def until(work, condition, tries=600):
    for _ in range(tries):
        work()
        if condition():
            return
    raise AssertionError("it did not happen")


def settings(port, **topics):
    return node.MqttConfig(host="127.0.0.1", port=port, prefix="cars/7", client_id="seven", topics=topics)


def test_a_broker_gets_messages_and_comes_back(mosquitto, listen, run_node, config, samples):
    bus = run_node(
        node.run,
        settings(mosquitto.port, imu=Outgoing(), lidar=Outgoing(forms=("json", "raw"))),
    )
    with Bus(config) as car:
        imu, lidar = car.publisher("imu"), car.publisher("lidar")

        def work():
            imu.send(samples.imu(1))
            car.wait(0.02)

        until(work, lambda: bus.detail.get("imu.left_out"))  # no broker yet: nothing waits for it
        mosquitto.start()
        heard = listen(mosquitto.port)
        until(work, lambda: not heard.empty())
        topic, payload = heard.get()
        assert (topic, json.loads(payload)["header"]["sensor_id"]) == ("cars/7/imu", "imu")
        lidar.send(samples.cloud(5, 2000))
        found = {}
        until(lambda: found.update([heard.get(timeout=10)]), lambda: "cars/7/lidar/raw" in found)
        cloud = from_raw(found["cars/7/lidar/raw"])
        np.testing.assert_array_equal(cloud.xyz, samples.cloud(5, 2000).xyz)
        mosquitto.stop()
        until(work, lambda: not bus.detail["connected"])
        mosquitto.start()
        while not heard.empty():
            heard.get()
        until(work, lambda: not heard.empty())
        assert heard.get() is None  # both have subscribed and connected again
        until(work, lambda: not heard.empty())


def test_a_broker_that_stands_still_holds_up_nobody(mosquitto, run_node, config, samples):
    mosquitto.start()
    bus = run_node(node.run, settings(mosquitto.port, lidar=Outgoing(forms=("raw",))))
    with Bus(config) as car, car.subscriber(["lidar"]) as other:
        lidar = car.publisher("lidar")

        def work():
            assert lidar.send(samples.cloud(0, 20_000))  # 440 kB, and never refused
            car.wait(0.01)

        until(work, lambda: bus.detail.get("lidar.sent"))
        mosquitto.signal(signal.SIGSTOP)
        until(work, lambda: bus.detail.get("lidar.left_out"), 2000)
        assert other.recv(10) is not None
        mosquitto.signal(signal.SIGCONT)
        sent = bus.detail["lidar.sent"]
        until(work, lambda: bus.detail["lidar.sent"] > sent + 100, 2000)


def test_one_that_takes_a_connection_and_says_nothing_is_asked_again(brokers, tmp_path, monkeypatch):
    pytest.importorskip("paho.mqtt")
    from fusion_rt.sinks import mqtt

    monkeypatch.setattr(mqtt, "SILENT_S", 0.5)
    broker = brokers.any_broker(brokers.free_port(), tmp_path)
    broker.start()
    session = mqtt.Session(mqtt.Broker(host="127.0.0.1", port=broker.port), "seven")
    try:
        until(lambda: (session.take(), time.sleep(0.02)), lambda: session.connected)
        broker.stop()
        with socket.create_server(("127.0.0.1", broker.port)) as mute:
            taken, _ = mute.accept()
        broker.start()  # `taken` is open still: nothing tells the session that nobody is there
        until(lambda: (session.take(), time.sleep(0.02)), lambda: session.connected)
        taken.close()
    finally:
        session.close()
        broker.stop()


def test_health_and_rate(mosquitto, listen, run_node, config, samples):
    mosquitto.start()
    heard = listen(mosquitto.port)
    topics = {"health.sink": Outgoing(), "imu": Outgoing(max_rate_hz=0.01)}
    run_node(node.run, settings(mosquitto.port, **topics))
    with Bus(config) as car, car.publisher("imu") as imu:
        found = []
        for seq in range(600):
            imu.send(samples.imu(seq))
            car.wait(0.01)
            while not heard.empty():
                found.append(heard.get())
            if sum(topic == "cars/7/health.sink" for topic, _ in found) >= 3:
                break
        assert json.loads(dict(found)["cars/7/health.sink"])["node"] == "sink"
        assert sum(topic == "cars/7/imu" for topic, _ in found) <= 1


def test_files_that_are_missing_or_open(tmp_path):
    pytest.importorskip("paho.mqtt")
    from fusion_rt.sinks.mqtt import Broker, MqttSender

    secret = tmp_path / "password"
    with pytest.raises(ConfigError, match="password_file"):
        MqttSender(Broker(username="u", password_file=str(secret)), "")
    secret.write_text("p")
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        MqttSender(Broker(username="u", password_file=str(secret)), "")
    with pytest.raises(ConfigError, match="ca_file"):
        MqttSender(Broker(ca_file=str(tmp_path / "none.pem")), "")
