"""pyzmq as its guide has it: PUB and SUB over ipc, `send(array)`, `recv()`, no options."""

from __future__ import annotations

import time

import numpy as np
import zmq

from fusion_rt.bench.bus.loads import Task
from fusion_rt.bench.bus.transports import Bytes, Frame, stamp, stamped


class Sender:
    def __init__(self, task: Task):
        assert task.stream is not None
        stream = task.load.streams[task.stream]
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._socket.bind(f"ipc://{task.run_dir}/{stream.topic}")
        self._own = np.zeros(stream.nbytes, np.uint8)

    def buffers(self) -> list[Bytes]:
        return [self._own]

    def send(self, stamp_ns: int, seq: int) -> None:
        stamp(self._own, stamp_ns, seq)
        self._socket.send(self._own.data)

    def close(self) -> None:
        time.sleep(0.5)
        self._context.destroy(linger=0)


class Reader:
    def __init__(self, task: Task, *, conflate: bool = False):
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._topics: dict[zmq.Socket[bytes], str] = {}
        for stream in task.load.streams:
            socket = self._context.socket(zmq.SUB)
            if conflate:
                socket.conflate = 1
            socket.subscribe(b"")
            socket.connect(f"ipc://{task.run_dir}/{stream.topic}")
            self._poller.register(socket, zmq.POLLIN)
            self._topics[socket] = stream.topic
        self._ready: list[zmq.Socket[bytes]] = []

    def recv(self, timeout_s: float) -> Frame | None:
        if not self._ready:
            self._ready = [socket for socket, _ in self._poller.poll(int(timeout_s * 1000))]
        if not self._ready:
            return None
        socket = self._ready.pop()
        return stamped(self._topics[socket], np.frombuffer(socket.recv(), np.uint8))

    def close(self) -> None:
        self._context.destroy(linger=0)


sender = Sender
listener = Reader
