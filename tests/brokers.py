"""Real MQTT brokers on loopback, which come and go."""

import os
import queue
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Broker:
    """One of a port and a configuration file."""

    command: tuple[str, ...] = ()
    knows_mqtt5 = True

    def __init__(self, port: int, folder: Path, **options: str):
        self.port, self._process = port, None
        self.file = folder / f"broker-{port}.conf"
        self.file.write_text(self.configuration(port, **options))

    def start(self):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen([*self.command, str(self.file)], **quiet)
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{self.command[0]} does not listen")

    def signal(self, number):
        self._process.send_signal(number)

    def stop(self):
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Mosquitto(Broker):
    command = ("mosquitto", "-c")

    def configuration(self, port, **options):
        lines = {"allow_anonymous": "true"} | options
        return f"listener {port} 127.0.0.1\n" + "".join(f"{key} {value}\n" for key, value in lines.items())


class Amqtt(Broker):
    """In Python, from PyPI; it knows MQTT 3.1.1 alone."""

    command = (sys.executable, "-m", "amqtt.scripts.broker_script", "-c")
    knows_mqtt5 = False

    def configuration(self, port, **options):
        assert not options
        return (
            f"listeners: {{default: {{type: tcp, bind: '127.0.0.1:{port}'}}}}\n"
            "plugins: {amqtt.plugins.authentication.AnonymousAuthPlugin: {allow_anonymous: true}}\n"
        )


def mosquitto(port, folder, **options):
    """Skips where there is none."""
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (extra mqtt)")
    if shutil.which("mosquitto") is None:
        pytest.skip("mosquitto is not installed (Debian: apt install mosquitto)")
    if os.geteuid() == 0:
        # Else it becomes a user that may not read what a test has written.
        options = {"user": "root"} | options
    return Mosquitto(port, folder, **options)


def amqtt(port, folder):
    """Skips where there is none."""
    pytest.importorskip("paho.mqtt", reason="paho-mqtt is not installed (extra mqtt)")
    pytest.importorskip("amqtt", reason="amqtt is not installed (extra test)")
    return Amqtt(port, folder)


def any_broker(port, folder):
    """Mosquitto, or amqtt where it is not installed."""
    return mosquitto(port, folder) if shutil.which("mosquitto") else amqtt(port, folder)


class Listener:
    """A real client that hears everything, and can speak."""

    def __init__(self, port, *topics, **login):
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard, subscribed = queue.Queue(), queue.Queue()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        if "username" in login:
            self.client.username_pw_set(login["username"], login["password"])
        if "ca_file" in login:
            self.client.tls_set(login["ca_file"])
        self.client.on_connect = lambda client, *_: client.subscribe(
            [(topic, 1) for topic in topics or ("#",)]
        )
        self.client.on_subscribe = lambda *_: subscribed.put(None)
        self.client.on_message = lambda _, __, m: self.heard.put((m.topic, m.payload, m.retain))
        self.client.reconnect_delay_set(1, 1)
        self.client.connect(login.get("host", "127.0.0.1"), port)
        self.client.loop_start()
        subscribed.get(timeout=20)

    def say(self, topic, payload, *, retain=False, qos=1):
        self.client.publish(topic, payload, qos=qos, retain=retain).wait_for_publish(20)

    def until(self, wanted, timeout_s=20.0):
        """The first message for which `wanted(topic, payload, retained)`; the others are gone."""
        end = time.monotonic() + timeout_s
        while True:
            message = self.heard.get(timeout=max(end - time.monotonic(), 0.01))
            if wanted(*message):
                return message

    def topic(self, name, payload=None, timeout_s=20.0):
        """The next payload of a topic; with `payload`, that one."""
        return self.until(lambda t, p, _: t == name and payload in (None, p), timeout_s)[1]

    def all(self, quiet_s=0.5):
        """What has come, and comes until it is quiet for so long."""
        messages = []
        while True:
            try:
                messages.append(self.heard.get(timeout=quiet_s))
            except queue.Empty:
                return messages

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
