"""Which falls are told.

A fall is suspected where somebody goes down (descents.py) or a worn sensor feels an impact. It is told as
soon as another tells the same: the other modality, the network, a thump; or after three seconds of stillness
of what was clear by itself. The network alone tells none: going to bed looks much like a fall to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from msgspec import Struct

from fusion_rt.home.descents import UPRIGHT_M, Descents, echoes, fresh_points
from fusion_rt.home.events import Mention
from fusion_rt.home.histories import Worn
from fusion_rt.home.observation import Observation
from fusion_rt.home.people import Track

# What a modality's word is worth: of simulated descents that radars, and cameras, took for one.
SEEN_P = {"radar": 0.8, "camera": 0.4}
SCENES, CLEAR_SCENES = 2, 3  # in so many it must be seen; in so many by a radar, stillness is enough
LEAST_P = 0.5
NETWORK_P, WORD_S = 0.25, 1.5  # the network's word, and how long it counts: it may come before the rest
SAME_M, SAME_S, FORGET_S = 1.4, 3.0, 6.0
STILL_S, UP_POINTS = 3.0, 10  # nobody gets up: so many echoes as high as somebody who stands
THUMP_S, THUMP_P = 1.5, 0.3
IMPACT, REST = 25.0, 1.5  # m/s^2: of a fall's impact; how far from its mean a still body's force may be


class _Suspect(Struct):
    """A fall that may be one. room: "" where nobody knows; scenes: how often each source saw it; by: modality
    -> probability; still_ns: since when nobody moves there"""

    onset_ns: int
    room: str
    x: float
    y: float
    scenes: dict[str, int]
    by: dict[str, float]
    still_ns: int | None = None
    told: bool = False

    @property
    def sources(self) -> set[str]:
        """Who says so, often enough to be heard."""
        return {s for s, n in self.scenes.items() if n >= (SCENES if s in SEEN_P else 1)}

    @property
    def clear(self) -> bool:
        return self.scenes.get("radar", 0) >= CLEAR_SCENES or "worn" in self.scenes


class _Word(Struct, frozen=True):
    """The network believes that somebody fell: there and then, with p; modalities: which see that person"""

    stamp_ns: int
    x: float
    y: float
    p: float
    modalities: tuple[str, ...]


class Falls:
    """Of a home. Pure: time is in what it is given."""

    def __init__(self) -> None:
        self._descents = Descents()
        self._words: list[_Word] = []
        self._seen: list[_Suspect] = []
        self._worn: dict[str, _Suspect] = {}

    def forget(self) -> None:
        self._descents.forget()
        self._words.clear()
        self._seen.clear()
        self._worn.clear()

    def look(
        self, tracks: Sequence[Track], by: Mapping[int, Mapping[str, float]], seen: Observation, now_ns: int
    ) -> None:
        """tracks: all; by: of each confirmed one, the modalities that see it."""
        self._seen = [s for s in self._seen if now_ns - s.onset_ns <= FORGET_S * 1e9]
        counted = set()  # two tracks of one person are one descent
        for descent in self._descents.at(now_ns, tracks, seen):
            suspect = self._suspect(descent.x, descent.y, descent.room, descent.stamp_ns)
            modality = descent.modality
            if (id(suspect), modality) not in counted:
                counted.add((id(suspect), modality))
                suspect.scenes[modality] = suspect.scenes.get(modality, 0) + 1
            suspect.by[modality] = max(SEEN_P[modality], suspect.by.get(modality, 0.0))
        self._words = [w for w in self._words if now_ns - w.stamp_ns <= WORD_S * 1e9]
        for track in tracks:
            if track.fall >= NETWORK_P:
                modalities = tuple(m for m in by.get(track.id, ()) if m in SEEN_P)
                self._words.append(
                    _Word(now_ns, float(track.x[0]), float(track.x[1]), track.fall, modalities)
                )
        fresh = fresh_points(seen)
        for suspect in self._seen:
            for word in self._words:
                if _together(suspect, word.x, word.y, word.stamp_ns):
                    suspect.scenes["network"] = 1
                    for modality in word.modalities:
                        suspect.by[modality] = max(word.p, suspect.by.get(modality, 0.0))
            z = echoes(fresh, suspect.x, suspect.y)
            up = len(z) >= UP_POINTS and bool(z.mean() >= UPRIGHT_M)
            if up:  # what spoke for it speaks no more
                suspect.scenes.clear()
                suspect.by.clear()
            _settle(suspect, not up, now_ns)

    def feel(self, sensor_id: str, worn: Worn, room: str, now_ns: int) -> None:
        """room: where the person that wears it is believed to be."""
        if not worn.past or worn.status(now_ns) != "used":
            return
        at_ns, peak = max(worn.past, key=lambda entry: entry[1])
        known = self._worn.get(sensor_id)
        if peak < IMPACT:
            if known is not None and now_ns - known.onset_ns > FORGET_S * 1e9:
                del self._worn[sensor_id]
            return
        if known is None:
            known = self._worn[sensor_id] = _Suspect(at_ns, room, 0.0, 0.0, {}, {})
        known.room = room or known.room
        known.scenes["worn"] = known.scenes.get("worn", 0) + 1
        known.by["worn"] = max(min(peak / (2 * IMPACT), 0.95), known.by.get("worn", 0.0))
        after = [norm for stamp_ns, norm in worn.past if stamp_ns > at_ns + 0.7e9]
        mean = sum(after) / len(after) if after else 0.0
        _settle(known, bool(after) and max(abs(norm - mean) for norm in after) < REST, now_ns)

    def hear(self, room: str, p: float, stamp_ns: int) -> None:
        """A thump: the microphone's head takes it for a knock. It only supports a fall that others see."""
        for suspect in (*self._seen, *self._worn.values()):
            if suspect.room == room and abs(suspect.onset_ns - stamp_ns) < THUMP_S * 1e9 and p >= THUMP_P:
                suspect.scenes["sound"] = suspect.scenes.get("sound", 0) + 1
                suspect.by["sound"] = max(p, suspect.by.get("sound", 0.0))

    def told(self, now_ns: int) -> list[Mention]:
        """Those that are believed now; each once."""
        mentions = []
        everyone = [*self._seen, *self._worn.values()]
        for suspect in everyone:
            others = [s for s in everyone if s is not suspect and _same(s, suspect)]
            sources = suspect.sources.union(*(s.sources for s in others))
            rests = suspect.still_ns is not None and now_ns - suspect.still_ns >= STILL_S * 1e9
            by = suspect.by | {m: p for s in others for m, p in s.by.items() if m not in suspect.by}
            none_of_them = math.prod(1 - p for p in by.values())
            believed = _agree(sources) and 1 - none_of_them >= LEAST_P
            if suspect.told or not (believed or (suspect.clear and rests)):
                continue
            for s in (suspect, *others):
                s.told = True
            mentions += [Mention("fall", suspect.room, p, suspect.onset_ns, m) for m, p in sorted(by.items())]
        return mentions

    def _suspect(self, x: float, y: float, room: str, onset_ns: int) -> _Suspect:
        near = next((s for s in self._seen if _together(s, x, y, onset_ns)), None)
        if near is None:
            near = _Suspect(onset_ns, room, x, y, {}, {})
            self._seen.append(near)
        return near


def _together(suspect: _Suspect, x: float, y: float, stamp_ns: int) -> bool:
    """What is seen there and then belongs to it."""
    soon = abs(stamp_ns - suspect.onset_ns) <= SAME_S * 1e9
    return soon and bool(np.hypot(suspect.x - x, suspect.y - y) < SAME_M)


def _agree(sources: set[str]) -> bool:
    """A camera alone sees a sofa's sleeper lie: a thump is not enough for it."""
    seen = len(sources) >= 2 and bool(sources & {"radar", "worn"})
    return seen or {"camera", "network"} <= sources


def _same(a: _Suspect, b: _Suspect) -> bool:
    return abs(a.onset_ns - b.onset_ns) < SAME_S * 1e9 and (a.room == b.room or "" in (a.room, b.room))


def _settle(suspect: _Suspect, still: bool, now_ns: int) -> None:
    if not still:
        suspect.still_ns = None
    elif suspect.still_ns is None:
        suspect.still_ns = now_ns
