"""For programs that listen: the messages of a running scenario, one by one.

import fusion_rt
for prediction in fusion_rt.subscribe():
    print(prediction.objects)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fusion_rt.bus import Bus, BusConfig


def subscribe(
    *topics: str, bus: BusConfig | None = None, timeout_s: float | None = None, keep_all: bool = False
) -> Iterator[Any]:
    """Messages of these topics ("prediction" if none is named) as they come, until the loop is left.

    bus        where the topics are, as `bus:` in the scenario; the user's own run if not given
    timeout_s  ends when nothing came for so long; None: waits for ever
    keep_all   every message, also of topics whose newest alone counts

    A message's arrays are read-only and may lie in the sender's memory: copy what is kept for long
    (`fusion_rt.bus.detach`). Raises BusError where an endpoint is not allowed."""
    with Bus(bus or BusConfig()) as opened:
        subscriber = opened.subscriber(topics or ("prediction",), keep_all=keep_all)
        while (message := subscriber.recv(timeout_s)) is not None:
            yield message
