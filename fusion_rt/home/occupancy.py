"""From a room's probability to occupied or not, without flapping and without losing who sits still."""

from __future__ import annotations

from fusion_rt.plan import Room

ENTERS_NS = 5_000_000_000
WATCHED_NS = 20_000_000_000  # a radar or camera does not lose who sits still for longer than so


class Occupancy:
    """One room. occupied, since_ns: the answer, and since when it is that.

    On at p >= on. Off where p <= off for the room's hold_s, if there was a way out: a door moved, a track
    left or a neighbour filled since somebody was surely there. Without one, p must stay low for absent_s,
    WATCHED_NS at most where a radar or camera looks; but not after a flash of p >= on that lasted less than
    it takes to come in: nobody need have left then."""

    def __init__(self, room: Room, *, on: float, off: float, exit_s: float = 30.0) -> None:
        self.occupied, self.since_ns = False, 0
        self._on, self._off = on, off
        self._hold_ns, self._absent_ns = round(room.hold_s * 1e9), round(room.absent_s * 1e9)
        self._exit_ns = round(exit_s * 1e9)
        self._low_ns: int | None = None  # since when p is low
        self._sure_ns: int | None = None  # when p was high last
        self._sure_for_ns = 0  # how long it was high since `occupied` began
        self._before_ns: int | None = None  # the update before
        self._left_ns: int | None = None  # when somebody may have left last
        self._begun = False

    def hold(self, hold_s: float) -> None:
        """Another hold time than the room's own."""
        self._hold_ns = round(hold_s * 1e9)

    def leave(self, stamp_ns: int, *, surely: bool = False) -> None:
        """There was a way out at that time. What was a way in (a door that moves as somebody comes, a
        neighbour that fills behind) is none, unless a track is seen leaving: surely."""
        came = not self.occupied or stamp_ns - self.since_ns < ENTERS_NS
        if surely or not came:
            self._left_ns = stamp_ns

    def update(self, p: float, stamp_ns: int, *, watched: bool = False) -> bool:
        """watched: a radar or camera of the room works."""
        if not self._begun:
            self._begun, self.since_ns = True, stamp_ns
        if p >= self._on:
            self._sure_ns = stamp_ns
            self._sure_for_ns += stamp_ns - (stamp_ns if self._before_ns is None else self._before_ns)
        self._before_ns = stamp_ns
        if p > self._off:
            self._low_ns = None
        elif self._low_ns is None:
            self._low_ns = stamp_ns
        if not self.occupied and p >= self._on:
            self.occupied, self.since_ns, self._sure_for_ns = True, stamp_ns, 0
        elif self.occupied and self._low_ns is not None:
            flash = self._sure_for_ns < ENTERS_NS
            absent_ns = min(self._absent_ns, WATCHED_NS) if watched else self._absent_ns
            wait = self._hold_ns if flash or self._way_out() else max(self._hold_ns, absent_ns)
            if stamp_ns - self._low_ns >= wait:
                self.occupied, self.since_ns = False, stamp_ns
        return self.occupied

    def _way_out(self) -> bool:
        """A little before somebody was surely there counts too: motion sensors hold for a while."""
        return (
            self._left_ns is not None
            and self._sure_ns is not None
            and self._left_ns >= self._sure_ns - self._exit_ns
        )
