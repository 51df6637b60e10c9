"""What is true in a home: of a simulated one, or as somebody has labelled it."""

from __future__ import annotations

from msgspec import Struct

from fusion_rt.header import Header, Vec2


class TruePerson(Struct, frozen=True, array_like=True):
    """One person at home: x, y, m; posture and activity as in scene.POSTURES and scene.ACTIVITIES."""

    person_id: str
    x: float
    y: float
    room: str
    posture: str
    activity: str


class TrueEvent(Struct, frozen=True, kw_only=True):
    """Something that happened: a kind of scene.EVENTS, where, and when it began and ended."""

    kind: str
    room: str
    position: Vec2
    onset_ns: int
    end_ns: int
    person_id: str = ""


class HomeTruth(Struct, frozen=True, kw_only=True, tag="home_truth"):
    """The truth at one moment, every 0.2 s; topic `/truth` of a log.

    counts      room -> people in it
    activities  room -> one of scene.ACTIVITIES: what most do there; "empty" where nobody is
    events      that began since the moment before
    """

    header: Header
    people: tuple[TruePerson, ...]
    counts: dict[str, int]
    activities: dict[str, str]
    events: tuple[TrueEvent, ...] = ()

    @property
    def stamp_ns(self) -> int:
        """UNIX epoch ns."""
        return self.header.stamp_ns
