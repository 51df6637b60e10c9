"""An MQTT broker, by paho-mqtt. Its thread connects, and connects again."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from fusion_rt.errors import ConfigError

RECONNECT_S = (1, 10)
WAITING = 100  # messages that the broker has not taken yet; beyond them the newest are left out
INCOMING = 100  # messages that we have not taken yet, likewise
# A broker that was asked so often in vain, or is silent for so long, does not know the newer protocol.
UNANSWERED = 2
ANSWER_S = 3.0
SILENT_S = 10.0  # one that does know it, and took our connection and says nothing: asked again
GOODBYE_S = 2.0


class Broker(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the broker is, and who we are there.

    username, password_file  where it asks for them; the file is for you alone (chmod 600)
    ca_file   of the authority that signed the broker's certificate: TLS. null: plain, for a network you trust
    cert_file, key_file  our own certificate and its key, where the broker asks for them; with ca_file
    """

    host: str = "localhost"
    port: Annotated[int, Meta(gt=0, lt=65536)] = 1883
    username: str | None = None
    password_file: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __post_init__(self) -> None:
        if self.cert_file is not None and self.ca_file is None:
            raise ConfigError("cert_file without ca_file: whose certificate does the broker have?")

    @property
    def trusted(self) -> bool:
        """Whether it is on this machine, or asks who we are: by a password or a certificate."""
        return self.password_file is not None or self.cert_file is not None or _is_loopback(self.host)


class Publication(Struct, frozen=True):
    """One message for the broker. An empty payload with `retain` removes what the broker keeps."""

    topic: str
    payload: bytes
    qos: Literal[0, 1, 2] = 1
    retain: bool = False


class Incoming(Struct, frozen=True):
    """One message from the broker. retained: it is from before, or (`as_published`) marked to be kept."""

    topic: str
    payload: bytes
    retained: bool


class Session:
    """A connection that comes and goes: MQTT 5, or 3.1.1 where the broker knows no better.

    will       what the broker tells the others when we vanish
    topics     what we listen to
    max_bytes  larger messages are left out, and counted
    on_message  is told of each at once, in the connection's own thread; None: `take` gives them
    as_published  by MQTT 5, a message that is marked to be kept is `retained` also the first time

    connections  how often the broker has let us in
    left_out     messages that were not taken from the broker: too many, or too large
    trouble      why there is no connection; "" while there is one

    Any thread may publish. Raises ConfigError: paho-mqtt is missing, or a file is."""

    def __init__(
        self,
        broker: Broker,
        name: str,
        *,
        will: Publication | None = None,
        topics: tuple[str, ...] = (),
        max_bytes: int = 4096,
        on_message: Callable[[Incoming], None] | None = None,
        as_published: bool = True,
    ):
        self._broker, self._name, self._will, self._topics = broker, name, will, topics
        self._max_bytes, self._on_each, self._as_published = max_bytes, on_message, as_published
        self._password = _password(broker.password_file)
        self._lock = threading.Lock()
        self._waiting: deque[Any] = deque()
        self._incoming: deque[Incoming] = deque()
        self._unanswered, self._newer = 0, True
        self._asked_s: float | None = None
        self.connections, self.left_out, self.trouble = 0, 0, ""
        self._said = ""
        self._client = self._start()

    @property
    def connected(self) -> bool:
        """Whether the broker is there, and has let us in."""
        return bool(self._client.is_connected())

    def publish(self, message: Publication) -> bool:
        """False where the broker is away, or has taken too few of those before."""
        if not self._client.is_connected():
            return False
        with self._lock:
            while self._waiting and (self._waiting[0].rc != 0 or self._waiting[0].is_published()):
                self._waiting.popleft()
            if len(self._waiting) >= WAITING:
                return False
            info = self._client.publish(message.topic, message.payload, message.qos, message.retain)
            if info.rc != 0:
                return False
            self._waiting.append(info)
        return True

    def settle(self, timeout_s: float) -> bool:
        """Wait until the broker has taken all of it, or does not."""
        end = time.monotonic() + timeout_s
        while self._client.is_connected() and time.monotonic() < end:
            with self._lock:
                if all(info.rc != 0 or info.is_published() for info in self._waiting):
                    return True
            time.sleep(0.005)
        return False

    def take(self) -> list[Incoming]:
        """What the broker has sent since. To be called now and then: it asks a silent broker anew, too."""
        with self._lock:
            older = self._newer and self._is_unanswered()
            if older or self._is_silent(SILENT_S):
                self._stop()
                self._waiting.clear()
                self._newer = self._newer and not older
                self._client = self._start()
        messages = []
        while self._incoming:
            messages.append(self._incoming.popleft())
        return messages

    def news(self) -> str:
        """A line to print where the connection has come or gone since this was last asked; else ""."""
        said = self.trouble or ("connected to the broker" if self.connections else "")
        if said == self._said:
            return ""
        self._said = said
        return said

    def close(self, last: Publication | None = None) -> None:
        """Say the last word, and disconnect: the will is then not told."""
        if last is not None and self.publish(last):
            self.settle(GOODBYE_S)
        self._stop()

    def _is_unanswered(self) -> bool:
        return not self.connections and (self._is_silent(ANSWER_S) or self._unanswered >= UNANSWERED)

    def _is_silent(self, wait_s: float) -> bool:
        asked_s = self._asked_s
        return asked_s is not None and time.monotonic() - asked_s > wait_s

    def _start(self) -> Any:
        self._asked_s = None
        client = _client(self._broker, self._name, self._password, newer=self._newer)
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, self._will.qos, self._will.retain)
        client.reconnect_delay_set(*RECONNECT_S)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_message = self._on_connect_fail, self._on_message
        client.on_socket_open = self._on_socket_open
        client.connect_async(self._broker.host, self._broker.port, **_first(self._newer))
        client.loop_start()
        return client

    def _stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    # The rest runs in paho's thread.

    def _on_socket_open(self, client: Any, data: Any, opened: Any) -> None:
        # Else the second of two small messages waits for the other side's acknowledgement, up to 40 ms.
        if opened.family in (socket.AF_INET, socket.AF_INET6):
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._asked_s = time.monotonic()

    def _on_connect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._asked_s = None
        if reason.is_failure:
            self.trouble = f"the broker refuses: {reason}"
            if self._newer and "protocol version" in str(reason):
                self._unanswered = UNANSWERED
            return
        for topic in self._topics:
            client.subscribe(topic, **_subscription(self._newer, self._as_published))
        self._unanswered, self.trouble = 0, ""
        self.connections += 1

    def _on_disconnect(self, client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._asked_s = None
        if not self.trouble:
            self.trouble = f"disconnected: {reason}"
        if not self.connections:
            self._unanswered += 1

    def _on_connect_fail(self, client: Any, data: Any) -> None:
        error = sys.exc_info()[1]  # paho calls this where it handles the error
        self.trouble = f"{self._broker.host}:{self._broker.port}: {error or 'no connection'}"

    def _on_message(self, client: Any, data: Any, message: Any) -> None:
        if len(self._incoming) >= INCOMING or len(message.payload) > self._max_bytes:
            self.left_out += 1
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.left_out += 1
            return
        incoming = Incoming(topic, bytes(message.payload), bool(message.retain))
        if self._on_each is not None:
            self._on_each(incoming)
        else:
            self._incoming.append(incoming)


class MqttSender:
    """The broker for a Pump: every message with the same quality and fate.

    qos     0 at most once, 1 at least once, 2 exactly once
    retain  a topic's newest message is kept by the broker for those that come later

    Raises as Session."""

    def __init__(self, broker: Broker, name: str, *, qos: Literal[0, 1, 2] = 0, retain: bool = False):
        self._session, self._qos, self._retain = Session(broker, name), qos, retain

    @property
    def connected(self) -> bool:
        """Whether the broker is there, and has let us in."""
        return self._session.connected

    def send(self, key: str, data: bytes) -> bool:
        """False where the broker is away, or has taken too few of those before."""
        self._session.take()
        return self._session.publish(Publication(key, data, self._qos, self._retain))

    def close(self) -> None:
        """Disconnect."""
        self._session.close()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _client(broker: Broker, name: str, password: str | None, *, newer: bool) -> Any:
    try:
        from paho.mqtt import client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError as error:
        raise ConfigError("a broker needs paho-mqtt: pip install 'fusion-rt[mqtt]'") from error
    protocol = mqtt.MQTTv5 if newer else mqtt.MQTTv311
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=protocol)
    if broker.username is not None:
        client.username_pw_set(broker.username, password)
    if broker.ca_file is not None:
        ca, cert, key = (
            None if file is None else str(Path(file).expanduser())
            for file in (broker.ca_file, broker.cert_file, broker.key_file)
        )
        try:
            client.tls_set(ca, cert, key)
        except OSError as error:
            raise ConfigError(f"ca_file: {broker.ca_file}: {error}") from error
    return client


def _first(newer: bool) -> dict[str, Any]:
    if not newer:
        return {}
    return {"clean_start": True}  # else a session of ours that the broker has kept goes on


def _subscription(newer: bool, as_published: bool) -> dict[str, Any]:
    if not newer:
        return {"qos": 1}
    from paho.mqtt.subscribeoptions import SubscribeOptions

    return {"options": SubscribeOptions(qos=1, retainAsPublished=as_published)}


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
