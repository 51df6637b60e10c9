"""Household readings of one room in, people in the room out: the heads `office-occupancy` and `room-count`.

room = RoomHead("office-occupancy")
for packet in packets:
    room.push(packet)
    answer = room.tick(packet.header.stamp_ns)
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import Struct

from fusion_rt.errors import ConfigError
from fusion_rt.heads.hysteresis import Hysteresis
from fusion_rt.heads.trends import KINDS, Array, Trend
from fusion_rt.home_packets import READINGS, HomeReading
from fusion_rt.models.head import Head

# A measured value counts for that many steps of the head, a switch that tells its changes only for an hour;
# later it is missing.
HELD_STEPS, SWITCH_HELD_S = 5.0, 3600.0
POOLS = ("mean", "max")  # over the room's sensors of one kind
# A step may come that much earlier than the head's rate says: rows a minute apart are not quite so.
EARLY = 0.75


class RoomAnswer(Struct, frozen=True, kw_only=True):
    """What is known at `stamp_ns`.

    probabilities  of 0, 1, ... people; the last: that many or more
    occupied       with hysteresis
    people         the most probable number that agrees with `occupied`
    age_s          kind -> age of its newest reading that was used
    missing        kinds that the head knows and nobody told
    """

    stamp_ns: int
    probabilities: tuple[float, ...]
    occupied: bool
    people: int
    age_s: dict[str, float]
    missing: tuple[str, ...]

    @property
    def p_occupied(self) -> float:
        return 1.0 - self.probabilities[0]


def feature_names(kinds: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
    """kind -> its pools, as "kind/pool/feature" in the order of the head's input."""
    return tuple(
        f"{kind}/{pool}/{name}" for kind in kinds for pool in kinds[kind] for name in KINDS[kind].features
    )


def pool(features: Array, present: Any, pools: tuple[str, ...]) -> Array:
    """features (..., S, F) of a kind's sensors, present (..., S) bool. Returns (..., P * F), zeros where no
    sensor is present."""
    mask = present[..., None]
    some = mask.any(-2)
    count = np.maximum(mask.sum(-2), 1)
    pooled = {
        "mean": np.where(mask, features, 0.0).sum(-2) / count,
        "max": np.where(some, np.where(mask, features, -np.inf).max(-2), 0.0),
    }
    return np.concatenate([pooled[name] for name in pools], -1).astype(np.float32)


def kinds_of(features: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What `feature_names` was made of. Raises ConfigError where a head was made for other features."""
    kinds: dict[str, list[str]] = {}
    for name in features:
        kind, pooling, *_ = name.split("/")
        if pooling not in kinds.setdefault(kind, []):
            kinds[kind].append(pooling)
    found = {kind: tuple(pools) for kind, pools in kinds.items()}
    if not set(found) <= set(KINDS) or feature_names(found) != features:
        raise ConfigError("the head was trained with other features than this version of fusion_rt makes")
    return found


class RoomHead:
    """One room. The same packets and ticks give the same answers."""

    def __init__(self, head: str | Path | Head, *, sensors: frozenset[str] | None = None) -> None:
        """sensors: ids that belong to the room; None: all that are pushed."""
        self.head = head if isinstance(head, Head) else Head.load(head)
        spec = self.head.spec
        self.kinds = kinds_of(spec.features["values"])
        if spec.rate_hz is None:
            raise ConfigError(f"{self.head.folder}: head.yaml has no rate_hz")
        self.period_s = 1.0 / spec.rate_hz
        self.sensors = sensors
        self.dropped: Counter[str] = Counter()
        self.reset()

    def reset(self) -> None:
        """Forgets everything that it was told; what it dropped stays counted."""
        spec = self.head.spec
        self.hysteresis = Hysteresis(spec.thresholds["occupied"], 1.0 - spec.thresholds["empty"])
        self.newest: dict[tuple[str, str], tuple[int, float]] = {}  # (kind, entity) -> stamp_ns, value
        self.trends = {kind: Trend(KINDS[kind], (0,)) for kind in self.kinds}
        self.entities: dict[str, list[str]] = {
            kind: [] for kind in self.kinds
        }  # in the order of their trends
        self.state = np.zeros(spec.inputs["state"], np.float32)
        self.answer: RoomAnswer | None = None

    def push(self, packet: HomeReading) -> None:
        """Takes a reading; one that cannot be used is counted in `dropped` by its cause."""
        if self.sensors is not None and packet.header.sensor_id not in self.sensors:
            self.dropped["sensor of another room"] += 1
        elif packet.kind not in self.kinds:
            self.dropped["kind that the head does not know"] += 1
        elif packet.unit != READINGS[packet.kind]:
            self.dropped["wrong unit"] += 1
        else:
            key = (packet.kind, packet.entity)
            before = self.newest.get(key)
            if before is not None and packet.header.stamp_ns < before[0]:
                self.dropped["older than another of its sensor"] += 1
                return
            if not np.isfinite(packet.value):
                self.dropped["not available"] += 1
                if before is not None:  # what it said before still ages
                    return
            if before is None:
                self.entities[packet.kind].append(packet.entity)
                self.trends[packet.kind].grow()
            self.newest[key] = (packet.header.stamp_ns, packet.value)

    def tick(self, stamp_ns: int) -> RoomAnswer:
        """The answer of that moment, from readings not newer than it. The network steps at its own rate;
        between its steps the last answer stands."""
        if self.answer is not None:
            dt_s = (stamp_ns - self.answer.stamp_ns) / 1e9
            if dt_s < EARLY * self.period_s:
                return self.answer
        else:
            dt_s = 0.0
        values, present, ages = self._features(stamp_ns, dt_s)
        inputs = self.head.inputs
        inputs["values"][0], inputs["present"][0], inputs["state"][...] = values, present, self.state
        # Ages in steps of the head, as it was trained.
        inputs["age"][0] = [
            min(ages.get(kind, HELD_STEPS * self.period_s) / self.period_s, HELD_STEPS) for kind in self.kinds
        ]
        outputs = self.head.run()
        self.state[...] = outputs["next_state"]
        self.answer = self._decide(stamp_ns, outputs["probabilities"][0], ages)
        return self.answer

    def _features(self, stamp_ns: int, dt_s: float) -> tuple[Array, Array, dict[str, float]]:
        """values (F,), present (K,), age in seconds of the kinds that are present."""
        values, present = [], []
        ages: dict[str, float] = {}
        for kind, pools in self.kinds.items():
            entities, trend = self.entities[kind], self.trends[kind]
            readings = np.full(len(entities), np.nan)
            for i, entity in enumerate(entities):
                at_ns, value = self.newest[kind, entity]
                age_s = max((stamp_ns - at_ns) / 1e9, 0.0)
                if age_s <= self._held_s(kind) and value == value:
                    readings[i] = value
                    ages[kind] = min(age_s, ages.get(kind, age_s))
            rows = trend.step(readings, dt_s)
            if not entities:
                rows, readings = np.zeros((1, rows.shape[-1]), np.float32), np.array([np.nan])
            values.append(pool(rows, np.isfinite(readings), pools))
            present.append(kind in ages)
        return np.concatenate(values), np.array(present, np.float32), ages

    def _held_s(self, kind: str) -> float:
        measured = HELD_STEPS * self.period_s
        return max(measured, SWITCH_HELD_S) if KINDS[kind].switched else measured

    def _decide(self, stamp_ns: int, probabilities: Array, ages: dict[str, float]) -> RoomAnswer:
        p = [float(v) for v in probabilities]
        occupied = self.hysteresis.step(1.0 - p[0])
        return RoomAnswer(
            stamp_ns=stamp_ns,
            probabilities=tuple(p),
            occupied=occupied,
            people=_median(p[1:]) + 1 if occupied else 0,
            age_s=ages,
            missing=tuple(kind for kind in self.kinds if kind not in ages),
        )


def _median(p: list[float]) -> int:
    """The number whose error is expected to be least: half of the probability lies on each side."""
    return int(np.searchsorted(np.cumsum(p), 0.5 * sum(p)).clip(max=len(p) - 1))
