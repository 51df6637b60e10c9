"""Whether a sensor's stamps make sense: one wild stamp is refused, a clock that really jumped is followed."""

from __future__ import annotations

_AGREE = 5  # samples in a row that make a new time believable


class Chronology:
    """The stamps of one sensor.

    min_step_ns  closer stamps are not believed: they would fill every buffer
    max_step_ns  a longer step is a gap, or a wild stamp
    """

    def __init__(self, *, min_step_ns: int, max_step_ns: int) -> None:
        self._min, self._max = min_step_ns, max_step_ns
        self._newest: int | None = None
        self._other: tuple[int, int] | None = None  # newest refused stamp, how many of them follow each other

    def judge(self, stamp_ns: int, *, vouched: bool = False) -> str:
        """What to do with a packet of this stamp.

        "" to use it; "jump" to use it after forgetting all before; else "duplicate", "too_fast",
        "out_of_order" or "future", and it must not be used. vouched: another clock tells the same time, so a
        long step is a gap."""
        if self._newest is None:
            self._newest = stamp_ns
            return ""
        step = stamp_ns - self._newest
        if self._min <= step and (vouched or step <= self._max):
            self._newest, self._other = stamp_ns, None
            return ""
        if 0 <= step < self._min:
            return "too_fast" if step else "duplicate"
        in_a_row = 1
        if self._other is not None and self._min <= stamp_ns - self._other[0] <= self._max:
            in_a_row = self._other[1] + 1
        self._other = (stamp_ns, in_a_row)
        if in_a_row < _AGREE:
            return "future" if step > 0 else "out_of_order"
        self._newest, self._other = stamp_ns, None
        return "jump"
