"""What a recorder did not even receive: gaps between the numbers of a topic's messages."""

from __future__ import annotations

from collections.abc import Iterable

from fusion_rt.logs.losses import Cause, Loss, topic_of
from fusion_rt.messages import Command, Message


class Arrivals:
    """Compares each message's number with its topic's last one.

    A microphone numbers its commands apart from its sounds. A number that goes back is a sensor that began
    anew: no loss. Of a gap, as many messages as the bus counts missing were dropped on the way; the others
    were never sent."""

    def __init__(self) -> None:
        self._last: dict[tuple[str, bool], tuple[int, int]] = {}  # (topic, a command) -> number, stamp
        self._missing: dict[str, int] = {}  # of the bus's topics

    def seen(self, message: Message, missing: int, via: str) -> list[Loss]:
        """What is missing before this message. missing: of the bus's topic `via`, what is counted so far."""
        topic, header = topic_of(message), message.header
        dropped = missing - self._missing.get(via, 0)
        self._missing[via] = missing
        which = topic, isinstance(message, Command)
        before = self._last.get(which)
        self._last[which] = header.seq, header.stamp_ns
        first, start_ns = (before[0] + 1, before[1]) if before is not None else (header.seq, header.stamp_ns)
        gap = max(header.seq - first, 0)
        on_the_way = min(dropped, gap)
        losses = []
        for messages, cause, known in (
            (on_the_way, "bus", True),
            (gap - on_the_way, "source", True),
            (dropped - on_the_way, "bus", False),  # before the first, or of a sensor that does not count up
        ):
            if messages > 0:
                losses.append(
                    _loss(
                        topic,
                        cause,  # type: ignore[arg-type]
                        messages,
                        (first, header.seq - 1) if known else None,
                        (start_ns, header.stamp_ns),
                    )
                )
        return losses

    def rest(self, missing: dict[str, int]) -> list[Loss]:
        """At the end: the bus's topic -> what it counts by now. What came behind the last message that
        arrived has no known number."""
        losses = []
        for topic, count in missing.items():
            dropped = count - self._missing.get(topic, 0)
            if dropped > 0:
                _, stamp = self._last.get((f"/{topic}", False), (0, 0))
                losses.append(_loss(f"/{topic}", "bus", dropped, None, (stamp, stamp)))
        return losses


def _loss(
    topic: str, cause: Cause, messages: int, numbers: tuple[int, int] | None, stamps: Iterable[int]
) -> Loss:
    first, last = numbers or (None, None)
    start_ns, end_ns = stamps
    return Loss(
        topic=topic,
        cause=cause,
        messages=messages,
        first=first,
        last=last,
        start_ns=start_ns,
        end_ns=end_ns,
    )
