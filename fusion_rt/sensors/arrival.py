"""When a frame was measured, from when it arrived: the device has no clock that we could ask."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

WINDOW = 200  # frames that a line is drawn through
ENOUGH = 20
MAX_LEAD_S = 0.5  # a frame that seems so much older than its arrival: the device's count is no clock
BITS_PER_BYTE = 10  # with start and stop bit


def sent_s(bytes_: int, baud: int) -> float:
    """How long so many bytes are on their way through a serial port."""
    return bytes_ * BITS_PER_BYTE / baud


class FrameClock:
    """Smooths arrivals by the device's count of frames.

    The host delays a frame, never hastens it. So a line is laid under the points (number, arrival), the one
    that comes nearest to all of them, and a stamp is what the line says: never later than the arrival.
    Where the count goes back or jumps, or the device keeps no period, it begins anew."""

    def __init__(self) -> None:
        self._seen: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        self._told_ns = 0
        self.restarts = 0

    def stamp_ns(self, number: int | None, arrival_ns: int) -> int:
        """Of the frame with this number that came then; later than that of the frame before."""
        stamp_ns = arrival_ns if number is None else self._smoothed(number, arrival_ns)
        self._told_ns = stamp_ns = min(max(stamp_ns, self._told_ns + 1), arrival_ns)
        return stamp_ns

    def _smoothed(self, number: int, arrival_ns: int) -> int:
        # Our own clock may be set back, too.
        if self._seen and not (0 < number - self._seen[-1][0] <= WINDOW and arrival_ns >= self._seen[-1][1]):
            self._restart()
        self._seen.append((number, arrival_ns))
        if len(self._seen) < ENOUGH:
            return arrival_ns
        lead_ns = _above_the_line(self._seen)
        if lead_ns > MAX_LEAD_S * 1e9:
            self._restart()
            return arrival_ns
        return arrival_ns - lead_ns

    def _restart(self) -> None:
        self._seen.clear()
        self.restarts += 1


def _above_the_line(points: Sequence[tuple[int, int]]) -> int:
    """How far the last of the points, in order of x, lies above the line under all of them that is nearest in
    the mean: the edge of the lower convex hull over the middle of x (Andrew's monotone chain)."""
    hull: list[tuple[int, int]] = []
    for x, y in points:
        while len(hull) > 1:
            (x0, y0), (x1, y1) = hull[-2:]
            if (x1 - x0) * (y - y0) > (y1 - y0) * (x - x0):
                break
            hull.pop()
        hull.append((x, y))
    middle = sum(x for x, _ in points) / len(points)
    i = next(i for i in range(1, len(hull)) if hull[i][0] >= middle)
    (x0, y0), (x1, y1) = hull[i - 1 : i + 1]
    x, y = points[-1]
    return y - y0 - (y1 - y0) * (x - x0) // (x1 - x0)
