"""Fixes alone: where the receiver is and which way it goes. The pose where no IMU navigates, and its
beginning."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.error_state import THETA, P, V
from fusion_rt.ego.estimate import Estimate, coasted, moved
from fusion_rt.ego.strapdown import POSITION, QUATERNION, RATE, VELOCITY, Row, coast
from fusion_rt.transforms import Array, wrap_angle

_MOVING_MPS = 0.5
_MAX_TURN_RADPS = 1.5
_MAX_ACCELERATION_MPS2 = 1.5  # one standard deviation, where the fixes do not tell it better
_TILT_RAD = 0.05  # roads are not level


class Motion(NamedTuple):
    """velocity (3,) map m/s and acceleration along the course m/s^2 with one standard deviation each; the
    acceleration is the mean over the last window_s."""

    velocity: Array
    velocity_std: float
    acceleration: float
    acceleration_std: float
    window_s: float


class _Place(NamedTuple):
    stamp_ns: int
    position: Array
    std: float


class _Speed(NamedTuple):
    stamp_ns: int
    velocity: Array
    std: float


class Course:
    """The newest fixes of one vehicle; the pose between and shortly after them. The heading is the course
    over ground, kept while standing; roll and pitch are taken for zero."""

    def __init__(self, config: EgoConfig) -> None:
        self._history_ns = int((config.history_s + 1.5) * 1e9)
        self._places: list[_Place] = []
        self._speeds: list[_Speed] = []
        self._stamps: list[int] = []
        self._known: list[tuple[Row, Array]] = []

    def add(
        self,
        stamp_ns: int,
        position: Array,
        noise: Array,
        *,
        velocity: tuple[Array, float] | None,
        lever: Array,
    ) -> None:
        """A fix in map axes: position (3,) of the antenna at `lever` (ego axes), noise (3, 3), and velocity
        with its standard deviation where the receiver gives it. One older than the newest (of another
        receiver) is not used."""
        if self._places and stamp_ns <= self._places[-1].stamp_ns:
            return
        self._places.append(_Place(stamp_ns, position, math.sqrt(float(np.trace(noise)) / 3)))
        moved = velocity or self._difference()
        if moved is not None:
            self._speeds.append(_Speed(stamp_ns, *moved))
            self._follow(stamp_ns, position, noise, lever)
        horizon = stamp_ns - self._history_ns
        for timed in (self._places, self._speeds):
            while timed[:1] and timed[0].stamp_ns < horizon:
                del timed[0]
        while len(self._stamps) > 2 and self._stamps[1] < horizon:
            del self._stamps[0], self._known[0]

    def motion(self) -> Motion | None:
        """At the newest fix; None when it is not known yet."""
        if not self._speeds or self._speeds[-1].stamp_ns != self._places[-1].stamp_ns:
            return None
        now = self._speeds[-1]
        then = next((s for s in self._speeds if 0.4 <= (now.stamp_ns - s.stamp_ns) / 1e9 <= 1.5), None)
        if then is None:
            return None
        window_s = (now.stamp_ns - then.stamp_ns) / 1e9
        gained = float(np.hypot(*now.velocity[:2]) - np.hypot(*then.velocity[:2]))
        std = math.hypot(now.std, then.std) / window_s
        if std > _MAX_ACCELERATION_MPS2:
            return Motion(now.velocity, now.std, 0.0, _MAX_ACCELERATION_MPS2, window_s)
        return Motion(now.velocity, now.std, gained / window_s, std, window_s)

    def beyond_s(self, stamp_ns: int) -> float:
        """How far outside the known poses a stamp lies, s; infinite when there is none."""
        if not self._stamps:
            return math.inf
        return max(stamp_ns - self._stamps[-1], self._stamps[0] - stamp_ns, 0) / 1e9

    def at(self, stamp_ns: int) -> Estimate:
        """Between fixes straight, beyond them as it went; the row is of the ego frame."""
        i = max(bisect.bisect_right(self._stamps, stamp_ns) - 1, 0)
        before, C = self._known[i]
        dt = (stamp_ns - self._stamps[i]) / 1e9
        if dt < 0 or i == len(self._stamps) - 1:
            return Estimate(coast(before, dt), coasted(C, dt), max(dt, 0.0))
        after, _ = self._known[i + 1]
        u = (stamp_ns - self._stamps[i]) / (self._stamps[i + 1] - self._stamps[i])
        a, b = np.array(before), np.array(after)
        turned = _yaw(a) + u * wrap_angle(_yaw(b) - _yaw(a))
        p, v = (1 - u) * a[POSITION] + u * b[POSITION], (1 - u) * a[VELOCITY] + u * b[VELOCITY]
        return Estimate(_level_row(p, v, turned, float(a[RATE][2])), C, 0.0)

    def relative(self, stamps_ns: Sequence[int], to_ns: int) -> Array:
        """T_ego(to)_ego(from) (n, 4, 4) for each stamp `from`."""
        return moved([self.at(stamp).row for stamp in stamps_ns], self.at(to_ns).row, np.zeros(3))

    def _difference(self) -> tuple[Array, float] | None:
        """Velocity of a receiver that gives none, and its standard deviation: over the span that is long
        enough for the noise and short enough for the vehicle, which speeds up and turns meanwhile."""
        now = self._places[-1]
        best: tuple[Array, float] | None = None
        for then in self._places[:-1]:
            span_s = (now.stamp_ns - then.stamp_ns) / 1e9
            # The mean over the span is the velocity of its middle.
            std = math.hypot(math.hypot(now.std, then.std) / span_s, 0.5 * span_s * _MAX_ACCELERATION_MPS2)
            if 0.5 <= span_s <= 3.0 and (best is None or std < best[1]):
                best = (now.position - then.position) / span_s, std
        return best

    def _follow(self, stamp_ns: int, position: Array, noise: Array, lever: Array) -> None:
        now = self._speeds[-1]
        speed = float(np.hypot(*now.velocity[:2]))
        # A heading from a velocity that may be all noise would spin a standing vehicle.
        moving = speed > max(_MOVING_MPS, 3 * now.std)
        yaw, yaw_std, turn = math.atan2(now.velocity[1], now.velocity[0]), now.std / max(speed, 0.1), 0.0
        if self._known:
            last, last_C = self._known[-1]
            dt = (stamp_ns - self._stamps[-1]) / 1e9
            if moving:
                turn = float(
                    np.clip(wrap_angle(yaw - _yaw(np.array(last))) / dt, -_MAX_TURN_RADPS, _MAX_TURN_RADPS)
                )
            else:
                yaw, yaw_std = _yaw(np.array(last)), math.sqrt(float(last_C[8, 8]))
        elif not moving:
            return
        C = np.zeros((15, 15))
        C[P, P], C[V, V] = noise, np.eye(3) * now.std**2
        C[THETA, THETA] = np.diag([_TILT_RAD**2, _TILT_RAD**2, min(yaw_std, math.pi) ** 2 + 1e-4])
        c, s = math.cos(yaw), math.sin(yaw)
        arm = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ lever
        self._stamps.append(stamp_ns)
        self._known.append((_level_row(position - arm, now.velocity, yaw, turn), C))


def _yaw(row: Array) -> float:
    _, _, z, w = row[QUATERNION]
    return 2.0 * math.atan2(z, w)


def _level_row(p: Array, v: Array, yaw: float, turn: float) -> Row:
    """Level, without specific force."""
    q = (0.0, 0.0, math.sin(0.5 * yaw), math.cos(0.5 * yaw))
    return (*p.tolist(), *v.tolist(), *q, 0.0, 0.0, 0.0, 0.0, 0.0, turn)
