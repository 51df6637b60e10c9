"""From when to when a sweep's points were measured."""

from __future__ import annotations

import math

import numpy as np

from fusion_rt.kernels.native import Array, Kernel, address, check


class Span(Kernel):
    """messages.sweep_span_s by all workers at once, in one pass: the times come from another process, and who
    reads them first waits for the memory."""

    def __init__(self, threads: int, instruction_set: str = "") -> None:
        super().__init__(threads, instruction_set)
        self._found = np.empty((threads, 2), np.float32)
        self._found_at = address(self._found)

    def __call__(self, t: Array, limit_s: float) -> tuple[float, float]:
        """The smallest and the largest of t (N,), s, without those that are not finite or farther from 0 than
        the limit; zeros where none is left."""
        check("t", t, np.float32, (None,))
        self.library.frt_span(self.threads, address(t), len(t), limit_s, self._found_at)
        lows, highs = zip(*self._found.tolist())
        low, high = min(lows), max(highs)
        return (low, high) if math.isfinite(low) else (0.0, 0.0)
