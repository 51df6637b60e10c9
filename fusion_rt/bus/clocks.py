"""How another host's clock stands against ours, and how sure that is.

Four stamps an exchange, as in NTP (RFC 5905, section 8): asked, they received, they answered, answered. The
offset is ((t2 - t1) + (t3 - t4)) / 2, and is wrong by half the round trip at most, if all of it was one way.
What makes a round trip long is queues, so the fastest ones are believed: of each few seconds the fastest is
kept, and a line through those, each weighted by how much slower than the fastest of all it was, gives offset
and drift. CLOCK_MONOTONIC is compared, which nobody sets; UNIX time is told beside it.

Stamps of messages are never rewritten with it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from msgspec import Struct

BUCKET_S = 4.0  # of which the fastest exchange is kept
BUCKETS = 32
FIT_BUCKETS = 4  # before that many, no drift is told
FLOOR_S = 5e-6  # no single offset is better than what a process needs to read a clock
MAX_DRIFT = 200e-6  # between two quartzes, each within 100 ppm


class Clock(Struct, frozen=True, kw_only=True):
    """Another host's CLOCK_MONOTONIC against ours.

    at_ns          when this was found, our CLOCK_MONOTONIC
    offset_ns      theirs minus ours, then
    drift_ppm      how much faster theirs goes; 0 where that cannot be told
    uncertainty_s  the offset's greatest error: half the fastest round trip, and what the line leaves open
    round_trip_s   the fastest
    wall_s         their UNIX time minus ours
    exchanges      that were made
    """

    at_ns: int
    offset_ns: int
    drift_ppm: float = 0.0
    uncertainty_s: float = 0.0
    round_trip_s: float = 0.0
    wall_s: float = 0.0
    exchanges: int = 0

    def local_ns(self, their_ns: int) -> int:
        """Their time as ours, CLOCK_MONOTONIC ns."""
        ours = their_ns - self.offset_ns
        return ours - round((ours - self.at_ns) * self.drift_ppm * 1e-6)


SAME = Clock(at_ns=0, offset_ns=0)
"""Our own clock."""


def local_ns(clocks: Mapping[str, Clock], host: str, monotonic_ns: int) -> int | None:
    """A host's CLOCK_MONOTONIC as ours; None where its clock is not known."""
    clock = clocks.get(host)
    return None if clock is None else clock.local_ns(monotonic_ns)


def wall_minus_monotonic_ns() -> int:
    """UNIX time minus CLOCK_MONOTONIC, now."""
    before = time.monotonic_ns()
    wall = time.time_ns()
    return wall - (before + time.monotonic_ns()) // 2


def boot_id() -> str:
    """Names this life of the kernel, whose CLOCK_MONOTONIC all its processes share."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class _Exchange(Struct, frozen=True):
    at_ns: int
    offset_ns: int
    round_trip_ns: int


class ClockEstimator:
    """Takes exchanges with one host, gives its `Clock`."""

    def __init__(self) -> None:
        self._fastest: deque[_Exchange] = deque(maxlen=BUCKETS)  # one a bucket
        self._wall_ns = 0
        self._count = 0

    def add(self, asked_ns: int, received_ns: int, answered_ns: int, back_ns: int, wall_ns: int) -> None:
        """One exchange: ours, theirs, theirs, ours (CLOCK_MONOTONIC); `wall_ns` their UNIX time minus their
        CLOCK_MONOTONIC, less the same of ours. One that cannot be (an answer before its question) is left
        out."""
        round_trip = (back_ns - asked_ns) - (answered_ns - received_ns)
        if back_ns < asked_ns or answered_ns < received_ns or round_trip < 0:
            return
        offset = ((received_ns - asked_ns) + (answered_ns - back_ns)) // 2
        new = _Exchange((asked_ns + back_ns) // 2, offset, round_trip)
        self._count += 1
        self._wall_ns = wall_ns
        last = self._fastest[-1] if self._fastest else None
        if last is None or _bucket(new) != _bucket(last):
            self._fastest.append(new)
        elif round_trip < last.round_trip_ns:
            self._fastest[-1] = new

    def clock(self, now_ns: int) -> Clock | None:
        """As known now (our CLOCK_MONOTONIC); None before the first exchange."""
        if not self._fastest:
            return None
        best = min(self._fastest, key=lambda exchange: exchange.round_trip_ns)
        # The fastest exchange alone, its offset kept; or the line, where that is more certain.
        offset, drift, open_s = best.offset_ns, 0.0, abs(now_ns - best.at_ns) * 1e-9 * MAX_DRIFT
        if len(self._fastest) >= FIT_BUCKETS:
            fitted = self._fit(best, now_ns)
            if fitted[2] < open_s:
                offset, drift, open_s = fitted
        return Clock(
            at_ns=now_ns,
            offset_ns=offset,
            drift_ppm=drift * 1e6,
            uncertainty_s=best.round_trip_ns / 2e9 + open_s,
            round_trip_s=best.round_trip_ns / 1e9,
            wall_s=(offset + self._wall_ns) / 1e9,
            exchanges=self._count,
        )

    def _fit(self, best: _Exchange, now_ns: int) -> tuple[int, float, float]:
        """Offset now (ns), drift, and two standard errors of that offset (s): a weighted line, its error
        from the larger of what the weights and what the scatter about it say."""
        t = np.array([e.at_ns - now_ns for e in self._fastest]) * 1e-9
        y = np.array([e.offset_ns - best.offset_ns for e in self._fastest]) * 1e-9
        slower = np.array([e.round_trip_ns - best.round_trip_ns for e in self._fastest]) * 1e-9
        weight = 1.0 / (slower / 2 + FLOOR_S) ** 2
        mean_t = float(np.average(t, weights=weight))
        spread = float(np.sum(weight * (t - mean_t) ** 2))
        mean_y = float(np.average(y, weights=weight))
        drift = float(np.sum(weight * (t - mean_t) * y)) / spread
        drift = min(max(drift, -MAX_DRIFT), MAX_DRIFT)
        residual = y - mean_y - drift * (t - mean_t)
        scatter = float(np.sum(weight * residual**2)) / (len(t) - 2)
        error = np.sqrt(max(scatter, 1.0) * (1 / float(np.sum(weight)) + mean_t**2 / spread))
        return best.offset_ns + round((mean_y - drift * mean_t) * 1e9), drift, 2 * float(error)


def _bucket(exchange: _Exchange) -> int:
    return int(exchange.at_ns / 1e9 / BUCKET_S)
