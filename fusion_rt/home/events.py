"""What happened: told once, with its onset and an id.

A fall needs two modalities, or one and three seconds of stillness; sounds.py judges sounds."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from fusion_rt.home.histories import Worn
from fusion_rt.home.people import Track
from fusion_rt.home.reasons import shares
from fusion_rt.scene import HomeEvent, Why

# An event of the same kind within so long is the same event, s.
SAME_S = {"fall": 30.0, "smoke_alarm": 60.0, "baby_cry": 10.0, "dog_bark": 5.0}
SAME_SHORT_S = 3.0
FALL_P, FALL_OVER_P = 0.5, 0.25
STILL_S, STILL_MPS, FORGET_S = 3.0, 0.3, 2.0
THUMP_S, THUMP_P = 1.5, 0.3
IMPACT, REST = 25.0, 1.5  # m/s^2: of a fall's impact; how far from its mean a still body's force may be


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


class _Suspect(Struct):
    """A fall that may be one. by: modality -> probability; still_ns: since when nothing moves."""

    onset_ns: int
    doubted_ns: int
    room: str
    by: dict[str, float]
    still_ns: int | None = None


class Falls:
    """Of tracks (key: the track) and of worn sensors (key: the sensor)."""

    def __init__(self) -> None:
        self._suspects: dict[int | str, _Suspect] = {}
        self._done: set[int | str] = set()

    def forget(self) -> None:
        self._suspects.clear()
        self._done.clear()

    def look(self, track: Track, by: tuple[str, ...], stamp_ns: int) -> None:
        """by: the modalities that see this track now."""
        if track.fall < FALL_OVER_P or not by:
            self._doubt(track.id, stamp_ns)
            return
        still = bool(track.x[2] ** 2 + track.x[3] ** 2 < STILL_MPS**2) and track.posture[2] > 0.4
        self._suspect(track.id, track.room, dict.fromkeys(by, track.fall), stamp_ns, stamp_ns, still)

    def feel(self, sensor_id: str, worn: Worn, room: str, now_ns: int) -> None:
        """room: where the person that wears it is believed to be."""
        if not worn.past or worn.status(now_ns) != "used":
            return
        at_ns, peak = max(worn.past, key=lambda entry: entry[1])
        if peak < IMPACT:
            self._doubt(sensor_id, now_ns)
            return
        after = [norm for stamp_ns, norm in worn.past if stamp_ns > at_ns + 0.7e9]
        mean = sum(after) / len(after) if after else 0.0
        still = bool(after) and max(abs(norm - mean) for norm in after) < REST
        self._suspect(sensor_id, room, {"worn": min(peak / (2 * IMPACT), 0.95)}, at_ns, now_ns, still)

    def hear(self, room: str, p: float, stamp_ns: int) -> None:
        """A thump: the microphone's head takes it for a knock. It only supports a fall that others see."""
        for suspect in self._suspects.values():
            if suspect.room == room and abs(suspect.onset_ns - stamp_ns) < THUMP_S * 1e9 and p >= THUMP_P:
                suspect.by["sound"] = max(p, suspect.by.get("sound", 0.0))

    def told(self, stamp_ns: int) -> list[Mention]:
        """Those that are believed now; each once."""
        mentions = []
        for key, suspect in self._suspects.items():
            if key in self._done or max(suspect.by.values()) < FALL_P:
                continue
            others = [
                s.by
                for k, s in self._suspects.items()
                if k != key and abs(s.onset_ns - suspect.onset_ns) < 3e9 and s.room in (suspect.room, "")
            ]
            by = suspect.by | {m: p for other in others for m, p in other.items() if m not in suspect.by}
            still = suspect.still_ns is not None and stamp_ns - suspect.still_ns >= STILL_S * 1e9
            if len(by) >= 2 or still:
                self._done.add(key)
                mentions += [
                    Mention("fall", suspect.room, p, suspect.onset_ns, m) for m, p in sorted(by.items())
                ]
        return mentions

    def _suspect(
        self, key: int | str, room: str, by: dict[str, float], onset_ns: int, now_ns: int, still: bool
    ) -> None:
        suspect = self._suspects.get(key)
        if suspect is None:
            suspect = self._suspects[key] = _Suspect(onset_ns, now_ns, room, {})
        suspect.doubted_ns, suspect.room = now_ns, room or suspect.room
        for modality, p in by.items():
            suspect.by[modality] = max(p, suspect.by.get(modality, 0.0))
        if not still:
            suspect.still_ns = None
        elif suspect.still_ns is None:
            suspect.still_ns = now_ns

    def _doubt(self, key: int | str, stamp_ns: int) -> None:
        suspect = self._suspects.get(key)
        if suspect is not None and stamp_ns - suspect.doubted_ns > FORGET_S * 1e9:
            del self._suspects[key]
            self._done.discard(key)
