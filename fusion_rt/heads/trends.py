"""What a household reading says by its course: how it differs from its own past.

Levels differ from home to home, from day to day and from sensor to sensor; changes do not. So a reading is
described by its distance from its own running averages and from its running minimum, all of which look into
the past only. Every function works on arrays of readings of any shape at once: a live room is one of them, a
batch of training one of thousands, and both run the same lines.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Seconds after which a running average has forgotten 63 % of what was before.
AVERAGES_S = (120.0, 480.0, 1800.0, 7200.0)
RATES_S = (60.0, 300.0, 1200.0)
# A running minimum rises that slowly (1/e a day), so that a sensor that drifts does not stay above it for
# ever.
MINIMUM_S = 86400.0
CONTINUOUS = (
    *("level", "from_2min", "from_8min", "from_30min", "from_2h"),
    *("above_minimum", "below_maximum", "settled"),
)
SWITCHED = ("now", "rate_1min", "rate_5min", "rate_20min", "since")
# How soon a past is long enough to compare with: a sensor that was just switched on differs from nothing yet.
SETTLED_S = 3600.0


class Kind(Struct, frozen=True):
    """How readings of one kind are described. scale: a telling change, in the reading's unit; level: whether
    the level itself says something; floor: what it falls to in an empty home, known before the sensor has
    seen it: darkness, the air outside; logarithmic: steps count by their ratio; switched: the reading is 0 or
    1."""

    scale: float
    level: bool = False
    centre: float = 0.0
    floor: float | None = None
    logarithmic: bool = False
    switched: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        return SWITCHED if self.switched else CONTINUOUS


KINDS = {
    "motion": Kind(1.0, switched=True),
    "illuminance": Kind(1.0, level=True, centre=4.0, floor=0.0, logarithmic=True),
    "co2": Kind(30.0, floor=420.0),
    "temperature": Kind(0.3),
    "humidity": Kind(0.5),
    "humidity_ratio": Kind(1e-4),
    "sound_level": Kind(6.0),
}


class Trend:
    """The course of readings of one kind, each with its own past. shape: of the array of readings."""

    def __init__(self, kind: Kind, shape: tuple[int, ...]) -> None:
        self.kind = kind
        self.known = np.zeros(shape, bool)
        n = len(RATES_S) if kind.switched else len(AVERAGES_S)
        self.averages = np.zeros((*shape, n))
        self.low, self.high, self.since_s = np.zeros(shape), np.zeros(shape), np.full(shape, 1e6)
        self.elapsed_s = np.zeros(shape)  # since the last reading
        self.past_s = np.zeros(shape)  # since the first

    def grow(self) -> None:
        """One reading more in the last axis, without a past."""
        fresh = Trend(self.kind, (*self.known.shape[:-1], 1))
        for name in ("known", "low", "high", "since_s", "elapsed_s", "past_s"):
            setattr(self, name, np.concatenate([getattr(self, name), getattr(fresh, name)], -1))
        self.averages = np.concatenate([self.averages, fresh.averages], -2)

    def step(self, value: Any, dt_s: Any) -> Array:
        """value (...) in the unit of the kind, NaN where there is none; dt_s (...) seconds since the step
        before. Returns (..., F) float32: `kind.features`, about -3..3, zeros where there is no reading."""
        x = np.asarray(value, float)
        present = np.isfinite(x)
        x = np.where(present, x, 0.0)
        self.elapsed_s = self.elapsed_s + dt_s
        dt = self.elapsed_s
        self.past_s = np.where(self.known, self.past_s + dt_s, 0.0)
        features = self._switched(x, present, dt) if self.kind.switched else self._course(x, present, dt)
        self.elapsed_s = np.where(present, 0.0, self.elapsed_s)
        return np.where(present[..., None], np.clip(features, -6, 6), 0.0).astype(np.float32)

    def _course(self, x: Any, present: Any, dt: Any) -> Any:
        kind = self.kind
        x = np.log1p(np.maximum(x, 0)) if kind.logarithmic else x
        first = present & ~self.known
        self.low[first] = x[first] if kind.floor is None else np.minimum(x[first], kind.floor)
        self.high[first] = x[first]
        self.averages[first] = x[first][..., None]
        self.known |= present
        keep = np.exp(-dt[..., None] / np.array(AVERAGES_S))
        self.averages[:] = np.where(
            present[..., None], keep * self.averages + (1 - keep) * x[..., None], self.averages
        )
        drift = 1 - np.exp(-dt / MINIMUM_S)
        low, high = (past + drift * (self.averages[..., -1] - past) for past in (self.low, self.high))
        self.low[:] = np.where(present, np.minimum(low, x), self.low)
        self.high[:] = np.where(present, np.maximum(high, x), self.high)
        level = (x - kind.centre) / kind.scale if kind.level else np.zeros_like(x)
        changes = (x[..., None] - self.averages) / kind.scale
        # Square roots: a change of three scales is not three times as telling.
        ends = np.sqrt(np.maximum(np.stack([x - self.low, self.high - x], -1), 0) / kind.scale)
        settled = 1 - np.exp(-self.past_s / SETTLED_S)
        changes = np.sign(changes) * np.sqrt(np.abs(changes))
        return np.concatenate([level[..., None], changes, ends, settled[..., None]], -1)

    def _switched(self, x: Any, present: Any, dt: Any) -> Any:
        on = (x > 0.5) & present
        keep = np.exp(-dt[..., None] / np.array(RATES_S))
        fresh = keep * self.averages + (1 - keep) * on[..., None]
        self.averages[:] = np.where(present[..., None], fresh, self.averages)
        self.since_s[:] = np.where(on, 0.0, self.since_s + np.where(present, dt, 0.0))
        self.known |= present
        since = np.exp(-self.since_s / 600.0)
        return np.concatenate([on[..., None], np.sqrt(self.averages), since[..., None]], -1)
