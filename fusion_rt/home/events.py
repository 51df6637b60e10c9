"""What happened: told once, with its onset and an id. falls.py judges falls, sounds.py sounds."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from fusion_rt.home.reasons import shares
from fusion_rt.scene import HomeEvent, Why

# An event of the same kind within so long is the same event, s.
SAME_S = {"fall": 30.0, "smoke_alarm": 60.0, "baby_cry": 10.0, "dog_bark": 5.0}
SAME_SHORT_S = 3.0


class Mention(Struct, frozen=True):
    """One modality says that something happened, or that it goes on: it began at onset_ns, and is so still at
    lasts_ns."""

    kind: str
    room: str
    p: float
    onset_ns: int
    modality: str
    lasts_ns: int = 0


class Events:
    """Collects mentions; `told` gives the new events of a tick."""

    def __init__(self, site: str) -> None:
        self._site = site
        self._pending: list[Mention] = []
        self._latest: dict[str, tuple[int, str]] = {}  # kind -> stamp of the latest mention, its id

    def forget(self) -> None:
        self._pending.clear()
        self._latest.clear()

    def mention(self, mention: Mention) -> None:
        self._pending.append(mention)

    def told(self, missing: tuple[str, ...], ages_ms: Mapping[str, float]) -> tuple[HomeEvent, ...]:
        events = []
        for kind in sorted({m.kind for m in self._pending}):
            same = [m for m in self._pending if m.kind == kind]
            best = max(same, key=lambda m: (m.p, -m.onset_ns, m.room))
            onset_ns = min(m.onset_ns for m in same)
            lasts_ns = max(max(m.onset_ns, m.lasts_ns) for m in same)
            known = self._latest.get(kind)
            apart_ns = SAME_S.get(kind, SAME_SHORT_S) * 1e9
            if known is not None and onset_ns - known[0] <= apart_ns:
                self._latest[kind] = (max(known[0], lasts_ns), known[1])
                continue
            name = f"{self._site}-{kind}-{onset_ns}"
            self._latest[kind] = (lasts_ns, name)
            by: dict[str, float] = {}
            none_of_them = 1.0
            for m in same:
                by[m.modality] = max(by.get(m.modality, 0.0), m.p)
            for p in by.values():
                none_of_them *= 1 - p
            why = Why(shares=shares(by, tuple(sorted(by))), missing=missing, ages_ms=dict(ages_ms))
            p = min(1 - none_of_them, 1.0)
            events.append(HomeEvent(kind=kind, room=best.room, p=p, id=name, onset_ns=onset_ns, why=why))
        self._pending.clear()
        return tuple(events)
