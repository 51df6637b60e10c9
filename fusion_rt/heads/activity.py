"""Radar points in, what the person before the radar does out: the head `radar-activity`.

activities = ActivityHead()
for points in frames:
    answer = activities.push(points)
"""

from __future__ import annotations

from collections import Counter, deque
from pathlib import Path

import numpy as np
from msgspec import Struct

from fusion_rt.errors import ConfigError
from fusion_rt.heads.radar import FEATURES, window_features
from fusion_rt.home_packets import RadarPoints
from fusion_rt.models.head import Head

# A gap of so many frames' time forgets what was before.
GAP_FRAMES = 15
# A frame may come so early, in frames' time; others of a faster radar are left out.
EARLY = 0.6
LEAST_FRAMES = 15


class ActivityAnswer(Struct, frozen=True, kw_only=True):
    """probabilities  activity -> probability over the last `frames` frames; the sum is 1
    whole  whether the head's whole window was seen
    """

    stamp_ns: int
    activity: str
    probabilities: dict[str, float]
    frames: int
    whole: bool


class ActivityHead:
    """One radar. The same frames give the same answers."""

    def __init__(self, head: str | Path | Head = "radar-activity", *, every: int = 6) -> None:
        """every: frames from one answer to the next. Raises ConfigError, EngineError."""
        self.head = head if isinstance(head, Head) else Head.load(head)
        spec = self.head.spec
        if spec.features["frames"] != FEATURES or spec.rate_hz is None:
            raise ConfigError("the head was trained with other features than this version of fusion_rt makes")
        self.window = spec.inputs["frames"][1]
        self.period_ns = 1e9 / spec.rate_hz
        self.activities = spec.labels["probabilities"]
        self.every = every
        self.dropped: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forgets the past; what it dropped stays counted."""
        self.frames: deque[RadarPoints] = deque(maxlen=self.window)
        self.since = 0

    def push(self, points: RadarPoints) -> ActivityAnswer | None:
        """An answer every `every` frames, from half a second on. Frames that are late, or stamped as the one
        before, or too many for the head's rate are counted in `dropped`; one that was lost is filled with
        the last."""
        if self.frames:
            passed = (points.header.stamp_ns - self.frames[-1].header.stamp_ns) / self.period_ns
            if passed < EARLY:
                self.dropped["late, repeated or too soon after the frame before"] += 1
                return None
            if passed > GAP_FRAMES:
                self.dropped["gap (started anew)"] += 1
                self.reset()
            for _ in range(round(passed) - 1 if self.frames else 0):
                self.dropped["frames lost on the way (filled)"] += 1
                self._append(self.frames[-1])
        self._append(points)
        if self.since < self.every or len(self.frames) < LEAST_FRAMES:
            return None
        self.since = 0
        return self._answer(points.header.stamp_ns)

    def _append(self, points: RadarPoints) -> None:
        self.frames.append(points)
        self.since += 1

    def _answer(self, stamp_ns: int) -> ActivityAnswer:
        # A window that is not whole is what there is of it, again and again.
        seen = len(self.frames)
        frames = [self.frames[i % seen] for i in range(self.window)] if seen < self.window else self.frames
        counts = [len(f.xyz) for f in frames]
        self.head.inputs["frames"][0] = window_features(
            np.concatenate([f.xyz for f in frames]),
            np.concatenate([f.velocity for f in frames]),
            np.repeat(np.arange(self.window), counts),
            self.window,
        )
        probabilities = self.head.run()["probabilities"][0]
        return ActivityAnswer(
            stamp_ns=stamp_ns,
            activity=self.activities[int(probabilities.argmax())],
            probabilities={name: float(p) for name, p in zip(self.activities, probabilities)},
            frames=seen,
            whole=seen == self.window,
        )
