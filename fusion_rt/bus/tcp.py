"""How sockets between hosts are set: a peer that is gone is noticed, one that does not read holds little."""

from __future__ import annotations

import time
from typing import Any

import zmq

from fusion_rt.bus.wire import Kind

GONE_S = 10  # without a sign from the other kernel: the connection is ended, and made again
KEEPALIVE_S = 2
HANDSHAKE_MS = 2000
RECONNECT_MS, RECONNECT_MAX_MS = 100, 2000
REBIND_S = 1.0
KERNELS = -1  # as much as the kernel thinks that the connection can take
# In the kernel. Of what is measured anew it is little: what is in there is not the newest any more when it
# arrives. What is wanted whole and in order may fill a connection that is far and fast.
SEND_BYTES: dict[Kind, int] = {"sensor": 128 << 10, "state": 128 << 10, "event": KERNELS, "log": KERNELS}
# Messages that wait for one slow peer; beyond them the newest is lost to it. Of what is measured anew all the
# time only as many as may come at once. (A bridge has nothing wait: `Publisher(newest=True)`.)
QUEUED: dict[Kind, int] = {"sensor": 4, "state": 4, "event": 1000, "log": 1000}


def tune(socket: zmq.Socket[Any], kind: Kind = "sensor") -> None:
    """Before bind or connect. kind: of what it sends.

    The kernels' own keep-alive and not ZeroMQ's heartbeats: a heartbeat waits behind a large message on a
    slow link, and would end a connection that is merely busy."""
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle = KEEPALIVE_S
    socket.tcp_keepalive_intvl = KEEPALIVE_S
    socket.tcp_keepalive_cnt = GONE_S // KEEPALIVE_S
    socket.setsockopt(zmq.TCP_MAXRT, GONE_S * 1000)
    socket.handshake_ivl = HANDSHAKE_MS
    socket.reconnect_ivl = RECONNECT_MS
    socket.reconnect_ivl_max = RECONNECT_MAX_MS
    socket.connect_timeout = RECONNECT_MAX_MS
    socket.sndbuf = SEND_BYTES[kind]


def rebind(socket: zmq.Socket[Any], endpoint: str) -> None:
    """End all connections of a server. Keys are asked for when a connection is made, so this is how one that
    is withdrawn takes effect: ZeroMQ ends the connections of an endpoint that is unbound, and whoever is
    still allowed comes again at once."""
    socket.unbind(str(socket.getsockopt_string(zmq.LAST_ENDPOINT)).rstrip("\0"))
    end = time.monotonic() + REBIND_S
    while True:
        try:
            socket.bind(endpoint)
            return
        except zmq.ZMQError as error:
            # ZeroMQ's own thread closes the old one, a moment after it was told to.
            if error.errno != zmq.EADDRINUSE or time.monotonic() > end:
                raise
            time.sleep(0.001)
