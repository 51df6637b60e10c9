"""What a bridge serves and fetches, as a scenario says it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta, Struct

from fusion_rt.bus import endpoints
from fusion_rt.bus.allow_list import z85
from fusion_rt.bus.wire import TOPIC
from fusion_rt.errors import BusError, ConfigError
from fusion_rt.payloads import Payload

Name = Annotated[str, Meta(min_length=1, max_length=64)]


class Serve(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Topics of this host for others.

    address  tcp://ADDRESS:PORT to listen on; the first topic is served on the port after it, and so on
    topics   topic -> how its messages are sent
    """

    address: str
    topics: dict[str, Payload]

    def __post_init__(self) -> None:
        _check_topics(self.topics)
        port_of(self.address)
        if port_of(self.address) + len(self.topics) > 65535:
            raise ConfigError(f"address: {self.address}: {len(self.topics)} topics need the ports after it")


class Peer(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Topics of another host for this one.

    address  where the bridge there listens: its `serve.address`, as it is seen from here
    keys     its public key; two while it changes from one to the next. None: on loopback alone
    topics   what to fetch
    rename   topic -> what it is called here; others keep their name
    """

    address: str
    keys: tuple[str, ...] = ()
    topics: tuple[str, ...]
    rename: dict[str, str] = {}

    def __post_init__(self) -> None:
        port_of(self.address)
        try:
            for key in self.keys:
                z85(key)
        except BusError as error:
            raise ConfigError(f"keys: {error}") from error
        _check_topics(self.topics)
        _check_topics(self.rename.values())
        for topic in self.rename:
            if topic not in self.topics:
                raise ConfigError(f"rename: {topic!r} is not among `topics`: {', '.join(self.topics)}")

    def local(self, topic: str) -> str:
        """What the topic is called here."""
        return self.rename.get(topic, topic)

    def endpoint(self, port: int) -> str:
        """Where the peer serves a topic."""
        return f"{self.address.rpartition(':')[0]}:{port}"


class BridgeConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """serve  topics of this host for others
    fetch  peer's name -> its topics for this host; the name is ours, for tables and logs
    """

    serve: Serve | None = None
    fetch: dict[Name, Peer] = {}

    def __post_init__(self) -> None:
        if self.serve is None and not self.fetch:
            raise ConfigError("neither `serve` nor `fetch`: there is nothing to bridge")
        here: dict[str, str] = {}
        for name, peer in self.fetch.items():
            for topic in map(peer.local, peer.topics):
                if topic in here:
                    raise ConfigError(
                        f"fetch.{name}: {topic!r} comes from {here[topic]!r} already: `rename` one of them"
                    )
                if self.serve is not None and topic in self.serve.topics:
                    raise ConfigError(f"fetch.{name}: {topic!r} is served from here: `rename` it")
                here[topic] = name


def port_of(address: str) -> int:
    """The port of tcp://ADDRESS:PORT. Raises ConfigError."""
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    if not address.startswith("tcp://") or not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise ConfigError(f"address: {address!r}: expected tcp://ADDRESS:PORT, such as tcp://10.0.0.1:7400")
    return int(port)


def check_keys(address: str, *, secured: bool) -> None:
    """Raises ConfigError for an address beyond loopback without keys."""
    try:
        endpoints.check(address, secured=secured)
    except BusError as error:
        raise ConfigError(f"address: {error}: fusion-rt keys make") from error


def _check_topics(topics: Iterable[str]) -> None:
    for topic in topics:
        if not TOPIC.fullmatch(topic):
            raise ConfigError(f"topics: {topic[:80]!r}: use letters, digits, '_', '-' and '.'")
