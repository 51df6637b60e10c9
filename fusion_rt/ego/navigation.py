"""Dead reckoning with corrections: inertial samples, fixes, wheel speeds and the lidar's odometry in order of
arrival, the state at any stamp out.

The history holds a row a sample and, every 0.1 s and at every fix, an anchor: the covariance and the biases
that hold from there on. A measurement that comes late is applied at its own time, and only what follows it is
propagated again, with the later ones that had been accepted.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.error_state import (
    BA,
    BG,
    THETA,
    P,
    V,
    correct,
    distance,
    propagate,
    standing,
    wheels,
)
from fusion_rt.ego.estimate import Estimate, coasted, reckoned
from fusion_rt.ego.measured import (
    Measured,
    Travel,
    Travelled,
    position_residual,
    travel_residuals,
    velocity_residual,
)
from fusion_rt.ego.strapdown import (
    POSITION,
    QUATERNION,
    RATE,
    VELOCITY,
    Row,
    Sample,
    between,
    coast,
    matrix,
    row,
    step,
    turned,
)
from fusion_rt.ego.wheel_speed import Rolled, speed_residual
from fusion_rt.messages import Vec3
from fusion_rt.transforms import Array

_ANCHOR_NS = 100_000_000
_AXLE_M = 2.0  # how far the point that does not slide, the rear axle, may be from the IMU
_CALM_FORCE_MPS2, _CALM_RATE_RADPS = 0.15, 0.02  # spread of a standing vehicle's samples over half a second
_I2 = np.eye(2)
_STILL_NOISE = np.diag([0.1**2] * 3 + [0.01**2] * 3)  # m/s, rad/s


class _Anchor(NamedTuple):
    stamp_ns: int
    C: Array
    gyro_bias: Vec3
    accel_bias: Vec3
    gravity: Vec3
    constrained_ns: int  # when wheels or standing still were last used


class Navigation:
    """One IMU, from a known start. `counters` counts the measurements that were refused, by cause."""

    def __init__(
        self,
        config: EgoConfig,
        counters: Counter[str],
        *,
        start: tuple[int, Row, Sample],
        C: Array,
        gravity: Vec3,
        arm: Array,
    ) -> None:
        """start: stamp, row and sample (ego axes) there; C: covariance (15, 15); arm (3,): the IMU in the ego
        frame, m."""
        self._config, self._counters = config, counters
        stamp, first, sample = start
        self._stamps, self._rows, self._samples = [stamp], [first], [sample]
        self._anchors = [_Anchor(stamp, C, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), gravity, stamp)]
        self._arm, self._begun_ns = arm, stamp
        self._taken: list[Measured | Travelled | Rolled] = []  # accepted, by stamp
        self.fixed_ns = stamp  # newest fix that was accepted
        self.refused_since_ns: int | None = None  # the first of the fixes refused in a row
        self.travelled_ns: int | None = None  # newest travel that was accepted
        self.contradicted_since_ns: int | None = None  # the first of the travels refused in a row

    def beyond_s(self, stamp_ns: int) -> float:
        """How far outside the history a stamp lies, s; 0 inside."""
        return max(stamp_ns - self._stamps[-1], self._stamps[0] - stamp_ns, 0) / 1e9

    def add(self, stamp_ns: int, sample: Sample) -> None:
        """A sample newer than all before."""
        self._step(stamp_ns, sample)
        keep = self._before(stamp_ns - int(self._config.history_s * 1e9))
        if keep > 0:
            oldest = self._anchors[keep].stamp_ns
            first = bisect.bisect_left(self._stamps, oldest)
            del self._anchors[:keep], self._stamps[:first], self._rows[:first], self._samples[:first]
            self._taken = [taken for taken in self._taken if taken.stamp_ns > oldest]

    def apply(self, fix: Measured) -> None:
        """A fix not newer than the newest sample. One that contradicts the estimate is counted."""
        if self._before(fix.stamp_ns) < 0:
            self._counters["fix_too_late"] += 1
            return
        here, C, gate = self.row_at(fix.stamp_ns), self._covariance(fix.stamp_ns), self._config.gate_chi2
        if distance(C, *position_residual(here, fix), fix.position_noise) > gate:
            self._counters["fix_gated"] += 1
            self._refuse(fix)
            return
        if fix.velocity is not None and distance(C, *velocity_residual(here, fix), fix.velocity_noise) > gate:
            self._counters["velocity_gated"] += 1
            self._refuse(fix)
            fix = fix._replace(velocity=None)
        else:
            self.refused_since_ns = None
        self._insert(fix)

    def travel(self, travel: Travel) -> None:
        """A travel whose middle is not newer than the newest sample. One that contradicts the estimate is
        counted."""
        stamp = travel.stamp_ns
        if stamp < self._begun_ns:
            return  # of before this navigation began: it says nothing of it
        if self._before(stamp) < 0:
            self._counters["odometry_too_late"] += 1
            return
        first, last = (bisect.bisect_left(self._stamps, t) for t in (travel.from_ns, travel.to_ns))
        samples = self._samples[first:last] or [self._sample(stamp)]
        travelled = Travelled(travel, np.mean(samples, axis=0)[3:])
        C = self._covariance(stamp)
        bias = self._anchors[self._before(stamp)].gyro_bias
        for (residual, H), noise in self._compared(travelled, self.row_at(stamp), bias):
            if distance(C, residual, H, noise) > self._config.gate_chi2:
                self._counters["odometry_gated"] += 1
                if self.contradicted_since_ns is None:
                    self.contradicted_since_ns = stamp
                return
        self.contradicted_since_ns, self.travelled_ns = None, max(stamp, self.travelled_ns or stamp)
        self._insert(travelled)

    def holds(self, stamp_ns: int) -> bool:
        """Whether a speed of this stamp finds its place. One that is too old is counted, but for one of
        before this navigation began."""
        held = self._before(stamp_ns) >= 0
        if not held and stamp_ns >= self._begun_ns:
            self._counters["speed_too_late"] += 1
        return held

    def roll(self, rolled: Rolled) -> None:
        """A wheel speed within the history. One that contradicts the estimate, since wheels
        slip, is counted."""
        residual, H = speed_residual(self.row_at(rolled.stamp_ns), rolled)
        noise = np.eye(len(residual)) * rolled.variance
        if distance(self._covariance(rolled.stamp_ns), residual, H, noise) > self._config.gate_chi2:
            self._counters["speed_gated"] += 1
            return
        self._insert(rolled)

    def contradicted_s(self, stamp_ns: int) -> float:
        """For how long the odometry has been refused; 0: it was not."""
        since = self.contradicted_since_ns
        return 0.0 if since is None else (stamp_ns - since) / 1e9

    def _compared(
        self, travelled: Travelled, here: Row, bias: Vec3
    ) -> list[tuple[tuple[Array, Array], Array]]:
        """Residual with its H, and noise (3, 3), of velocity and of turn rate."""
        travel, seconds = travelled.travel, travelled.travel.seconds
        velocity, rate = travel_residuals(here, travel, travelled.gyro - np.array(bias), self._arm)
        gyro = self._config.imu.gyro**2 / seconds
        return [
            (velocity, np.eye(3) * travel.velocity_variance),
            (rate, np.eye(3) * (travel.rate_variance + gyro)),
        ]

    def refused_s(self, stamp_ns: int) -> float:
        """For how long no fix was accepted as it is, at a refused one's stamp; 0: it was."""
        return 0.0 if self.refused_since_ns is None else (stamp_ns - self.refused_since_ns) / 1e9

    def _refuse(self, fix: Measured) -> None:
        if self.refused_since_ns is None:
            self.refused_since_ns = fix.stamp_ns

    def believe(self, fix: Measured) -> None:
        """Against the estimate, because so many fixes contradicted it: position and velocity were wrong."""
        self.refused_since_ns = None
        if self._before(fix.stamp_ns) < 0:
            self._counters["fix_too_late"] += 1
            return
        later = self._rewind(fix.stamp_ns)
        self._anchor()
        C = self._anchors[-1].C.copy()
        C[P, P] += np.eye(3) * (100.0 + float(np.sum(position_residual(self._rows[-1], fix)[0] ** 2)))
        C[V, V] += np.eye(3) * 25.0
        self._anchors[-1] = self._anchors[-1]._replace(C=C)
        self._taken = []
        self._replay(fix, [], later)

    def at(self, stamp_ns: int) -> Estimate:
        """The estimate at a stamp; outside the history its motion goes on as it was."""
        inside = min(max(stamp_ns, self._stamps[0]), self._stamps[-1])
        C = self._covariance(inside)
        if inside == stamp_ns:
            return Estimate(self.row_at(stamp_ns), C, 0.0)
        dt = (stamp_ns - inside) / 1e9
        return Estimate(coast(self.row_at(inside), dt), coasted(C, dt), max(dt, 0.0))

    def relative(self, stamps_ns: Sequence[int], to_ns: int) -> Array:
        """T_ego(to)_ego(from) (n, 4, 4) for each stamp `from`.

        By the samples between alone: a fix that pulled the estimate meanwhile did not move the vehicle."""
        stamps, oldest, newest = self._stamps, self._stamps[0], self._stamps[-1]
        earliest, latest = min(*stamps_ns, to_ns), max(*stamps_ns, to_ns)
        first, last = min(max(earliest, oldest), newest), min(max(latest, oldest), newest)
        i, end = bisect.bisect_right(stamps, first) - 1, bisect.bisect_left(stamps, last) + 1
        there, by = (self._anchors[max(self._before(stamp), 0)] for stamp in (first, latest))
        return reckoned(
            stamps[i:end],
            self._samples[i:end],
            self._rows[i],
            (*there[2:5], *by[2:5]),
            wanted=(*stamps_ns, to_ns),
            within=(first, last),
            arm=self._arm,
        )

    def _step(self, stamp_ns: int, sample: Sample) -> None:
        anchor = self._anchors[-1]
        dt = (stamp_ns - self._stamps[-1]) / 1e9
        after = step(self._rows[-1], sample, dt, anchor.gyro_bias, anchor.accel_bias, anchor.gravity)
        self._rows.append(after)
        self._stamps.append(stamp_ns)
        self._samples.append(sample)
        if stamp_ns - anchor.constrained_ns >= _ANCHOR_NS:
            self._anchor()
            self._constrain()

    def _rewind(self, stamp_ns: int) -> list[tuple[int, Sample]]:
        """Make a stamp the end of the history; returns what came after it."""
        here, sample = self.row_at(stamp_ns), self._sample(stamp_ns)
        cut = bisect.bisect_left(self._stamps, stamp_ns)
        after = bisect.bisect_right(self._stamps, stamp_ns)
        later = list(zip(self._stamps[after:], self._samples[after:]))
        del self._stamps[cut:], self._rows[cut:], self._samples[cut:]
        del self._anchors[self._before(stamp_ns) + 1 :]
        self._stamps.append(stamp_ns)
        self._rows.append(here)
        self._samples.append(sample)
        return later

    def _insert(self, measured: Measured | Travelled | Rolled) -> None:
        """At its own time; what had been taken after it is taken again."""
        after = [taken for taken in self._taken if taken.stamp_ns > measured.stamp_ns]
        self._replay(measured, after, self._rewind(measured.stamp_ns))

    def _replay(
        self,
        measured: Measured | Travelled | Rolled,
        after: list[Measured | Travelled | Rolled],
        later: list[tuple[int, Sample]],
    ) -> None:
        """The measurement at the end of the history, then what came after it."""
        self._taken = [taken for taken in self._taken if taken.stamp_ns <= measured.stamp_ns]
        self._take(measured)
        for stamp, sample in later:
            self._step(stamp, sample)
            # Where something was taken there is a row, so that none is passed over.
            while after and after[0].stamp_ns == stamp:
                self._take(after.pop(0))

    def _take(self, measured: Measured | Travelled | Rolled) -> None:
        """Correct the end of the history."""
        self._anchor()
        if isinstance(measured, Measured):
            self._take_fix(measured)
        elif isinstance(measured, Rolled):
            residual, H = speed_residual(self._rows[-1], measured)
            self._update(residual, H, np.eye(len(residual)) * measured.variance)
        else:
            for i in range(2):  # the second half against what the first has corrected
                (residual, H), noise = self._compared(measured, self._rows[-1], self._anchors[-1].gyro_bias)[
                    i
                ]
                self._update(residual, H, noise)
        self._taken.append(measured)

    def _take_fix(self, fix: Measured) -> None:
        self._anchors[-1] = self._anchors[-1]._replace(gravity=fix.gravity)
        before = next((taken for taken in reversed(self._taken) if isinstance(taken, Measured)), None)
        since_s = np.inf if before is None else (fix.stamp_ns - before.stamp_ns) / 1e9
        shared = max(1.0, self._config.position_correlation_s / max(since_s, 0.01))
        self._update(*position_residual(self._rows[-1], fix), fix.position_noise * shared)
        if fix.velocity is not None:
            self._update(*velocity_residual(self._rows[-1], fix), fix.velocity_noise)
        self.fixed_ns = max(self.fixed_ns, fix.stamp_ns)

    def _constrain(self) -> None:
        """What is known of wheeled vehicles, and of those that stand."""
        self._anchors[-1] = self._anchors[-1]._replace(constrained_ns=self._stamps[-1])
        here = np.array(self._rows[-1])
        velocity, rate = here[VELOCITY], here[RATE]
        if velocity @ velocity < self._config.still_mps**2 and self._calm():
            self._update(*standing(velocity, rate), _STILL_NOISE)
        elif self._config.nonholonomic_mps:
            variance = self._config.nonholonomic_mps**2 + _AXLE_M**2 * float(rate @ rate)
            self._update(*wheels(matrix(self._rows[-1]), velocity), _I2 * variance)

    def _calm(self) -> bool:
        """Whether half a second of samples is as quiet as a standing vehicle's."""
        first = bisect.bisect_left(self._stamps, self._stamps[-1] - 5 * _ANCHOR_NS)
        if first == 0:
            return False
        spread = np.std(self._samples[first:], axis=0)
        turning = np.abs(np.mean(self._samples[first:], axis=0)[3:] - self._anchors[-1].gyro_bias)
        return bool(
            spread[:3].max() < _CALM_FORCE_MPS2 and max(spread[3:].max(), turning.max()) < _CALM_RATE_RADPS
        )

    def _anchor(self) -> None:
        """Make the end of the history an anchor, unless it is one."""
        last, stamp = self._anchors[-1], self._stamps[-1]
        if last.stamp_ns < stamp:
            self._anchors.append(last._replace(stamp_ns=stamp, C=self._covariance(stamp)))

    def _update(self, residual: Array, H: Array, noise: Array) -> None:
        """Correct the last row and its anchor."""
        anchor = self._anchors[-1]
        error, C = correct(anchor.C, residual, H, noise)
        before = np.array(self._rows[-1])
        R = matrix(self._rows[-1])
        qx, qy, qz, qw = self._rows[-1][QUATERNION]
        self._anchors[-1] = anchor = anchor._replace(
            C=C,
            gyro_bias=_vec3(np.array(anchor.gyro_bias) + error[BG]),
            accel_bias=_vec3(np.array(anchor.accel_bias) + error[BA]),
        )
        self._rows[-1] = row(
            _vec3(before[POSITION] + error[P]),
            _vec3(before[VELOCITY] + error[V]),
            turned(qx, qy, qz, qw, *_vec3(R.T @ error[THETA])),
            self._samples[-1],
            anchor.gyro_bias,
            anchor.accel_bias,
        )

    def _before(self, stamp_ns: int) -> int:
        """Index of the newest anchor not after a stamp; -1: there is none."""
        if self._anchors[-1].stamp_ns <= stamp_ns:  # mostly
            return len(self._anchors) - 1
        return bisect.bisect_right(self._anchors, stamp_ns, key=lambda anchor: anchor.stamp_ns) - 1

    def row_at(self, stamp_ns: int) -> Row:
        """The row at a stamp inside the history."""
        i = bisect.bisect_right(self._stamps, stamp_ns) - 1
        if self._stamps[i] == stamp_ns:
            return self._rows[i]
        anchor = self._anchors[self._before(stamp_ns)]
        dt = (stamp_ns - self._stamps[i]) / 1e9
        sample = self._sample(stamp_ns)
        return step(self._rows[i], sample, dt, anchor.gyro_bias, anchor.accel_bias, anchor.gravity)

    def _sample(self, stamp_ns: int) -> Sample:
        """The sample at a stamp inside the history, straight between its neighbours."""
        i = bisect.bisect_right(self._stamps, stamp_ns) - 1
        if self._stamps[i] == stamp_ns:
            return self._samples[i]
        u = (stamp_ns - self._stamps[i]) / (self._stamps[i + 1] - self._stamps[i])
        return between(self._samples[i], self._samples[i + 1], u)

    def _covariance(self, stamp_ns: int) -> Array:
        """C (15, 15) at a stamp inside the history."""
        anchor = self._anchors[self._before(stamp_ns)]
        if anchor.stamp_ns == stamp_ns:
            return anchor.C
        first = bisect.bisect_left(self._stamps, anchor.stamp_ns)
        last = bisect.bisect_left(self._stamps, stamp_ns)
        stamps = [*self._stamps[first:last], stamp_ns]
        dt = [(after - before) / 1e9 for before, after in pairwise(stamps)]
        return propagate(anchor.C, [*self._rows[first:last], self.row_at(stamp_ns)], dt, self._config.imu)


def _vec3(v: Array) -> Vec3:
    x, y, z = v.tolist()
    return x, y, z
