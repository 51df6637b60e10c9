"""How much a device may be told, and when it is left alone."""

from __future__ import annotations

from collections import deque

from fusion_rt.control.rules import Limits

MINUTE_NS = 60_000_000_000


class Bucket:
    """So many a minute, and as many at once."""

    def __init__(self, per_minute: float):
        self._most, self._left, self._at_ns = max(per_minute, 1.0), max(per_minute, 1.0), 0
        self._per_ns = per_minute / MINUTE_NS

    def has_one(self, stamp_ns: int) -> bool:
        """Whether one more may pass now."""
        # A clock that was set back gives nothing, and takes nothing.
        self._left = min(self._left + max(stamp_ns - self._at_ns, 0) * self._per_ns, self._most)
        self._at_ns = stamp_ns
        return self._left >= 1.0

    def take(self) -> None:
        """It has passed."""
        self._left -= 1.0


class Guard:
    """Says why a command must not go; what goes is counted."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._all = Bucket(limits.all_per_minute)
        self._of_device: dict[str, Bucket] = {}
        self._flips: dict[str, deque[int]] = {}  # stamps of changes of mind
        self._last: dict[str, str] = {}
        self._calm_until_ns: dict[str, int] = {}

    def refuses(self, device: str, command: str, stamp_ns: int, *, by_person: bool) -> str:
        """Empty where it may go. by_person: somebody has asked for it, who may change their mind."""
        bucket = self._of_device.setdefault(device, Bucket(self._limits.device_per_minute))
        if not by_person and self._is_calm(device, command, stamp_ns):
            return f"loop: told to and fro {self._limits.flips} times in a minute; left alone for a while"
        if not bucket.has_one(stamp_ns):
            return f"rate: more than {self._limits.device_per_minute:g} a minute for this device"
        if not self._all.has_one(stamp_ns):
            return f"rate: more than {self._limits.all_per_minute:g} a minute for all devices"
        bucket.take()
        self._all.take()
        self._last[device] = command
        return ""

    def _is_calm(self, device: str, command: str, stamp_ns: int) -> bool:
        if stamp_ns < self._calm_until_ns.get(device, 0):
            return True
        flips = self._flips.setdefault(device, deque(maxlen=self._limits.flips))
        if self._last.get(device, command) != command:
            flips.append(stamp_ns)
        if len(flips) == self._limits.flips and 0 <= stamp_ns - flips[0] < MINUTE_NS:
            self._calm_until_ns[device] = stamp_ns + round(self._limits.calm_s * 1e9)
            flips.clear()
            return True
        return False
