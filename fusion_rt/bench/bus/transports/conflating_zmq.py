"""pyzmq with CONFLATE: one part, the newest alone."""

from __future__ import annotations

from fusion_rt.bench.bus.loads import Task
from fusion_rt.bench.bus.transports.plain_zmq import Reader, Sender

sender = Sender


def listener(task: Task) -> Reader:
    return Reader(task, conflate=True)
