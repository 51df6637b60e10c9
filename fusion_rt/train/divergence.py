"""Whether a training has left for good: a loss may be finite and yet be lost."""

from __future__ import annotations

import math
import statistics
from collections import deque

RECENT = 25  # updates that are looked at
TIMES = 100.0  # so much more than the lowest loss (and 1) is no bad batch any more


class Divergence:
    """Watches the updates of one training, by the mean loss of all that train together."""

    def __init__(self) -> None:
        self._lowest = math.inf
        self._losses: deque[float] = deque(maxlen=RECENT)
        self._refused = 0  # updates in a row without a finite gradient

    def push(self, loss: float, norm: float) -> None:
        """What an update had: its loss before it, finite, and the norm of its gradients."""
        self._lowest = min(self._lowest, loss)
        self._losses.append(loss)
        self._refused = 0 if math.isfinite(norm) else self._refused + 1

    @property
    def limit(self) -> float:
        """The loss from which the weights are not worth keeping."""
        return TIMES * (1.0 + max(self._lowest, 0.0))

    @property
    def sound(self) -> bool:
        """Whether the weights may be saved, as far as the last loss tells."""
        return not self._losses or self._losses[-1] <= self.limit

    @property
    def reason(self) -> str:
        """Why to stop; "" while there is none."""
        if self._refused >= RECENT:
            return f"{RECENT} updates in a row had no finite gradient"
        # Of a half, so that single bad batches do not end a night's work.
        if len(self._losses) > RECENT // 2 and (usual := statistics.median(self._losses)) > self.limit:
            return f"the loss rose from {self._lowest:.4g} to {usual:.4g}"
        return ""
