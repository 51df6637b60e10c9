"""iceoryx2: publish-subscribe of byte slices, and an event that wakes the readers. Without `in_place` the
payload is copied into the loaned sample."""

from __future__ import annotations

import ctypes
import hashlib
from collections import deque
from typing import Any

import iceoryx2 as iox2
import numpy as np

from fusion_rt.bench.bus.loads import Stream, Task
from fusion_rt.bench.bus.transports import Bytes, Frame, stamp, stamped

QUEUED = 2  # samples that wait for a reader: the newest win
QUEUED_RECORD = 16  # its memory is set aside for every publisher


class _Services:
    """The load's services; made by whoever comes first, so all ask for the same."""

    def __init__(self, task: Task):
        iox2.set_log_level(iox2.LogLevel.Error)
        self._node = iox2.NodeBuilder.new().create(iox2.ServiceType.Ipc)
        self._run = hashlib.sha256(task.run_dir.encode()).hexdigest()[:12]
        self._queued = QUEUED_RECORD if any(one.record for one in task.load.listeners) else QUEUED

    def samples(self, stream: Stream) -> Any:
        return (
            self._node.service_builder(iox2.ServiceName.new(f"{self._run}/{stream.topic}"))
            .publish_subscribe(iox2.Slice[ctypes.c_uint8])
            .payload_alignment(iox2.Alignment.new(64))
            .subscriber_max_buffer_size(self._queued)
            .subscriber_max_borrowed_samples(4)
            .enable_safe_overflow(True)
            .open_or_create()
        )

    def event(self) -> Any:
        return (
            self._node.service_builder(iox2.ServiceName.new(f"{self._run}/new"))
            .event()
            .max_notifiers(16)
            .max_listeners(16)
            .open_or_create()
        )


class Sender:
    def __init__(self, task: Task, *, in_place: bool = False):
        assert task.stream is not None
        self._stream = task.load.streams[task.stream]
        services = _Services(task)
        self._services = services
        self._publisher = (
            services.samples(self._stream)
            .publisher_builder()
            .initial_max_slice_len(self._stream.nbytes)
            .create()
        )
        self._notifier = services.event().notifier_builder().create()
        self._own = np.zeros(self._stream.nbytes, np.uint8)
        self._in_place = in_place
        self._sample: Any = None

    def buffers(self) -> list[Bytes]:
        if self._in_place:
            self._sample = self._publisher.loan_slice_uninit(self._stream.nbytes)
            self._own = np.frombuffer(self._sample.payload().as_memory_view(), np.uint8)
        return [self._own]

    def send(self, stamp_ns: int, seq: int) -> None:
        stamp(self._own, stamp_ns, seq)
        sample = self._sample
        if sample is None:
            sample = self._publisher.loan_slice_uninit(self._stream.nbytes)
            np.frombuffer(sample.payload().as_memory_view(), np.uint8)[:] = self._own
        sample.assume_init().send()
        self._sample = None
        self._notifier.notify()

    def close(self) -> None:
        self._publisher.delete()


class Reader:
    def __init__(self, task: Task):
        services = _Services(task)
        self._services = services
        self._streams = task.load.streams
        self._turns = deque((s, services.samples(s).subscriber_builder().create()) for s in self._streams)
        self._event = services.event().listener_builder().create()
        assert task.listener is not None
        self._all = task.load.listeners[task.listener].record
        self._held: Any = None

    def recv(self, timeout_s: float) -> Frame | None:
        frame = self._look()
        if frame is None:
            self._event.timed_wait(iox2.Duration.from_millis(int(timeout_s * 1000)))
            frame = self._look()
        return frame

    def _look(self) -> Frame | None:
        self._held = None
        for _ in self._streams:
            stream, subscriber = self._turns[0]
            self._turns.rotate(-1)  # a fast stream must not hide the others
            sample = subscriber.receive()
            if sample is None:
                continue
            while stream.shape != "imu" and not self._all and (newer := subscriber.receive()) is not None:
                sample = newer
            self._held = sample  # the array is valid as long as its sample
            return stamped(stream.topic, np.frombuffer(sample.payload().as_memory_view(), np.uint8))
        return None

    def close(self) -> None:
        self._held = None
        for _, subscriber in self._turns:
            subscriber.delete()


sender = Sender
listener = Reader
