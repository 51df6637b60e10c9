"""The whole edge: a real broker, the bus, the node; what Home Assistant would see, and what it may say."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import msgspec
import pytest
from fusion_rt.nodes import homeassistant as node

from fusion_rt.bus import Bus, BusConfig
from fusion_rt.errors import ConfigError
from fusion_rt.messages import Command
from fusion_rt.node import Assignment
from fusion_rt.scenario import Node
from fusion_rt.sinks import mqtt

ROOT = "fusion_rt/home"
KITCHEN = "homeassistant/device/fusion_rt_home_kitchen/config"


class Home:
    """A home node that repeats its scene, and hears what it is told."""

    def __init__(self, make):
        self._folder = Path(tempfile.mkdtemp(prefix="frt-"))
        self.config = BusConfig(run_dir=str(self._folder / "run"))
        self.make, self.told = make, []
        self.scene = make.scene(make.room("kitchen", True), make.room("hall"))
        self._bus = Bus(self.config, "home")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with (
            self._bus.publisher("scene") as scenes,
            self._bus.subscriber(["tell.home", "tell.living_microphone"]) as told,
        ):
            seq = 0
            while not self._stop.is_set():
                assert not self._bus.stopping
                header = msgspec.structs.replace(self.scene.header, seq=seq)
                scenes.send(msgspec.structs.replace(self.scene, header=header))
                seq += 1
                message = told.recv(0.05)
                if isinstance(message, Command):
                    self.told.append((message.intent, message.slots))

    def close(self):
        self._stop.set()
        self._thread.join()
        self._bus.close()
        shutil.rmtree(self._folder)


@pytest.fixture
def home(make_scene):
    opened = Home(make_scene)
    yield opened
    opened.close()


@pytest.fixture
def broker(brokers, tmp_path):
    found = brokers.any_broker(brokers.free_port(), tmp_path)
    yield found
    found.stop()


@pytest.fixture
def listen(brokers):
    clients = []

    def start(*arguments, **login):
        clients.append(brokers.Listener(*arguments, **login))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


def settings(port, tmp_path, **more):
    more = {"plan": "flat", "state_file": str(tmp_path / "state.json")} | more
    return node.HomeAssistantConfig(host="127.0.0.1", port=port, **more)


@pytest.fixture
def run(home):
    """settings -> the bus of a node that runs in a thread, and how to stop it."""
    running, errors = [], []

    def start(config):
        bus = Bus(home.config, "homeassistant")

        def guarded():
            try:
                node.run(config, bus)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=guarded)
        thread.start()

        def stop():
            bus.stop()
            thread.join()
            bus.close()

        running.append(stop)
        return bus, stop

    yield start
    for stop in running:
        stop()
    assert errors == []


def process(home, config):
    """The node as `fusion-rt run` starts it."""
    plain = msgspec.to_builtins(config)
    assignment = Assignment(
        node=Node(name="homeassistant", use="homeassistant", source="test", config=plain),
        bus=home.config,
        parent_pid=os.getpid(),
    )
    code = "from fusion_rt.node import main; main()"
    return subprocess.Popen(
        [sys.executable, "-I", "-c", code, msgspec.json.encode(assignment).decode()], stderr=subprocess.PIPE
    )


def kept(messages):
    """Topic -> payload, of what the broker had kept."""
    return {topic: payload for topic, payload, retained in messages if retained}


@pytest.mark.parametrize("kind", ["mosquitto", "amqtt"])
def test_what_a_newcomer_finds(kind, brokers, tmp_path, listen, home, run, monkeypatch):
    """MQTT 5, and 3.1.1 where the broker knows no better."""
    monkeypatch.setattr(mqtt, "ANSWER_S", 0.3)
    broker = getattr(brokers, kind)(brokers.free_port(), tmp_path)
    try:
        broker.start()
        first = listen(broker.port)
        _, stop = run(settings(broker.port, tmp_path, people_hz=2.0))
        order = []
        first.until(lambda topic, *_: order.append(topic) or topic == f"{ROOT}/room/kitchen/state", 30.0)
        assert order.index("homeassistant/device/fusion_rt_home/config") < order.index(KITCHEN)
        assert (
            order.index(KITCHEN) < order.index(f"{ROOT}/status") < order.index(f"{ROOT}/room/kitchen/state")
        )
        first.topic(f"{ROOT}/people")
        first.topic(f"{ROOT}/health")
        newcomer = kept(listen(broker.port).all())
        assert newcomer[f"{ROOT}/status"] == b"online"
        assert json.loads(newcomer[KITCHEN])["components"]["occupancy"]["device_class"] == "occupancy"
        assert json.loads(newcomer[f"{ROOT}/room/kitchen/state"])["occupied"] == "ON"
        assert json.loads(newcomer[f"{ROOT}/room/hall/state"])["occupied"] == "OFF"
        assert newcomer[f"{ROOT}/setting/kitchen_hold"] == b"10"
        never = ("why", "event", "people", "intent", "health")
        assert not [topic for topic in newcomer if topic.rsplit("/", 1)[1] in never]
        stop()
        assert first.topic(f"{ROOT}/status") == b"offline"
        assert kept(listen(broker.port, f"{ROOT}/status").all())[f"{ROOT}/status"] == b"offline"
    finally:
        broker.stop()


def knows(bus, *, connected):
    """Wait until the node's health says so."""
    deadline = time.monotonic() + 20
    while bus.detail.get("connected") != connected:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_broker_and_home_assistant_start_again(broker, listen, home, run, tmp_path, monkeypatch):
    monkeypatch.setattr(node, "BIRTH_WAIT_S", 0.2)
    bus, _ = run(settings(broker.port, tmp_path, health_s=1.0))  # no broker yet: nobody waits for it
    time.sleep(0.3)
    broker.start()
    listener = listen(broker.port)
    listener.topic(f"{ROOT}/room/kitchen/state", timeout_s=30)
    knows(bus, connected=True)
    broker.stop()
    knows(bus, connected=False)
    listener.all(0.2)  # else what was said before the broker went is taken for what is said after it
    home.scene = home.make.scene(home.make.room("kitchen"), events=[home.make.event("knock", name="k")])
    broker.start()
    listener.topic(KITCHEN, timeout_s=30)
    listener.topic(f"{ROOT}/status", b"online")
    # What happened meanwhile is told when Home Assistant is there again, too, and knows the devices.
    listener.say("homeassistant/status", "online")
    listener.topic(KITCHEN)
    assert json.loads(listener.topic(f"{ROOT}/room/kitchen/event"))["id"] == "k"
    listener.all(0.3)
    listener.say("homeassistant/status", "offline")
    listener.say("homeassistant/status", "online", retain=True)
    heard = [topic for topic, *_ in listener.all(0.8)]
    if broker.knows_mqtt5:  # MQTT 3.1.1 does not say that a message is marked to be kept
        assert KITCHEN not in heard
    listener.say("homeassistant/status", "online")
    listener.topic(KITCHEN)
    assert json.loads(listener.topic(f"{ROOT}/room/kitchen/state"))["occupied"] == "OFF"


def test_killed_and_started_again(broker, listen, home, tmp_path):
    broker.start()
    listener = listen(broker.port, f"{ROOT}/status")
    config = settings(broker.port, tmp_path)
    first = process(home, config)
    listener.topic(f"{ROOT}/status", b"online", 60)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    listener.topic(f"{ROOT}/status", b"offline")
    second = process(home, config)
    listener.topic(f"{ROOT}/status", b"online", 60)
    second.send_signal(signal.SIGTERM)
    second.communicate(timeout=30)
    assert second.returncode == 0
    listener.topic(f"{ROOT}/status", b"offline")


def test_settings_reach_the_nodes(broker, listen, home, run, tmp_path):
    broker.start()
    listener = listen(broker.port, f"{ROOT}/setting/#")
    # As a retained command of long ago: it must not be obeyed.
    listener.say(f"{ROOT}/set/hall_hold", "77", retain=True)
    config = settings(broker.port, tmp_path, microphone_nodes={"living_microphone": "home"})
    bus, stop = run(config)
    listener.topic(f"{ROOT}/setting/kitchen_hold", b"10", 30)
    listener.all(0.2)
    listener.say(f"{ROOT}/set/kitchen_hold", "42")
    listener.say(f"{ROOT}/set/living_mic", '{"value": "OFF"}')
    listener.topic(f"{ROOT}/setting/living_mic", b"OFF")
    deadline = time.monotonic() + 20
    while len(home.told) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sorted(home.told, key=str) == [
        ("hold", {"room": "kitchen", "s": "42"}),
        ("mute", {}),
    ]
    while "refused.retained" not in bus.detail and time.monotonic() < deadline:
        time.sleep(0.02)
    assert bus.detail["refused.retained"] == 1
    stop()
    home.told.clear()
    run(config)  # started again, it knows what was set
    listener.topic(f"{ROOT}/setting/kitchen_hold", b"42", 30)
    deadline = time.monotonic() + 20
    while len(home.told) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert {intent for intent, _ in home.told} == {"hold", "mute"}


def test_a_flood_and_hostile_payloads(broker, listen, home, run, tmp_path):
    broker.start()
    listener, states = listen(broker.port, f"{ROOT}/setting/#"), listen(broker.port, f"{ROOT}/room/+/state")
    bus, _ = run(settings(broker.port, tmp_path, heartbeat_s=1.0, health_s=1.0))
    listener.topic(f"{ROOT}/setting/kitchen_hold", b"10", 30)
    hostile = [
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"value":' * 400,
        b"1e999",
        b"ON",
        b"",
        b'{"value": 3, "stamp": "1999-01-01T00:00:00Z"}',
        "٣".encode() * 3,
    ]
    for payload in hostile:
        listener.say(f"{ROOT}/set/kitchen_hold", payload)
    listener.say(f"{ROOT}/set/{'x' * 2000}", b"1")
    listener.say(f"{ROOT}/set/front_lock", b"UNLOCK")
    listener.all(0.1)
    for value in range(2000):
        listener.client.publish(f"{ROOT}/set/bedroom_hold", str(value % 600), qos=0)
    listener.say(f"{ROOT}/set/hall_hold", "9")
    told = [payload for topic, payload, _ in listener.all(1.0) if topic == f"{ROOT}/setting/bedroom_hold"]
    assert 1 <= len(told) <= 20  # not one for each of the flood
    # Another setting is still obeyed, and scenes still go out.
    listener.say(f"{ROOT}/set/hall_hold", "8")
    listener.topic(f"{ROOT}/setting/hall_hold", b"8")
    states.all(0.1)
    states.topic(f"{ROOT}/room/kitchen/state")
    deadline = time.monotonic() + 20
    while "refused.rate" not in bus.detail and time.monotonic() < deadline:
        time.sleep(0.1)
    detail = bus.detail
    assert detail["refused.rate"] + detail["left_out"] > 1900
    assert detail["refused.unknown"] == 2
    assert detail["refused.encoding"] == 1
    assert detail["refused.age"] == 1
    assert detail["left_out"] >= 1  # the 200 kB


@pytest.fixture
def secured(brokers, tmp_path):
    """A Mosquitto with TLS and a password; the authority's file."""
    for tool in ("openssl", "mosquitto_passwd"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")

    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=tmp_path)

    subject = ("-subj", "/CN=localhost", "-days", "2", "-nodes", "-newkey", "ec", "-pkeyopt")
    curve = "ec_paramgen_curve:prime256v1"
    openssl("req", "-x509", *subject, curve, "-keyout", "ca.key", "-out", "ca.pem")
    names = ("-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    by_ca = ("-CA", "ca.pem", "-CAkey", "ca.key")
    openssl("req", "-x509", *subject, curve, "-keyout", "key.pem", "-out", "cert.pem", *names, *by_ca)
    subprocess.run(
        ["mosquitto_passwd", "-b", "-c", "passwords", "home", "sesame"],
        check=True,
        capture_output=True,
        cwd=tmp_path,
    )
    broker = brokers.mosquitto(
        brokers.free_port(),
        tmp_path,
        allow_anonymous="false",
        password_file=str(tmp_path / "passwords"),
        certfile=str(tmp_path / "cert.pem"),
        keyfile=str(tmp_path / "key.pem"),
    )
    yield broker, tmp_path / "ca.pem"
    broker.stop()


def test_certificate_and_password(secured, listen, home, run, tmp_path, capfd):
    broker, ca_file = secured
    broker.start()
    secret = tmp_path / "secret"
    secret.write_text("sesame\n")
    secret.chmod(0o600)
    login = {"username": "home", "password_file": str(secret), "ca_file": str(ca_file)}
    listener = listen(broker.port, username="home", password="sesame", ca_file=str(ca_file), host="localhost")
    _, stop = run(settings(broker.port, tmp_path, **login))
    listener.topic(f"{ROOT}/status", b"online", 30)
    stop()
    wrong = tmp_path / "wrong"
    wrong.write_text("open")
    wrong.chmod(0o600)
    for change, said in (
        ({"password_file": str(wrong)}, "refuses"),
        ({"ca_file": None}, "disconnected"),
    ):
        capfd.readouterr()
        bus, stop = run(settings(broker.port, tmp_path, **(login | change)))
        deadline, text = time.monotonic() + 20, ""
        while said not in text and time.monotonic() < deadline:
            time.sleep(0.05)
            text += capfd.readouterr().err
        assert said in text
        assert not bus.detail.get("connected")
        stop()


@pytest.mark.parametrize("host", ["192.168.1.5", "mqtt.example", "0.0.0.0", "127.evil.example"])
def test_a_broker_elsewhere_asks_who_we_are(host, tmp_path):
    with pytest.raises(ConfigError, match="password_file"):
        node.HomeAssistantConfig(host=host, plan="flat")
    node.HomeAssistantConfig(host=host, plan="flat", username="home", password_file="x")


@pytest.mark.parametrize("change", [{"base": "a/b"}, {"base": "#"}, {"people_hz": 3.0}, {"why_s": 0.5}])
def test_what_a_configuration_must_not_say(change):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"plan": "flat"} | change, node.HomeAssistantConfig)
