"""Who stood a moment ago and is on the floor now: what a fall looks like to a radar and to a camera.

A radar that hangs on a wall tells heights: the echoes of a walking body lie about a metre high, those of one
that goes down lie below the knee within half a second, and are many, since it moves. Who sits down keeps
the trunk up; who lies down in bed keeps still while doing so, and lies higher. A camera's box becomes lower
and broader."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.home.observation import RADAR_COLUMNS, SIGHT_COLUMNS, Observation
from fusion_rt.home.people import Track

Array = NDArray[np.float32]

FRESH_S = 0.35  # of radar points: a few frames
AROUND_M = 1.0
BEFORE_S = 1.8  # so long ago somebody stood there
# Mean height of the echoes around somebody, m, and how many they are: upright, and down.
UPRIGHT_M, UPRIGHT_POINTS = 0.75, 20
STANDING_P = 0.5  # of the posture: echoes of a passer-by are taken for those of who sits on the floor
DOWN_M, DOWN_POINTS = 0.4, 15
DROP_M = 0.6
STANDS_M, STANDS_ASPECT = 1.55, 0.7  # how tall, and how broad by its height, a camera sees a person
LIES_M, LIES_ASPECT = 1.3, 0.85
LIES_WITHIN_M = 0.8
SIGHT_S = 0.25  # older boxes were counted already
_FOOT, _LIES = SIGHT_COLUMNS.index("foot_x"), SIGHT_COLUMNS.index("lie_x")
_HEIGHT, _ASPECT, _AGE = (SIGHT_COLUMNS.index(name) for name in ("height", "aspect", "age"))


class Descent(Struct, frozen=True):
    """modality  "radar" or "camera"; x, y: where, m; stamp_ns: of what it was seen in, about"""

    modality: str
    x: float
    y: float
    room: str
    stamp_ns: int


class _Height(Struct, frozen=True):
    """Somebody stood there. track: its id; 0 where a camera saw it."""

    stamp_ns: int
    x: float
    y: float
    mean_m: float
    track: int = 0


class Descents:
    """Remembers two seconds of where somebody stood."""

    def __init__(self) -> None:
        self._echoes: list[_Height] = []
        self._sights: list[_Height] = []

    def forget(self) -> None:
        self._echoes.clear()
        self._sights.clear()

    def at(self, now_ns: int, tracks: Sequence[Track], seen: Observation) -> list[Descent]:
        """tracks: also those that are not confirmed: who fell is often found anew."""
        found, upright, low = [], [], []
        fresh = fresh_points(seen)
        for track in tracks:
            x, y = float(track.x[0]), float(track.x[1])
            z = echoes(fresh, x, y)
            mean_m = float(z.mean()) if len(z) else 0.0
            if len(z) >= UPRIGHT_POINTS and mean_m >= UPRIGHT_M and track.posture[0] >= STANDING_P:
                upright.append(_Height(now_ns, x, y, mean_m, track.id))
            elif len(z) >= DOWN_POINTS and mean_m <= DOWN_M:
                low.append((track, mean_m))
        walks_on = {h.track for h in upright}
        self._echoes = [h for h in _recent(self._echoes, now_ns) if h.track not in walks_on]
        for track, mean_m in low:
            x, y = float(track.x[0]), float(track.x[1])
            if _stood(self._echoes, x, y, mean_m + DROP_M):
                found.append(Descent("radar", x, y, track.room, now_ns - round(FRESH_S * 1e9)))
        self._sights = _recent(self._sights, now_ns)
        for track in tracks:
            x, y = float(track.x[0]), float(track.x[1])
            if self._lies(seen.sights, x, y):
                found.append(Descent("camera", x, y, track.room, now_ns))
        tall, broad = seen.sights[:, _HEIGHT], seen.sights[:, _ASPECT]
        stands = seen.sights[(tall >= STANDS_M) & (broad <= STANDS_ASPECT)]
        feet = stands[:, [_FOOT, _FOOT + 1, _HEIGHT]].astype(float).tolist()
        self._echoes += upright
        self._sights += [_Height(now_ns, x, y, tall_m) for x, y, tall_m in feet]
        return found

    def _lies(self, sights: Array, x: float, y: float) -> bool:
        near = np.hypot(sights[:, _LIES] - x, sights[:, _LIES + 1] - y) < LIES_WITHIN_M
        near &= sights[:, _AGE] < SIGHT_S
        low = (sights[:, _HEIGHT] <= LIES_M) & (sights[:, _ASPECT] >= LIES_ASPECT)
        return bool((near & low).any()) and _stood(self._sights, x, y, STANDS_M)


def fresh_points(seen: Observation) -> Array:
    """(N, 7): the radar points of a moment."""
    points: Array = seen.radar[seen.radar[:, RADAR_COLUMNS.index("age")] < FRESH_S]
    return points


def echoes(points: Array, x: float, y: float) -> Array:
    """Heights of the radar points (N, 7) around a place, m."""
    heights: Array = points[np.hypot(points[:, 1] - x, points[:, 2] - y) < AROUND_M, 3]
    return heights


def _stood(heights: list[_Height], x: float, y: float, least_m: float) -> bool:
    return any(h.mean_m >= least_m and np.hypot(h.x - x, h.y - y) < AROUND_M for h in heights)


def _recent(heights: list[_Height], now_ns: int) -> list[_Height]:
    return [h for h in heights if now_ns - h.stamp_ns <= BEFORE_S * 1e9]
