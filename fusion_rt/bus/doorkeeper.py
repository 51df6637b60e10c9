"""Answers ZeroMQ's question who may connect (ZAP, rfc.zeromq.org/spec/27), for all servers of a context.

pyzmq has such a thread too, but it says 400 to a stranger, and libzmq's client then never tries again: a
peer that is put on the allow-list later would have to be restarted. We say 300, "not now"."""

from __future__ import annotations

import threading
from typing import Any

import zmq
import zmq.utils.z85

from fusion_rt.bus.allow_list import AllowList

ADDRESS = "inproc://zeromq.zap.01"
LOOK_MS = 500  # between looks at the allow-list: a revoked peer is cut off within it
_VERSION = b"1.0"


class Doorkeeper(threading.Thread):
    """One a context, running from the start; `stop` it before the context ends."""

    def __init__(self, context: zmq.Context[Any], allowed: AllowList):
        super().__init__(name="doorkeeper", daemon=True)
        self._allowed = allowed
        self._done = threading.Event()
        self._socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self._socket.linger = 0
        try:
            self._socket.bind(ADDRESS)
        except BaseException:
            self._socket.close()
            raise
        self.start()

    def run(self) -> None:
        while not self._done.is_set():
            if self._socket.poll(LOOK_MS, zmq.POLLIN):
                self._answer(self._socket.recv_multipart())
            self._allowed.look_again()

    def stop(self) -> None:
        """Nobody is let in any more. Later calls do nothing."""
        self._done.set()
        self.join()
        self._socket.close()

    def _answer(self, parts: list[bytes]) -> None:
        # sender, empty, version, request id, domain, address, routing id, mechanism, credentials...
        if len(parts) < 8:
            return
        sender, request, mechanism, credentials = parts[0], parts[3], parts[7], parts[8:]
        curve = parts[2] == _VERSION and mechanism == b"CURVE" and len(credentials) == 1
        key = zmq.utils.z85.encode(credentials[0]) if curve and len(credentials[0]) == 32 else b""
        admitted = self._allowed.admits(key)
        status = (b"200", b"OK", key) if admitted else (b"300", b"not on the allow-list", b"")
        self._socket.send_multipart([sender, b"", _VERSION, request, *status, b""])
