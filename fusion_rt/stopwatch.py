"""Who spent the milliseconds: laps between the stages of one packet's way."""

from __future__ import annotations

from collections.abc import Callable


class Stopwatch:
    """Laps on a clock that the caller owns; without a clock it measures nothing and costs nothing."""

    def __init__(self, clock: Callable[[], int] | None) -> None:
        self._clock = clock
        self._began = self._last = 0
        self._stages: dict[str, float] = {}

    def start(self) -> None:
        """Begin anew."""
        if self._clock is not None:
            self._began = self._last = self._clock()
            self._stages = {}

    def lap(self, stage: str) -> None:
        """The time since the last lap belongs to `stage`; a stage may come more than once."""
        if self._clock is not None:
            now = self._clock()
            self._stages[stage] = self._stages.get(stage, 0.0) + (now - self._last) / 1e6
            self._last = now

    def take_ms(self) -> dict[str, float]:
        """Stage -> milliseconds since `start` or the last time they were taken, in order."""
        taken, self._stages = self._stages, {}
        return {stage: round(ms, 3) for stage, ms in taken.items()}

    @property
    def elapsed_s(self) -> float | None:
        """Since `start`; None without a clock."""
        return None if self._clock is None else (self._last - self._began) / 1e9
