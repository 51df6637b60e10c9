"""Where a sound begins and ends: it is louder than what was there before.

The background is the level that a fifth of the last ten seconds stays below; a sound stands out of it."""

from __future__ import annotations

from collections import deque
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fusion_rt.sound.framing import FRAME, RATE_HZ

FRAME_S = FRAME / RATE_HZ
BACKGROUND_S, SHARE = 10.0, 0.2
BEGIN_DB, END_DB = 8.0, 4.0  # above the background
PAUSE_S = 1.0  # a sound that is away for longer has ended: between two bursts of an alarm lies less
LONGEST_S = 5.0
FLOOR_DB = -75.0  # below full scale: the noise of a microphone is no background to stand out of
_SOONEST_S = 0.5  # of listening, before anything can stand out
_REFRESH = 10  # frames


class Segments:
    """active     whether a sound is under way
    length_s   since its onset"""

    def __init__(self) -> None:
        self._levels: deque[float] = deque(maxlen=round(BACKGROUND_S / FRAME_S))
        self._background = FLOOR_DB
        self._count = 0
        self.active = False
        self.length_s = self._quiet_s = 0.0

    def push(self, pcm: NDArray[np.int16]) -> Literal["", "begin", "end"]:
        """The next frame of 20 ms."""
        level = 10 * np.log10(np.square(pcm.astype(np.float64) / 32768).mean() + 1e-12)
        level = max(float(level), FLOOR_DB)
        self._count += 1
        if self._count % _REFRESH == 1 and self._levels:
            self._background = float(np.quantile(self._levels, SHARE))
        self._levels.append(level)
        above_db = level - self._background
        if not self.active:
            if above_db < BEGIN_DB or self._count * FRAME_S < _SOONEST_S:
                return ""
            self.active, self.length_s, self._quiet_s = True, FRAME_S, 0.0
            return "begin"
        self.length_s += FRAME_S
        self._quiet_s = 0.0 if above_db >= END_DB else self._quiet_s + FRAME_S
        if self._quiet_s >= PAUSE_S or self.length_s >= LONGEST_S:
            self.active = False
            return "end"
        return ""
