"""One process of the benchmark: `python -m fusion_rt.bench.bus.process TASK.json` sends or listens, and
writes its Report beside the task."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import IO

import msgspec
import numpy as np
import psutil

from fusion_rt.bench.bus import transports
from fusion_rt.bench.bus.loads import Report, Stream, Task
from fusion_rt.bench.bus.transports import Frame

TAIL_S = 10.0  # sent at most behind what counts, until the listeners have seen their end come
STOP = "stop"  # the file that says so
PATIENCE_S = 30.0  # until the first message
SILENCES = 3  # seconds without a message: the sender has gone
PAGE = 4096
RECORD_BYTES = 256 << 20  # the recorder's file, written round and round
READY = "ready"


def run(task: Task) -> Report:
    """Raises whatever the transport raises."""
    return send(task, task.load.streams[task.stream]) if task.stream is not None else listen(task)


def send(task: Task, stream: Stream) -> Report:
    """At the stream's rate; the driver writes each message before its clock starts."""
    sender = transports.sender(task)
    rng = np.random.default_rng(0)
    sources = [rng.integers(0, 256, stream.nbytes, np.uint8) for _ in range(2)]
    first, count = task.first(stream), task.count(stream)
    report, stop = Report(name=task.name), Path(task.run_dir, STOP)
    print(READY, flush=True)
    cpu, begin = 0.0, time.monotonic()
    start = time.monotonic()
    for seq in range(count + round(TAIL_S * stream.rate_hz)):
        delay = start + seq / stream.rate_hz - time.monotonic()
        if delay > 0:
            time.sleep(delay)
        if seq == first:
            cpu, begin = time.process_time(), time.monotonic()
        elif seq == count:
            report.cpu_s, report.span_s = time.process_time() - cpu, time.monotonic() - begin
        if seq >= count and stop.exists():
            break
        source = sources[seq % 2]
        for buffer in sender.buffers():
            buffer[:] = source[: buffer.size]
        sender.send(time.monotonic_ns(), seq)
    _memory(report)
    sender.close()
    return report


def listen(task: Task) -> Report:
    """Take what comes: its age is taken when its first bytes have been read, then a byte of each page is."""
    assert task.listener is not None
    role = task.load.listeners[task.listener]
    listener = transports.listener(task)
    print(READY, flush=True)
    counting = _Counting(task)
    file = open(f"{task.run_dir}/recorded", "wb") if role.record else None  # noqa: SIM115
    tick = time.monotonic()
    deadline = tick + PATIENCE_S + task.warm_s + task.seconds
    silent = 0
    while not counting.done and silent < SILENCES and time.monotonic() < deadline:
        if role.rate_hz is not None:
            tick = max(tick + 1 / role.rate_hz, time.monotonic() - 1 / role.rate_hz)
            time.sleep(max(0.0, tick - time.monotonic()))
        frame = listener.recv(1.0)
        if frame is None:
            silent += bool(counting.report.received)
            continue
        silent = 0
        for array in frame.arrays:
            _ = array.reshape(-1)[0]
        now_ns = time.monotonic_ns()
        if file is None:
            for array in frame.arrays:
                array.reshape(-1).view(np.uint8)[::PAGE].max(initial=0)
        else:
            _record(file, frame)
        counting.add(frame, now_ns)
        del frame
    if file is not None:
        file.close()
        os.unlink(file.name)
    _memory(counting.report)
    listener.close()
    return counting.report


def _memory(report: Report) -> None:
    memory = psutil.Process().memory_info()
    report.rss_bytes, report.shared_bytes = memory.rss, memory.shared


class _Counting:
    """From when every stream is past its warm-up, or has had three times as long, for the task's seconds."""

    def __init__(self, task: Task):
        self.report = Report(name=task.name)
        self.done = False
        self._seconds, self._warm_s = task.seconds, task.warm_s
        self._cold = {stream.topic: task.first(stream) for stream in task.load.streams}
        self._range: dict[str, tuple[int, int]] = {}
        self._latest_ns = self._begin_ns = self._cpu = 0.0

    def add(self, frame: Frame, now_ns: int) -> None:
        if self._cold:
            self._latest_ns = self._latest_ns or now_ns + 3e9 * self._warm_s
            if frame.seq >= self._cold.get(frame.topic, frame.seq + 1):
                del self._cold[frame.topic]
            if not self._cold or now_ns > self._latest_ns:
                self._cold.clear()
                self._begin_ns, self._cpu = now_ns, time.process_time()
            return
        report = self.report
        report.span_s, report.cpu_s = (now_ns - self._begin_ns) / 1e9, time.process_time() - self._cpu
        if report.span_s > self._seconds:
            self.done = True
            return
        report.received[frame.topic] = report.received.get(frame.topic, 0) + 1
        low, high = self._range.get(frame.topic, (frame.seq, frame.seq))
        self._range[frame.topic] = low, high = min(low, frame.seq), max(high, frame.seq)
        report.offered[frame.topic] = high - low + 1
        report.age_us.setdefault(frame.topic, []).append((now_ns - frame.stamp_ns) / 1e3)


def _record(file: IO[bytes], frame: Frame) -> None:
    """Stamp, number and payload, as a log would hold them."""
    if file.tell() > RECORD_BYTES:
        file.seek(0)
    file.write(frame.stamp_ns.to_bytes(8, "little") + frame.seq.to_bytes(8, "little"))
    for array in frame.arrays:
        file.write(array.reshape(-1).view(np.uint8).data)
    file.flush()


def main(path: Path) -> None:
    task = msgspec.json.decode(path.read_bytes(), type=Task)
    report = run(task)
    done = path.with_suffix(".report")
    done.with_suffix(".part").write_bytes(msgspec.json.encode(report))
    done.with_suffix(".part").rename(done)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
