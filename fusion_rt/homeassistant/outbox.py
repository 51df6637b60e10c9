"""What is to be sent, while the broker takes it or not. Nothing piles up: a state's newest alone waits, an
event waits for a while, and then nobody needs it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from fusion_rt.sinks.mqtt import Publication

EVENT_S = 60.0
EVENTS = 100
# A broker that has started again gets events only when Home Assistant is there again, which tries every 10 s:
# nobody would hear them.
LISTENERS_S = 12.0


class Outbox:
    """Announcements in their order, then events in theirs, then the newest of each topic.

    late  events that the broker did not take in time"""

    def __init__(self) -> None:
        self._announcements: deque[Publication] = deque()
        self._events: deque[tuple[float, Publication]] = deque()
        self._newest: dict[str, Publication] = {}
        self._events_from_s = 0.0
        self.late = 0

    def announce(self, messages: Iterable[Publication]) -> None:
        """Before all else; what was to be announced before is not any more."""
        self._announcements = deque(messages)

    @property
    def announcing(self) -> bool:
        """Whether some of it has not been taken yet."""
        return bool(self._announcements)

    def event(self, message: Publication, now_s: float) -> None:
        """One that counts for EVENT_S."""
        if len(self._events) >= EVENTS:
            self._events.popleft()
            self.late += 1
        self._events.append((now_s + EVENT_S, message))

    def hold_events(self, now_s: float) -> None:
        """The others may not be connected yet: for LISTENERS_S."""
        self._events_from_s = now_s + LISTENERS_S

    def release_events(self) -> None:
        """They are."""
        self._events_from_s = 0.0

    def state(self, message: Publication) -> None:
        """The newest of its topic."""
        self._newest[message.topic] = message

    def flush(self, publish: Callable[[Publication], bool], now_s: float) -> None:
        """Hand over what is taken; the rest waits for the next time."""
        while self._announcements:
            if not publish(self._announcements[0]):
                return
            self._announcements.popleft()
        while self._events:
            if self._events[0][0] < now_s:
                self.late += 1
            elif now_s < self._events_from_s or not publish(self._events[0][1]):
                break
            self._events.popleft()
        for topic in list(self._newest):
            if not publish(self._newest[topic]):
                return
            del self._newest[topic]
