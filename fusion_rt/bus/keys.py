"""CURVE keys: who may connect across hosts.

A publisher is the server: it knows the public keys of its subscribers. A subscriber knows the public key of
each endpoint that it connects to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import zmq
from msgspec import Struct
from msgspec.structs import force_setattr

from fusion_rt.bus.allow_list import AllowList, write_private, z85
from fusion_rt.bus.doorkeeper import Doorkeeper
from fusion_rt.errors import BusError

ZAP_DOMAIN = b"fusion_rt"


class KeyPair(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One process's key pair, both halves as 40 characters of Z85."""

    public: str
    secret: str

    @classmethod
    def generate(cls) -> KeyPair:
        """A new pair from the system's randomness."""
        public, secret = zmq.curve_keypair()
        while public.startswith(b"-"):  # a shell's command would take it for an option
            public, secret = zmq.curve_keypair()
        return cls(public=public.decode(), secret=secret.decode())

    @classmethod
    def load(cls, path: str | Path) -> KeyPair:
        """Raises BusError: missing, not a key file, or readable by others."""
        try:
            mode = os.stat(path).st_mode
            pair = msgspec.json.decode(Path(path).read_bytes(), type=cls)
        except (OSError, msgspec.DecodeError) as error:
            raise BusError(f"{path}: no key pair: {error}; fusion-rt keys make {path}") from error
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

    def replace(self, path: str | Path) -> Path:
        """In the place of the pair at `path`, which moves to the returned path. Raises BusError."""
        old = KeyPair.load(path)
        kept = Path(f"{path}.old")
        write_private(kept, msgspec.json.encode(old))
        write_private(Path(path), msgspec.json.encode(self))
        return kept


class Curve(Struct, frozen=True, kw_only=True):
    """Our keys and those of others.

    clients  public keys that may subscribe to us
    servers  tcp endpoint -> its public key
    allow    who may subscribe to us; None: `clients` alone
    """

    pair: KeyPair
    clients: tuple[str, ...] = ()
    servers: dict[str, str] = {}
    allow: AllowList | None = None

    def __post_init__(self) -> None:
        if self.allow is None:
            force_setattr(self, "allow", AllowList(self.clients))

    def serve(self, socket: zmq.Socket[bytes]) -> None:
        """Before bind: only clients whose keys the context's `doorkeeper` admits, and none without one."""
        socket.curve_server = True
        socket.zap_domain = ZAP_DOMAIN
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        self._own(socket)

    def join(self, socket: zmq.Socket[bytes], endpoint: str) -> None:
        """Before connect. Raises BusError where the endpoint's key is not known."""
        if endpoint not in self.servers:
            raise BusError(f"{endpoint}: its public key is not among `servers`")
        socket.curve_serverkey = z85(self.servers[endpoint])
        self._own(socket)

    def doorkeeper(self, context: zmq.Context[Any]) -> Doorkeeper:
        """A running thread that admits whom `allow` allows to the context's servers; `stop` it before the
        context ends. One a context."""
        assert self.allow is not None
        return Doorkeeper(context, self.allow)

    @property
    def revocations(self) -> int:
        """Counts up when somebody who is connected is no longer allowed to be."""
        return 0 if self.allow is None else self.allow.revocations

    def _own(self, socket: zmq.Socket[bytes]) -> None:
        socket.curve_publickey = z85(self.pair.public)
        socket.curve_secretkey = z85(self.pair.secret)
