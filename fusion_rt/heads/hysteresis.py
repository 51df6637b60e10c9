"""A decision that does not flap: it changes only where the probability is clear."""

from __future__ import annotations


class Hysteresis:
    """on: becomes true at this probability and above; off: becomes false at this and below."""

    def __init__(self, on: float, off: float) -> None:
        if not 0 <= off <= on <= 1:
            raise ValueError(f"off {off:g} and on {on:g}: expected 0 <= off <= on <= 1")
        self.on, self.off = on, off
        self.state: bool | None = None

    def step(self, p: float) -> bool:
        """p 0..1. The first call decides by the middle of both thresholds."""
        if self.state is None:
            self.state = p > (self.on + self.off) / 2
        elif p >= self.on:
            self.state = True
        elif p <= self.off:
            self.state = False
        return self.state
