"""fusion_rt: `send`, which copies an array that the caller holds."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fusion_rt.bench.bus import loads
from fusion_rt.bench.bus.loads import Task
from fusion_rt.bench.bus.transports import Bytes, Frame
from fusion_rt.bus import Bus, BusConfig, Loan
from fusion_rt.messages import Header, Image, ImuSample, Message, PointCloud

N = loads.CLOUD_POINTS
SPECS: dict[str, list[tuple[tuple[int, ...], str]]] = {
    "image": [((loads.IMAGE_HEIGHT, loads.IMAGE_WIDTH, 3), "u1")],
    "points": [((N, 3), "<f4"), ((N,), "<f4"), ((N,), "<f4"), ((N,), "<u2")],
    "imu": [],
}


def message(shape: str, header: Header, arrays: list[Any]) -> Message:
    """As a driver makes it."""
    if shape == "image":
        return Image(
            header=header,
            height=loads.IMAGE_HEIGHT,
            width=loads.IMAGE_WIDTH,
            encoding="bgr8",
            data=arrays[0],
        )
    if shape == "points":
        xyz, intensity, t, ring = arrays
        return PointCloud(header=header, xyz=xyz, intensity=intensity, t=t, ring=ring)
    return ImuSample(header=header, specific_force=(0.1, -0.2, 9.81), angular_rate=(0.01, 0.02, -0.03))


class Sender:
    """Copies out of arrays of its own, or, `in_place`, publishes what was written into the ring."""

    def __init__(self, task: Task, *, in_place: bool = False):
        assert task.stream is not None
        self._stream = task.load.streams[task.stream]
        self._specs = SPECS[self._stream.shape]
        self._bus = Bus(BusConfig(run_dir=f"{task.run_dir}/run"))
        self._publisher = self._bus.publisher(self._stream.topic)
        self._own = [np.zeros(shape, dtype) for shape, dtype in self._specs]
        self._in_place = in_place and bool(self._specs)
        self._loan: Loan | None = None

    def buffers(self) -> list[Bytes]:
        arrays = self._own
        if self._in_place:
            (shape, dtype), *more = self._specs
            self._loan = self._publisher.loan(shape, dtype, *more)
            arrays = self._loan.arrays
        return [array.reshape(-1).view(np.uint8) for array in arrays]

    def send(self, stamp_ns: int, seq: int) -> None:
        topic = self._stream.topic
        header = Header(sensor_id=topic, frame_id=topic, seq=seq, stamp_ns=stamp_ns)
        if self._loan is None:
            self._publisher.send(message(self._stream.shape, header, self._own))
        else:
            self._loan.publish(message(self._stream.shape, header, self._loan.arrays))
            self._loan = None

    def close(self) -> None:
        time.sleep(0.5)  # what is in flight may be read before the ring goes
        self._loan = None
        self._bus.close()


class Reader:
    def __init__(self, task: Task):
        assert task.listener is not None
        self._bus = Bus(BusConfig(run_dir=f"{task.run_dir}/run"))
        topics = [stream.topic for stream in task.load.streams]
        record = task.load.listeners[task.listener].record
        self._subscriber = self._bus.subscriber(topics, keep_all=record)

    def recv(self, timeout_s: float) -> Frame | None:
        received = self._subscriber.recv(timeout_s)
        if received is None:
            return None
        header = received.header
        if isinstance(received, Image):
            arrays: list[Any] = [received.data]
        elif isinstance(received, PointCloud):
            arrays = [received.xyz, received.intensity, received.t, received.ring]
        else:
            arrays = []
        return Frame(header.sensor_id, header.stamp_ns, header.seq, arrays)

    def close(self) -> None:
        self._bus.close()


sender = Sender
listener = Reader
