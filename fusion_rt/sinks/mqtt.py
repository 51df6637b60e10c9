"""An MQTT broker, by paho-mqtt. Its thread connects, and connects again."""

from __future__ import annotations

import threading
from collections import deque
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from fusion_rt.errors import ConfigError

RECONNECT_S = (1, 30)
WAITING = 100  # messages that the broker has not taken yet; beyond them the newest are left out


class Broker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is, and who we are there.

    username, password_file  where it asks for them; the file is for you alone (chmod 600)
    ca_file   of the authority that signed the broker's certificate: TLS. null: plain, for a network you trust
    qos       0 at most once, 1 at least once, 2 exactly once
    retain    a topic's newest message is kept by the broker for those that come later
    """

    host: str = "localhost"
    port: Annotated[int, Meta(gt=0, lt=65536)] = 1883
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    qos: Literal[0, 1, 2] = 0
    retain: bool = False


class MqttSender:
    """Raises ConfigError: paho-mqtt is missing, or a file is."""

    def __init__(self, broker: Broker, name: str):
        self._broker = broker
        self._lock = threading.Lock()
        self._waiting: deque[Any] = deque()
        self._client = client(broker, name)
        self._client.connect_async(broker.host, broker.port)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """Whether the broker is there, and has let us in."""
        return bool(self._client.is_connected())

    def send(self, key: str, data: bytes) -> bool:
        """False where the broker is away, or has taken too few of those before."""
        if not self._client.is_connected():
            return False
        with self._lock:
            while self._waiting and (self._waiting[0].rc != 0 or self._waiting[0].is_published()):
                self._waiting.popleft()
            if len(self._waiting) >= WAITING:
                return False
            info = self._client.publish(key, data, qos=self._broker.qos, retain=self._broker.retain)
            if info.rc != 0:
                return False
            self._waiting.append(info)
        return True

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def client(broker: Broker, name: str) -> Any:
    """paho's client for this broker, not connected yet. Raises ConfigError."""
    try:
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise ConfigError("a broker needs paho-mqtt: pip install 'fusion-rt[mqtt]'") from error
    made = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name)
    made.reconnect_delay_set(*RECONNECT_S)
    if broker.username is not None:
        made.username_pw_set(broker.username, _password(broker.password_file))
    if broker.ca_file is not None:
        try:
            made.tls_set(str(Path(broker.ca_file).expanduser()))
        except OSError as error:
            raise ConfigError(f"ca_file: {broker.ca_file}: {error}") from error
    return made


def _password(file: str | None) -> str | None:
    if file is None:
        return None
    path = Path(file).expanduser()
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"password_file: {file}: others can read it: chmod 600 {file}")
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"password_file: {file}: {error.strerror}") from error
