"""Kinds of sound that several looks, or several microphones, agree on."""

from __future__ import annotations

import math

from msgspec import Struct
from msgspec.structs import replace

from fusion_rt.home.events import Mention
from fusion_rt.messages import Sound
from fusion_rt.scene import EVENTS

LEAST_P, MOST_P = 0.5, 0.97  # of one look: less says nothing, more says no more
# s. Mistakes of one look are seldom repeated by the next, or by another microphone; those of a noise are.
TOGETHER_S = 1.0
APART_S = 2.0  # a pause that ends a sound


class _Look(Struct, frozen=True):
    stamp_ns: int
    p: float
    room: str


class _Heard(Struct):
    """looks: of the last TOGETHER_S; sound: what is believed, None: nothing yet."""

    looks: list[_Look]
    sound: Mention | None = None


class Sounds:
    """Of a home. least_p: of all looks together, from which on a sound is believed."""

    def __init__(self, least_p: float) -> None:
        self._least_p = least_p
        self._heard: dict[str, _Heard] = {}

    def forget(self) -> None:
        self._heard.clear()

    def hear(self, sound: Sound, room: str) -> list[Mention]:
        """The kinds that are believed by now, those that go on too. A sound that its own microphone
        recognised (`onsets`) is believed at once."""
        mentions = []
        for kind, p in sound.events.items():
            if p > LEAST_P and kind in EVENTS:
                look = _Look(sound.header.stamp_ns, p, room)
                mention = self._look(kind, look, sound.onsets.get(kind))
                mentions += [] if mention is None else [mention]
        return mentions

    def _look(self, kind: str, look: _Look, recognised_ns: int | None) -> Mention | None:
        now_ns = look.stamp_ns
        heard = self._heard.get(kind)
        if heard is None or now_ns - heard.looks[-1].stamp_ns > APART_S * 1e9:
            heard = self._heard[kind] = _Heard([])
        heard.looks = [e for e in heard.looks if now_ns - e.stamp_ns <= TOGETHER_S * 1e9] + [look]
        best = max(heard.looks, key=lambda e: e.p)
        p = 1 - math.prod(1 - min(e.p, MOST_P) for e in heard.looks)
        if heard.sound is not None:
            heard.sound = replace(heard.sound, lasts_ns=max(now_ns, heard.sound.lasts_ns))
        elif recognised_ns is not None or p >= self._least_p:
            onset_ns = min(e.stamp_ns for e in heard.looks) if recognised_ns is None else recognised_ns
            heard.sound = Mention(kind, best.room, p, onset_ns, "sound", now_ns)
        return heard.sound
