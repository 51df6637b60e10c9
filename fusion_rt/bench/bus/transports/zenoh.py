"""zenoh between peers, payloads in its shared memory. Its Python binding copies into a buffer (`buf[:] =`)
and out of one (`to_bytes`)."""

from __future__ import annotations

import json
import time

import numpy as np
import zenoh

from fusion_rt.bench.bus.loads import Task
from fusion_rt.bench.bus.transports import Bytes, Frame, stamp, stamped

SLOTS = 8
SMALL = 4096  # below it, shared memory is not worth it: zenoh's own advice
QUEUED_RECORD = 64


def _session(settings: dict[str, object]) -> zenoh.Session:
    config = zenoh.Config()
    shared = {"transport/shared_memory/enabled": True, "scouting/multicast/enabled": False}
    for path, value in (shared | settings).items():
        config.insert_json5(path, json.dumps(value))
    return zenoh.open(config)


class Sender:
    def __init__(self, task: Task):
        assert task.stream is not None
        stream = task.load.streams[task.stream]
        self._session = _session({"listen/endpoints": [f"tcp/127.0.0.1:{task.ports[task.stream]}"]})
        self._publisher = self._session.declare_publisher(f"bench/{stream.topic}")
        self._memory = None
        if stream.nbytes >= SMALL:
            self._memory = zenoh.shm.ShmProvider.default_backend(SLOTS * (stream.nbytes + SMALL))
        self._own = bytearray(stream.nbytes)
        self._array = np.frombuffer(self._own, np.uint8)

    def buffers(self) -> list[Bytes]:
        return [self._array]

    def send(self, stamp_ns: int, seq: int) -> None:
        stamp(self._array, stamp_ns, seq)
        if self._memory is None:
            self._publisher.put(bytes(self._own))
            return
        policy = zenoh.shm.BlockOn(zenoh.shm.GarbageCollect())
        buffer = self._memory.alloc(len(self._own), policy)
        buffer[:] = self._own
        self._publisher.put(buffer)

    def close(self) -> None:
        time.sleep(0.5)
        self._session.close()


class Reader:
    def __init__(self, task: Task):
        assert task.listener is not None
        listener = task.load.listeners[task.listener]
        newest = len(task.load.streams) == 1 and task.load.streams[0].shape != "imu"
        handlers = zenoh.handlers
        handler = handlers.RingChannel(1) if newest else handlers.FifoChannel(QUEUED_RECORD)
        if listener.record:
            handler = handlers.FifoChannel(QUEUED_RECORD)
        self._session = _session(
            {
                "connect/endpoints": [f"tcp/127.0.0.1:{port}" for port in task.ports],
                "connect/timeout_ms": -1,  # the senders come later
                "connect/exit_on_failure": False,
            }
        )
        self._subscriber = self._session.declare_subscriber("bench/**", handler)

    def recv(self, timeout_s: float) -> Frame | None:
        sample = self._subscriber.recv()  # it cannot wait for a time
        topic = str(sample.key_expr).removeprefix("bench/")
        return stamped(topic, np.frombuffer(sample.payload.to_bytes(), np.uint8))

    def close(self) -> None:
        self._session.close()


sender = Sender
listener = Reader
