"""Dead reckoning by the lidar's odometry: the pose where no IMU navigates.

The chain of travels is kept in a frame of its own, which begins where the first sweep was taken. Where that
frame lies in the map is told by whoever knows the pose there, and corrected by fixes; before that, the frame
is all there is: nothing in it moves with us, but it has no north and no place on Earth.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import numpy as np

from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.error_state import THETA, P, V, correct, distance, position_jacobian, skew
from fusion_rt.ego.estimate import Estimate, coasted, moved
from fusion_rt.ego.measured import Measured, Travel
from fusion_rt.ego.strapdown import POSITION, RATE, VELOCITY, Row, coast, matrix
from fusion_rt.transforms import (
    Array,
    from_rotation_translation,
    from_rotation_vector,
    interpolate,
    inverse,
    quaternion_from_matrix,
)

_ACCELERATION_MPS2, _TURNING_RADPS2 = 2.0, 0.5  # how motion changes between sweeps, one standard deviation
_I3 = np.eye(3)


class Reckoning:
    """Rows of the ego frame at each sweep, newest last.

    placed  whether the map is known
    level   whether an IMU's navigation told it: then roll and pitch are known as well
    frame   a number, another one for every chain that could not be joined to the one before"""

    def __init__(self, config: EgoConfig, stamp_ns: int, frame: int) -> None:
        self._config = config
        self._history_ns = int((config.history_s + 1.5) * 1e9)
        self._stamps, self._Ts = [stamp_ns], [np.eye(4)]  # T_odom_ego
        self._motions: list[tuple[Array, Array]] = [(np.zeros(3), np.zeros(3))]  # velocity, rate; ego axes
        self._variances = np.array([1e4, 1.0])  # of their components
        self._C = np.zeros((15, 15))  # at the newest sweep, map axes
        self._T_map_odom = np.eye(4)
        self._fixed_ns: int | None = None
        self.placed = self.level = False
        self.frame = frame

    @property
    def newest_ns(self) -> int:
        return self._stamps[-1]

    def beyond_s(self, stamp_ns: int) -> float:
        """How far outside the known poses a stamp lies, s."""
        return max(stamp_ns - self._stamps[-1], self._stamps[0] - stamp_ns, 0) / 1e9

    def fixed_s(self, stamp_ns: int) -> float:
        """How long before a stamp a fix was taken; infinite when none was."""
        return float("inf") if self._fixed_ns is None else (stamp_ns - self._fixed_ns) / 1e9

    def add(self, travel: Travel) -> None:
        """The next sweep. After one was lost, the chain goes on from where the vehicle had coasted to."""
        if travel.from_ns != self._stamps[-1]:
            self._coast_to(travel.from_ns)
        R, t = self._T_map_ego()[:3, :3], travel.T_from_to[:3, 3]
        self._track_motion(travel)
        self._stamps.append(travel.to_ns)
        self._Ts.append(self._Ts[-1] @ travel.T_from_to)
        F = np.eye(15)
        F[P, THETA] = -skew(R @ t)
        C = F @ self._C @ F.T
        C[P, P] += _I3 * travel.position_std**2
        C[THETA, THETA] += _I3 * travel.rotation_std**2
        self._C = C
        while len(self._stamps) > 2 and self._stamps[1] < travel.to_ns - self._history_ns:
            del self._stamps[0], self._Ts[0], self._motions[0]

    def place(self, known: Estimate, *, fixed_ns: int, level: bool) -> None:
        """Where the newest sweep was taken in the map: the row of the ego frame. fixed_ns: the newest fix
        that went into it."""
        self._set_pose(matrix(known.row), np.array(known.row[POSITION]))
        self._C = np.zeros((15, 15))
        for a in (P, THETA):
            for b in (P, THETA):
                self._C[a, b] = known.C[a, b]
        self.placed, self.level, self._fixed_ns = True, level, fixed_ns

    def apply(self, fix: Measured) -> bool:
        """Correct the place by a fix near the known poses, lever from the ego frame; False: it is gated."""
        there, now = self.at(fix.stamp_ns).row, self._T_map_ego()
        arm = matrix(there) @ fix.lever
        residual = fix.position - there[POSITION] - arm
        # The error is the newest sweep's: seen from there the antenna was at this arm.
        H = position_jacobian(arm + there[POSITION] - now[:3, 3])
        if distance(self._C, residual, H, fix.position_noise) > self._config.gate_chi2:
            return False
        since_s = max(self.fixed_s(fix.stamp_ns), 0.01)  # errors of fixes wander, as in Navigation
        shared = max(1.0, self._config.position_correlation_s / since_s)
        error, self._C = correct(self._C, residual, H, fix.position_noise * shared)
        self._set_pose(from_rotation_vector(error[THETA]) @ now[:3, :3], now[:3, 3] + error[P])
        self._fixed_ns = fix.stamp_ns
        return True

    def at(self, stamp_ns: int) -> Estimate:
        """In the map where it is known, else in the own frame; after the newest sweep it goes on as it
        went."""
        row = self._row(stamp_ns)
        R, p = self._T_map_odom[:3, :3], np.array(row[POSITION])
        T_odom_ego = from_rotation_translation(matrix(row), p)
        T = self._T_map_odom @ T_odom_ego
        velocity = R @ np.array(row[VELOCITY])
        C = self._C.copy()
        C[V], C[:, V] = 0.0, 0.0
        turned = skew(velocity)
        C[V, V] = _I3 * self._variances[0] + turned @ C[THETA, THETA] @ turned.T
        dt = (stamp_ns - self._stamps[-1]) / 1e9
        return Estimate(_row(T, velocity, np.array(row[RATE])), coasted(C, dt) if dt > 0 else C, max(dt, 0.0))

    def relative(self, stamps_ns: Sequence[int], to_ns: int) -> Array:
        """T_ego(to)_ego(from) (n, 4, 4) for each stamp `from`: by the travels alone, no fix enters."""
        return moved([self._row(stamp) for stamp in stamps_ns], self._row(to_ns), np.zeros(3))

    def _row(self, stamp_ns: int) -> Row:
        """In the own frame."""
        i = bisect.bisect_right(self._stamps, stamp_ns) - 1
        j = min(max(i, 0), len(self._stamps) - 1)
        velocity, rate = self._motions[j]
        T = self._Ts[j]
        dt = (stamp_ns - self._stamps[j]) / 1e9
        if i < 0 or j == len(self._stamps) - 1:
            return coast(_row(T, T[:3, :3] @ velocity, rate), dt)
        u = dt * 1e9 / (self._stamps[j + 1] - self._stamps[j])
        between = interpolate(T, self._Ts[j + 1], u)
        next_velocity, next_rate = self._motions[j + 1]
        velocity, rate = (1 - u) * velocity + u * next_velocity, (1 - u) * rate + u * next_rate
        return _row(between, between[:3, :3] @ velocity, rate)

    def _track_motion(self, travel: Travel) -> None:
        """Velocity and turn rate at the sweep: each component's Kalman filter, as if they stayed."""
        drift = np.array([_ACCELERATION_MPS2, _TURNING_RADPS2]) * travel.seconds
        noise = np.array([travel.velocity_variance, travel.rate_variance])
        variances = self._variances + drift**2
        K = variances / (variances + noise)
        self._variances = (1.0 - K) * variances
        velocity, rate = self._motions[-1]
        self._motions.append(
            (velocity + K[0] * (travel.velocity - velocity), rate + K[1] * (travel.rate - rate))
        )

    def _coast_to(self, stamp_ns: int) -> None:
        dt = (stamp_ns - self._stamps[-1]) / 1e9
        row = self._row(stamp_ns)
        C = coasted(self.at(self._stamps[-1]).C, dt)
        self._stamps.append(stamp_ns)
        self._Ts.append(from_rotation_translation(matrix(row), np.array(row[POSITION])))
        self._motions.append(self._motions[-1])
        self._C = C
        self._variances = self._variances + (np.array([_ACCELERATION_MPS2, _TURNING_RADPS2]) * dt) ** 2

    def _T_map_ego(self) -> Array:
        T: Array = self._T_map_odom @ self._Ts[-1]
        return T

    def _set_pose(self, R: Array, p: Array) -> None:
        self._T_map_odom = from_rotation_translation(R, p) @ inverse(self._Ts[-1])


def _row(T: Array, velocity: Array, rate: Array) -> Row:
    """A row without specific force; velocity (3,) in T's target axes, rate (3,) in ego axes."""
    q = quaternion_from_matrix(T[:3, :3]).tolist()
    return (*T[:3, 3].tolist(), *velocity.tolist(), *q, 0.0, 0.0, 0.0, *rate.tolist())
