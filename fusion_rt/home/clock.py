"""Time, as the packets tell it."""

from __future__ import annotations

CONFIRMED = 3  # packets that agree on another time, before it is believed


class PacketClock:
    """now_ns is the newest stamp that was believed; None before the first.

    A stamp far ahead (a sensor with a wrong clock) or far behind (a recording that begins again) is refused
    until three packets in a row, of two sensors or more, agree: then the world went on, or began again.
    """

    def __init__(self, *, future_s: float, behind_s: float = 60.0) -> None:
        self.now_ns: int | None = None
        self._future_ns, self._behind_ns = round(future_s * 1e9), round(behind_s * 1e9)
        self._claims: list[tuple[str, int]] = []

    def judge(self, sensor_id: str, stamp_ns: int) -> str:
        """ "ok"; "future" or "past": refused; "jumped", "restarted": believed, time is another now."""
        if self.now_ns is None or self._fits(stamp_ns):
            self._claims.clear()
            self.now_ns = stamp_ns if self.now_ns is None else max(self.now_ns, stamp_ns)
            return "ok"
        ahead = stamp_ns > self.now_ns
        self._claims = [c for c in self._claims if abs(c[1] - stamp_ns) <= self._future_ns]
        self._claims.append((sensor_id, stamp_ns))
        if len(self._claims) < CONFIRMED or len({sensor for sensor, _ in self._claims}) < 2:
            del self._claims[:-CONFIRMED]
            return "future" if ahead else "past"
        self._claims.clear()
        self.now_ns = stamp_ns
        return "jumped" if ahead else "restarted"

    def advance(self, stamp_ns: int) -> None:
        """The time of somebody who is trusted: the node's own clock."""
        if self.now_ns is None or stamp_ns > self.now_ns:
            self.now_ns = stamp_ns

    def _fits(self, stamp_ns: int) -> bool:
        assert self.now_ns is not None
        return self.now_ns - self._behind_ns <= stamp_ns <= self.now_ns + self._future_ns
