"""Where the milliseconds went: spans between trace points, and their percentiles."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
from msgspec import Struct

from fusion_rt.messages import TracePoint

LOWEST_MS = 1e-3
RATIO = 1.01  # between buckets: a percentile is right to half a per cent
BUCKETS = math.ceil(math.log(1e8) / math.log(RATIO)) + 1  # up to 100 s


class Percentiles(Struct, frozen=True, kw_only=True):
    """Milliseconds over `count` values; None where there are none."""

    count: int
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    max: float | None = None


class Histogram:
    """Any number of durations in constant memory: buckets a per cent apart from 1 us to 100 s."""

    def __init__(self) -> None:
        self._buckets = np.zeros(BUCKETS, np.int64)
        self.count = 0
        self.max_ms = 0.0

    def add(self, ms: float) -> None:
        """One duration; what lies outside the range counts into the bucket at its end."""
        place = math.log(max(ms, LOWEST_MS) / LOWEST_MS) / math.log(RATIO)
        self._buckets[min(int(place), BUCKETS - 1)] += 1
        self.count += 1
        self.max_ms = max(self.max_ms, ms)

    def quantile(self, q: float) -> float | None:
        """The duration that a share `q` of all do not exceed (nearest rank), ms; None without any."""
        if not self.count:
            return None
        rank = max(1, math.ceil(q * self.count))
        bucket = int(np.searchsorted(np.cumsum(self._buckets), rank))
        return min(LOWEST_MS * RATIO ** (bucket + 0.5), self.max_ms)

    def percentiles(self) -> Percentiles:
        """Median, 90th and 99th percentile and maximum."""
        if not self.count:
            return Percentiles(count=0)
        return Percentiles(
            count=self.count,
            p50=self.quantile(0.5),
            p90=self.quantile(0.9),
            p99=self.quantile(0.99),
            max=self.max_ms,
        )


ToLocal = Callable[[TracePoint], int | None]


def span_ms(
    trace: Sequence[TracePoint],
    first: str = "published",
    last: str = "published",
    local_ns: ToLocal = lambda point: None,
) -> float | None:
    """From the first point named `first` to the last one named `last`, ms.

    With the defaults and a prediction's trace: from the publishing of the packet that asked for the answer to
    the publishing of the answer. Points of two hosts are compared by `local_ns`, each in one host's time;
    None where it does not know one, a point is missing, or there is only one."""
    start = next((point for point in trace if point.stage == first), None)
    end = next((point for point in reversed(trace) if point.stage == last), None)
    if start is None or end is None or start is end:
        return None
    if start.host == end.host:
        return (end.monotonic_ns - start.monotonic_ns) / 1e6
    began, ended = local_ns(start), local_ns(end)
    return None if began is None or ended is None else (ended - began) / 1e6


def stages_ms(trace: Sequence[TracePoint]) -> dict[str, float]:
    """Like {"published > received": 0.3}: ms between neighbours on one host; a pair seen twice adds up."""
    spans: dict[str, float] = {}
    for before, after in itertools.pairwise(trace):
        if before.host == after.host:
            name = f"{before.stage} > {after.stage}"
            spans[name] = spans.get(name, 0.0) + (after.monotonic_ns - before.monotonic_ns) / 1e6
    return spans
