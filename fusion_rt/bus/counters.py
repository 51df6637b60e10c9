"""What a publisher and a subscriber count, topic by topic. Every message that does not arrive is in one."""

from __future__ import annotations

from msgspec import Struct


class Sent(Struct):
    """A publisher's side of a topic.

    published  messages handed to the socket
    dropped    messages not sent: all slots were held by readers, or a `log` reader did not make room
    bytes      payload published, headers not counted
    readers    that listen, as last looked, which is once a second while it publishes
    """

    published: int = 0
    dropped: int = 0
    bytes: int = 0
    readers: int = 0


class Received(Struct):
    """A subscriber's side of a topic.

    received          messages given to the caller
    lost              numbers missing in the publisher's sequence
    skipped           newer ones came before the caller asked
    malformed         not understood, or replayed
    wrong_generation  the slot was written anew, or its segment removed, before it was read
    restarts          new instances of the publisher
    why_malformed     the newest reason
    age_s             from publishing to the caller, newest and largest; None: none yet, or from a host whose
                      clock is not known
    """

    received: int = 0
    lost: int = 0
    skipped: int = 0
    malformed: int = 0
    wrong_generation: int = 0
    restarts: int = 0
    why_malformed: str | None = None
    age_s: float | None = None
    age_max_s: float | None = None

    def refuse(self, why: object) -> None:
        """Count a malformed one."""
        self.malformed += 1
        self.why_malformed = str(why)[:200]

    @property
    def missing(self) -> int:
        """Messages that were published and did not reach the caller."""
        return self.lost + self.skipped + self.malformed + self.wrong_generation
