"""Worn accelerometers and gyroscopes in, falls out: the head `fall`.

falls = FallHead({"phone": "rightpocket", "watch": "wrist"})
for sample in samples:
    answer = falls.push(sample)
    if answer is not None and answer.alarm:
        ...
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.errors import ConfigError
from fusion_rt.heads import worn
from fusion_rt.messages import ImuSample
from fusion_rt.models.head import Head

BIN_NS = round(worn.BIN_S * 1e9)
POSITIONS = ("rightpocket", "waist", "wrist")
THRESHOLDS = ("fall, one place", "fall, two places", "fall, three places")
# A place that was silent so long is missing; a silence of all of them longer than the window starts anew.
HELD_BINS = 10
# One fall is one alarm.
QUIET_S = 10.0
# The probability must stay above the threshold for so many bins.
SURE_BINS = 2


class FallAnswer(Struct, frozen=True, kw_only=True):
    """stamp_ns  end of the 50 ms that it stands for
    p_fall   that the wearer fell within the last seconds
    alarm    true once a fall
    missing  modalities that nobody told, as "waist/rate"
    """

    stamp_ns: int
    p_fall: float
    alarm: bool
    missing: tuple[str, ...]


class _Place:
    """The last three seconds of one place of the body."""

    def __init__(self) -> None:
        self.window = np.zeros((worn.BINS, worn.CHANNELS))
        self.known = False
        self.clear()
        self.force_age = self.rate_age = HELD_BINS + 1

    def clear(self) -> None:
        self.count, self.sums = 0, [0.0, 0.0, 0.0]
        self.largest, self.smallest, self.rate = 0.0, math.inf, math.nan

    def add(self, sample: ImuSample) -> None:
        force = sample.specific_force
        norm = math.sqrt(force[0] * force[0] + force[1] * force[1] + force[2] * force[2])
        if math.isfinite(norm):
            self.count += 1
            for i in range(3):
                self.sums[i] += force[i]
            self.largest, self.smallest = max(self.largest, norm), min(self.smallest, norm)
        rate = sample.angular_rate
        speed = math.sqrt(rate[0] * rate[0] + rate[1] * rate[1] + rate[2] * rate[2])
        if math.isfinite(speed):
            self.rate = speed if math.isnan(self.rate) else max(self.rate, speed)

    def close(self) -> None:
        """The bin ends; without a reading it repeats the one before."""
        row = self.window[-1].copy()
        self.force_age, self.rate_age = self.force_age + 1, self.rate_age + 1
        if self.count:
            row[worn.FORCE] = [s / self.count for s in self.sums]
            row[worn.LARGEST], row[worn.SMALLEST], self.force_age = self.largest, self.smallest, 0
        if not math.isnan(self.rate):
            row[worn.RATE], self.rate_age = self.rate, 0
        if not self.known and (self.count or not math.isnan(self.rate)):
            self.window[:] = row  # as if it had always been so
            self.known = True
        self.window[:-1] = self.window[1:]
        self.window[-1] = row
        self.clear()


class FallHead:
    """One wearer. The same samples give the same answers."""

    def __init__(self, places: Mapping[str, str] | None = None, *, head: str | Path | Head = "fall") -> None:
        """places: sensor_id -> one of POSITIONS; None: sensors are named so. Raises ConfigError."""
        self.head = head if isinstance(head, Head) else Head.load(head)
        self.modalities = self.head.spec.features["present"]
        self.places = dict(places) if places is not None else {name: name for name in POSITIONS}
        if wrong := sorted(set(self.places.values()) - set(POSITIONS)):
            raise ConfigError(f"{', '.join(wrong)}: not a place; known are {', '.join(POSITIONS)}")
        # By how many places speak: with fewer the head is less sure of both.
        self.thresholds = [self.head.spec.thresholds[name] for name in THRESHOLDS]
        self.dropped: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forgets the past; what it dropped stays counted."""
        self.bodies = {name: _Place() for name in POSITIONS}
        self.bin: int | None = None
        self.state = np.zeros(self.head.spec.inputs["state"], np.float32)
        self.sure, self.quiet_until_ns = 0, -(1 << 63)

    def push(self, sample: ImuSample) -> FallAnswer | None:
        """The answer of the 50 ms that this sample ends, or None while they last. Where it ends several, that
        with the alarm, else the last. A sample that cannot be used is counted in `dropped`."""
        place = self.places.get(sample.header.sensor_id)
        if place is None:
            self.dropped["sensor that is not worn"] += 1
            return None
        at = sample.header.stamp_ns // BIN_NS
        if self.bin is not None and at - self.bin > worn.BINS:
            self.dropped["silence of all sensors (started anew)"] += 1
            self.reset()
        answer = None
        if self.bin is None:
            self.bin = at
        elif at < self.bin:
            self.dropped["older than what was answered"] += 1
            return None
        while self.bin < at:
            step = self._close()
            answer = step if answer is None or not answer.alarm else answer
            self.bin += 1
        self.bodies[place].add(sample)
        return answer

    def _close(self) -> FallAnswer:
        assert self.bin is not None
        for body in self.bodies.values():
            body.close()
        windows = np.stack([body.window for body in self.bodies.values()])
        forces, rates = worn.force_features(windows), worn.rate_features(windows)
        values, present, age, missing = [], [], [], []
        for modality in self.modalities:
            place, what = modality.split("/")
            body, i = self.bodies[place], POSITIONS.index(place)
            since = body.force_age if what == "force" else body.rate_age
            values.append(forces[i] if what == "force" else rates[i])
            present.append(since <= HELD_BINS)
            age.append(min(since, HELD_BINS) / 2)
            if since > HELD_BINS:
                missing.append(modality)
        inputs = self.head.inputs
        inputs["values"][0], inputs["present"][0] = np.concatenate(values), present
        inputs["age"][0], inputs["state"][...] = age, self.state
        outputs = self.head.run()
        self.state[...] = outputs["next_state"]
        speaking = {m.split("/")[0] for m in self.modalities if m not in missing}
        threshold = self.thresholds[max(len(speaking), 1) - 1]
        p = float(outputs["probabilities"][0, 1])
        return self._decide((self.bin + 1) * BIN_NS, p, threshold, tuple(missing))

    def _decide(self, stamp_ns: int, p: float, threshold: float, missing: tuple[str, ...]) -> FallAnswer:
        self.sure = self.sure + 1 if p >= threshold else 0
        alarm = self.sure >= SURE_BINS and stamp_ns >= self.quiet_until_ns
        if alarm:
            self.quiet_until_ns = stamp_ns + round(QUIET_S * 1e9)
        return FallAnswer(stamp_ns=stamp_ns, p_fall=p, alarm=alarm, missing=missing)


def modalities() -> dict[str, Any]:
    """ "place/force" and "place/rate" -> their features; the pocket's phone gave no rates to learn from."""
    return {
        f"{place}/{what}": features
        for place in POSITIONS
        for what, features in (("force", worn.FORCE_FEATURES), ("rate", worn.RATE_FEATURES))
        if (place, what) != ("rightpocket", "rate")
    }
