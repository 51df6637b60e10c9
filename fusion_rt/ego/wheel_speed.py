"""How fast the wheels roll: which of what they tell is used, and by what factor it is wrong."""

from __future__ import annotations

import math
from collections import Counter, deque
from typing import NamedTuple

import numpy as np

from fusion_rt.ego.chronology import Chronology
from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.error_state import V
from fusion_rt.ego.measured import Measured
from fusion_rt.ego.strapdown import VELOCITY, Row, matrix
from fusion_rt.messages import WheelSpeed
from fusion_rt.rig import Rig
from fusion_rt.transforms import Array

_MAX_MPS = 150.0
_EVERY_NS = 100_000_000  # of many speeds a second ten are used
_ROLLING_MPS = 0.5  # slower than this, the direction of a velocity is noise
_APART_NS, _APART_M = 10_000_000_000, 50.0  # two fixes that tell the scale
_GAP_NS, _KEPT_NS = 500_000_000, 3_000_000_000
_SCALE_STD, _SCALE_WALK = 0.02, 2e-4  # of tyres as they are worn, filled and loaded; a square root of seconds
_SHARED = 100.0  # speeds in the ten seconds for which an error of the scale is one error
_STILL_STD_MPS = 0.15  # wheels that creep are told as standing


class Rolled(NamedTuple):
    """The speed over ground, m/s, backwards negative, one standard deviation, and that of its scale."""

    stamp_ns: int
    speed: float
    std: float
    scale_std: float

    @property
    def variance(self) -> float:
        """(m/s)^2, of one of many: what all of them share does not shrink with their number."""
        least = self.std if self.speed else max(self.std, _STILL_STD_MPS)
        return least**2 + _SHARED * (self.scale_std * self.speed) ** 2


def speed_residual(here: Row, rolled: Rolled) -> tuple[Array, Array]:
    """Residual (m,) and H (m, 15): of the velocity's size, which does not depend on how the IMU is turned
    about; standing, of all three axes; nearly standing, along the ego frame's x."""
    velocity = np.array(here[VELOCITY])
    size = float(np.linalg.norm(velocity))
    if rolled.speed == 0.0:
        H = np.zeros((3, 15))
        H[:, V] = np.eye(3)
        return -velocity, H
    H = np.zeros((1, 15))
    if size < _ROLLING_MPS:
        H[0, V] = forward = matrix(here)[:, 0]
        return np.array([rolled.speed - forward @ velocity]), H
    H[0, V] = velocity / size
    return np.array([abs(rolled.speed) - size]), H


class _Fixed(NamedTuple):
    """Where a fix says that we were, (3,) m in the map, and its variance, m^2, of one axis."""

    stamp_ns: int
    position: Array
    variance: float


class WheelScale:
    """By what the wheels' speed is to be multiplied, by a Kalman filter of that one number: how far fixes are
    apart against how far the wheels went in the direction of travel. No estimate that the wheels' speed has
    entered is used but for its direction, or it would confirm itself."""

    def __init__(self) -> None:
        self.scale, self._variance = 1.0, _SCALE_STD**2
        self._way: deque[tuple[int, Array]] = deque()  # (3,) m in the map, since it began
        self._waiting: deque[_Fixed] = deque(maxlen=50)  # newer than the newest speed
        self._begun: tuple[_Fixed, Array] | None = None  # and how far the wheels had gone by then

    @property
    def std(self) -> float:
        return math.sqrt(self._variance)

    def roll(self, stamp_ns: int, velocity: Array) -> None:
        """The wheels' own velocity (3,) m/s, map axes, as it is told."""
        before, way = self._way[-1] if self._way else (-_GAP_NS, np.zeros(3))
        step_ns = stamp_ns - before
        if not 0 < step_ns < _GAP_NS:
            self._way.clear()
            self._begun, step_ns = None, 0
        self._way.append((stamp_ns, way + velocity * (step_ns / 1e9)))
        while self._way[0][0] < stamp_ns - _KEPT_NS:
            self._way.popleft()
        while self._waiting and self._waiting[0].stamp_ns <= stamp_ns:
            self._learn(self._waiting.popleft())

    def fix(self, stamp_ns: int, position: Array, variance: float) -> None:
        """Where an accepted fix says that we were, as `_Fixed` has it."""
        fixed = _Fixed(stamp_ns, position, variance)
        if self._way and stamp_ns <= self._way[-1][0]:
            self._learn(fixed)
        else:
            self._waiting.append(fixed)

    def _learn(self, fixed: _Fixed) -> None:
        begun = self._begun
        if fixed.stamp_ns < self._way[0][0]:
            return
        if begun is not None and fixed.stamp_ns - begun[0].stamp_ns < _APART_NS:
            return
        stamps, ways = zip(*self._way)
        way = np.array([np.interp(fixed.stamp_ns, stamps, axis) for axis in np.transpose(ways)])
        self._begun = fixed, way
        if begun is None:
            return
        before, way_before = begun
        gone = way - way_before
        length = float(np.linalg.norm(gone))
        if length < _APART_M:
            return
        told = float((fixed.position - before.position) @ gone) / length**2
        noise = (fixed.variance + before.variance) / length**2
        known = min(self._variance + _SCALE_WALK**2 * (fixed.stamp_ns - before.stamp_ns) / 1e9, _SCALE_STD**2)
        if (told - self.scale) ** 2 > 16.0 * (known + noise):
            return  # a reflection, not the tyres
        gain = known / (known + noise)
        self.scale += gain * (told - self.scale)
        self._variance = known * (1.0 - gain)


class WheelSpeeds:
    """The intake of one vehicle's wheels. What it refuses it counts, by cause, in `counters`."""

    def __init__(self, rig: Rig, config: EgoConfig, counters: Counter[str]) -> None:
        self._sensor = next(iter(rig.wheels), None)  # of several one is used
        self._given = 1.0 if self._sensor is None else rig.wheels[self._sensor].scale
        self._gap_ns = int(config.max_gap_s * 1e9)
        self._clock = Chronology(min_step_ns=1_000_000, max_step_ns=self._gap_ns)
        self._counters, self._newest_ns, self._scale = counters, -_EVERY_NS, WheelScale()

    @property
    def listens(self) -> bool:
        """Whether the rig has wheels that tell their speed."""
        return self._sensor is not None

    def take(self, packet: WheelSpeed, imu_ns: int | None, *, vouched: bool) -> Rolled | None:
        """What is to be used of a packet; imu_ns: the newest inertial sample; vouched: as in Chronology."""
        stamp = packet.header.stamp_ns
        if packet.header.sensor_id != self._sensor:
            return None
        if not (abs(packet.speed) < _MAX_MPS and 0 < packet.std < _MAX_MPS):
            self._counters["speed_malformed"] += 1
            return None
        verdict = self._clock.judge(stamp, vouched=vouched)
        if verdict not in ("", "jump"):
            self._counters[f"speed_{verdict}"] += 1
            return None
        if imu_ns is None or stamp > imu_ns + self._gap_ns:
            self._counters["speed_without_imu"] += 1
            return None
        if 0 <= stamp - self._newest_ns < _EVERY_NS:
            return None
        self._newest_ns = stamp
        return Rolled(stamp, packet.speed * self._given, packet.std, 0.0)

    def scaled(self, told: Rolled, here: Row) -> Rolled:
        """With the scale as it is known so far; here: where we are at that time."""
        velocity = np.array(here[VELOCITY])
        size = float(np.linalg.norm(velocity))
        self._scale.roll(
            told.stamp_ns, velocity * (abs(told.speed) / size) if size > _ROLLING_MPS else 0 * velocity
        )
        return told._replace(speed=told.speed * self._scale.scale, scale_std=self._scale.std)

    def fix(self, fix: Measured, here: Row) -> None:
        """A fix that was accepted; here: where we are at that time."""
        noise = float(fix.position_noise[0, 0] + fix.position_noise[1, 1]) / 2
        self._scale.fix(fix.stamp_ns, fix.position - matrix(here) @ fix.lever, noise)
