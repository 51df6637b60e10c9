"""dora: nodes of a dataflow that `dora run` starts, payloads as Arrow arrays, which dora puts into shared
memory when they are sent."""

from __future__ import annotations

from typing import Any

import dora
import numpy as np
import pyarrow

from fusion_rt.bench.bus.loads import Task
from fusion_rt.bench.bus.transports import Bytes, Frame, stamp, stamped

OUTPUT = "out"


class Sender:
    def __init__(self, task: Task):
        assert task.stream is not None
        self._node = dora.Node()
        self._own = np.zeros(task.load.streams[task.stream].nbytes, np.uint8)

    def buffers(self) -> list[Bytes]:
        return [self._own]

    def send(self, stamp_ns: int, seq: int) -> None:
        stamp(self._own, stamp_ns, seq)
        self._node.send_output(OUTPUT, pyarrow.array(self._own), {})

    def close(self) -> None:
        pass


class Reader:
    def __init__(self, task: Task):
        self._node = dora.Node()

    def recv(self, timeout_s: float) -> Frame | None:
        event = self._node.next(timeout=timeout_s)
        if event is None or event["type"] != "INPUT":
            return None
        return stamped(event["id"], event["value"].to_numpy(zero_copy_only=True))

    def close(self) -> None:
        pass


def dataflow(tasks: list[Task], command: list[str], files: dict[str, str]) -> dict[str, Any]:
    """The file for `dora run`: every task a node, `command` with its task's file behind it."""
    nodes = []
    for task in tasks:
        node: dict[str, Any] = {
            "id": task.name,
            "path": command[0],
            "args": " ".join([*command[1:], files[task.name]]),
        }
        if task.stream is not None:
            node["outputs"] = [OUTPUT]
        else:
            assert task.listener is not None
            record = task.load.listeners[task.listener].record
            node["inputs"] = {
                stream.topic: {
                    "source": f"{stream.topic}-sender/{OUTPUT}",
                    "queue_size": 64 if record or stream.shape == "imu" else 1,
                }
                for stream in task.load.streams
            }
        nodes.append(node)
    return {"nodes": nodes}


sender = Sender
listener = Reader
