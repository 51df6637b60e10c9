"""People over time: constant velocity, gates by Mahalanobis distance, birth and death by probability.

x = (x, y, vx, vy) in the home frame; the formulas are the textbook Kalman filter (Bar-Shalom, Li,
Kirubarajan 2001, ch. 5) with white-noise acceleration."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.tracking.assignment import assign

Array64 = NDArray[np.float64]

ACCEL = 1.2  # m/s^2, what people do
GATE = 11.8  # chi-square of two numbers, 99.7 %
BIRTH_P = 0.3  # of a detection that begins a track
CONFIRM_P, DROP_P = 0.5, 0.1
# The network's p remembers: existence follows it, and does not add up what is not independent.
SEEN_TAU_S, MISSED_TAU_S = 0.5, 1.0
UNSEEN_TAU_S = 120.0  # existence fades where nobody looks
SLOWS_TAU_S = 0.7  # who is not seen is not believed to walk on
POSTURE_TAU_S = 0.4
MAX_TRACKS = 32


class Found(Struct, frozen=True):
    """A person in the network's answer: p; x, y, m; sigma, m; m/s; posture (3) and fall probabilities."""

    p: float
    x: float
    y: float
    sigma: float
    vx: float
    vy: float
    posture: tuple[float, float, float]
    fall: float


class Track(Struct):
    """x (4), P (4, 4): state and covariance; existence: probability; born_ns, seen_ns: since when, and when
    somebody saw it last; posture (3): probabilities, smoothed; room: where it is; confirmed: it was told"""

    id: int
    x: Array64
    P: Array64
    existence: float
    born_ns: int
    seen_ns: int
    posture: Array64
    fall: float
    room: str = ""
    confirmed: bool = False


class People:
    """Pure: equal answers give equal tracks.

    looked: whether a sensor that works looks at a point; room_of: the room of a point."""

    def __init__(
        self, looked: Callable[[float, float], bool], room_of: Callable[[float, float], str]
    ) -> None:
        self._looked, self._room_of = looked, room_of
        self.tracks: list[Track] = []
        self.left: list[str] = []  # rooms that a track left at the latest tick
        self._next_id = 1

    def forget(self) -> None:
        self.tracks, self.left = [], []

    def update(self, found: Sequence[Found], stamp_ns: int, dt_s: float) -> list[Track]:
        """Move all tracks on, take the answer in; the confirmed ones, in order of their ids."""
        for track in self.tracks:
            predict(track, dt_s, coasting=stamp_ns - track.seen_ns > 0.5e9)
        pairs = assign(self._costs(found))
        for i, track in enumerate(self.tracks):
            if i in pairs:
                self._see(track, found[pairs[i]], stamp_ns, dt_s)
            else:
                self._miss(track, dt_s)
        taken = set(pairs.values())
        for j, person in enumerate(found):
            if j not in taken and person.p >= BIRTH_P and len(self.tracks) < MAX_TRACKS:
                self._begin(person, stamp_ns)
        self._merge()
        self.tracks = [t for t in self.tracks if t.existence >= DROP_P]
        self._rooms()
        return [t for t in self.tracks if t.confirmed]

    def _costs(self, found: Sequence[Found]) -> dict[int, dict[int, float]]:
        costs: dict[int, dict[int, float]] = {}
        for i, track in enumerate(self.tracks):
            # Of two by two numbers, written out: numpy's calls would take longer than their arithmetic.
            x, y, _, _ = track.x.tolist()
            (a, b), (_, c) = track.P[:2, :2].tolist()
            for j, person in enumerate(found):
                dx, dy, r = person.x - x, person.y - y, person.sigma**2
                det = (a + r) * (c + r) - b * b
                gap = ((c + r) * dx * dx - 2 * b * dx * dy + (a + r) * dy * dy) / det
                if gap <= GATE:
                    costs.setdefault(i, {})[j] = gap + math.log(det + 1e-9) - 2 * math.log(person.p)
        low = min((c for row in costs.values() for c in row.values()), default=0.0)
        return {i: {j: c - low for j, c in row.items()} for i, row in costs.items()}

    def _see(self, track: Track, person: Found, stamp_ns: int, dt_s: float) -> None:
        z = np.array([person.x, person.y, person.vx, person.vy])
        R = np.diag([person.sigma**2] * 2 + [0.4**2] * 2)
        correct(track, z, R)
        track.existence += -math.expm1(-dt_s / SEEN_TAU_S) * (person.p - track.existence)
        track.seen_ns = stamp_ns
        track.posture += -math.expm1(-dt_s / POSTURE_TAU_S) * (np.array(person.posture) - track.posture)
        track.fall = person.fall
        track.confirmed |= track.existence >= CONFIRM_P

    def _miss(self, track: Track, dt_s: float) -> None:
        track.fall = 0.0
        looked = self._looked(float(track.x[0]), float(track.x[1]))
        track.existence *= math.exp(-dt_s / (MISSED_TAU_S if looked else UNSEEN_TAU_S))

    def _begin(self, person: Found, stamp_ns: int) -> None:
        x = np.array([person.x, person.y, person.vx, person.vy])
        P = np.diag([person.sigma**2] * 2 + [0.5**2] * 2)
        self.tracks.append(
            Track(
                *(self._next_id, x, P, 0.5 * person.p, stamp_ns, stamp_ns, np.array(person.posture)),
                person.fall,
            )
        )
        self._next_id += 1

    def _merge(self) -> None:
        """Two tracks of one person: the surer one stays."""
        order = sorted(self.tracks, key=lambda t: (-t.confirmed, -t.existence, t.id))
        kept: list[Track] = []
        for track in order:
            if all(np.hypot(*(track.x[:2] - k.x[:2])) > 0.35 for k in kept):
                kept.append(track)
        self.tracks = sorted(kept, key=lambda t: t.id)

    def _rooms(self) -> None:
        self.left = []
        for track in self.tracks:
            room = self._room_of(float(track.x[0]), float(track.x[1]))
            if track.room and room != track.room and track.confirmed:
                self.left.append(track.room)
            track.room = room


def predict(track: Track, dt_s: float, *, coasting: bool) -> None:
    if dt_s <= 0:
        return
    slows = math.exp(-dt_s / SLOWS_TAU_S) if coasting else 1.0
    moved = SLOWS_TAU_S * (1 - slows) if coasting else dt_s
    F = np.eye(4)
    F[0, 2] = F[1, 3] = moved
    F[2, 2] = F[3, 3] = slows
    q = ACCEL**2 * dt_s  # of a second; white-noise acceleration
    dt = min(dt_s, 5.0)
    Q = q * np.kron(np.array([[dt * dt / 3, dt / 2], [dt / 2, 1.0]]), np.eye(2))
    track.x = F @ track.x
    track.P = F @ track.P @ F.T + Q
    spread = min(1.0, 3.0 / math.sqrt(max(track.P[0, 0], track.P[1, 1])))
    track.P *= spread * spread  # nobody is lost farther than a room


def correct(track: Track, z: Array64, R: Array64) -> None:
    """All of the state is measured: H is the identity."""
    S = track.P + R
    K = np.linalg.solve(S, track.P).T
    track.x = track.x + K @ (z - track.x)
    left = np.eye(4) - K
    track.P = left @ track.P @ left.T + K @ R @ K.T
