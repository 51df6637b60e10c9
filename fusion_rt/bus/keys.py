"""CURVE keys: who may connect across hosts.

A publisher is the server: it knows the public keys of its subscribers. A subscriber knows the public key of
each endpoint that it connects to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import zmq
import zmq.utils.z85
from msgspec import Struct

from fusion_rt.errors import BusError

if TYPE_CHECKING:
    from zmq.auth.thread import ThreadAuthenticator


class KeyPair(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process's key pair, both halves as 40 characters of Z85."""

    public: str
    secret: str

    @classmethod
    def generate(cls) -> KeyPair:
        """A new pair from the system's randomness."""
        public, secret = zmq.curve_keypair()
        return cls(public=public.decode(), secret=secret.decode())

    @classmethod
    def load(cls, path: str | Path) -> KeyPair:
        """Raises BusError: missing, not a key file, or readable by others."""
        try:
            mode = os.stat(path).st_mode
            pair = msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise BusError(f"{path}: no key pair: {error}; KeyPair.generate().save(path)") from error
        if mode & 0o077:
            raise BusError(f"{path}: a secret key that others can read: chmod 600 {path}")
        return pair

    def save(self, path: str | Path) -> None:
        """A new file with mode 0600. Raises BusError where one exists: keys are not overwritten."""
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BusError(f"{path}: key pair not written: {error.strerror}") from error
        with os.fdopen(fd, "wb") as file:
            file.write(msgspec.json.encode(self))


class Curve(Struct, frozen=True, kw_only=True):
    """Our keys and those of others.

    clients  public keys that may subscribe to us
    servers  tcp endpoint -> its public key
    """

    pair: KeyPair
    clients: tuple[str, ...] = ()
    servers: dict[str, str] = {}

    def serve(self, socket: zmq.Socket[bytes]) -> None:
        """Before bind: only clients whose keys the context's `doorkeeper` admits."""
        socket.curve_server = True
        self._own(socket)

    def join(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        """Before connect. Raises BusError where the endpoint's key is not known."""
        if endpoint not in self.servers:
            raise BusError(f"{endpoint}: its public key is not among `servers`")
        socket.curve_serverkey = _z85(self.servers[endpoint])
        self._own(socket)

    def doorkeeper(self, context: zmq.Context[Any]) -> ThreadAuthenticator:
        """A running thread that admits `clients` to the context's servers; `stop` it before the context
        ends. One a context."""
        from zmq.auth.thread import ThreadAuthenticator  # brings asyncio: only where there are keys

        admitted = _AllowList(self.clients)
        keeper = ThreadAuthenticator(context)
        keeper.start()
        keeper.configure_curve_callback("*", credentials_provider=admitted)
        return keeper

    def _own(self, socket: zmq.Socket[bytes]) -> None:
        socket.curve_publickey = _z85(self.pair.public)
        socket.curve_secretkey = _z85(self.pair.secret)


class _AllowList:
    def __init__(self, keys: tuple[str, ...]):
        self._keys = frozenset(_z85(key) for key in keys)

    def callback(self, domain: str, key: bytes) -> bool:
        return key in self._keys


def _z85(key: str) -> bytes:
    try:
        if len(key) == 40 and len(zmq.utils.z85.decode(key.encode())) == 32:
            return key.encode()
    except (ValueError, KeyError, UnicodeEncodeError):
        pass
    raise BusError("a CURVE key is 40 characters of Z85, as KeyPair.generate() gives it")
