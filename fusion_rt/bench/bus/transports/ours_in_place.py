"""fusion_rt: `loan`, written in place."""

from __future__ import annotations

from fusion_rt.bench.bus.loads import Task
from fusion_rt.bench.bus.transports.ours import Reader, Sender


def sender(task: Task) -> Sender:
    return Sender(task, in_place=True)


listener = Reader
