"""Where the ego vehicle is: GNSS fixes and inertial samples in, the pose at any stamp out.

Packets come in order of arrival; a fix may be older than the newest sample, and is applied at its own time.
Without IMU the fixes alone give position, course and velocity; without fixes there is no pose, and the filter says
so: `source` is "none" and the pose is the identity.
"""

from __future__ import annotations

import bisect
from collections import Counter
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

from fusion_rt.ego.geodesy import LocalMap, normal_gravity
from fusion_rt.ego.inertial import BA, BG, THETA, ImuNoise, Navigation, P, Positive, V, level_rotation, skew
from fusion_rt.messages import EgoState, GnssFix, ImuSample
from fusion_rt.rig import Rig
from fusion_rt.transforms import (
    Array,
    from_rotation_translation,
    from_rotation_vector,
    inverse,
    quaternion_from_matrix,
    rotation_vector,
)

_GATE = 16.27  # chi-square, 3 degrees of freedom, 0.1 %
_MAX_GAP_S = 0.5  # without samples for longer, dead reckoning has no ground


class EgoConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the pose is estimated: `ego:` in a scenario.

    imu                  noise of the IMU
    position_floor_m     no fix is believed to be better than this
    velocity_floor_mps   likewise
    nonholonomic_mps     how far a car slides or jumps; 0: not a wheeled vehicle
    history_s            how late a fix may come
    reset_after          so many refused fixes in a row mean that the filter is wrong, not the receiver
    align_speed_mps      course over ground gives the heading from this speed on
    """

    imu: ImuNoise = ImuNoise()
    position_floor_m: Positive = 0.3
    velocity_floor_mps: Positive = 0.1
    nonholonomic_mps: Annotated[float, Meta(ge=0)] = 0.4
    history_s: Positive = 1.5
    reset_after: Annotated[int, Meta(ge=1)] = 10
    align_speed_mps: Positive = 1.5


class _Sample(Struct, frozen=True):
    force: Array  # ego axes
    rate: Array


class EgoFilter:
    """One vehicle. Pure: equal packets give equal poses. `counters` counts what was refused, by cause."""

    def __init__(self, rig: Rig, config: EgoConfig) -> None:
        self.config = config
        self._rig = rig
        self._T_ego_imu = next((i.T_ego_imu for i in rig.imus.values()), np.eye(4))
        self._imu_id = next(iter(rig.imus), None)
        self.counters: Counter[str] = Counter()
        self.map: LocalMap | None = None
        self._stamps: list[int] = []
        self._states: list[Navigation] = []
        self._samples: list[_Sample] = []
        self._leveling: list[Array] = []
        self._fix: tuple[int, Array] | None = None
        self._refused_in_a_row = 0
        self._last_fix_ns = 0
        self._steps = 0

    def push(self, packet: ImuSample | GnssFix) -> None:
        """Take a packet; one that cannot be used is counted."""
        if isinstance(packet, ImuSample):
            if packet.header.sensor_id == self._imu_id:  # one IMU navigates; others are recorded only
                self._push_imu(packet)
        else:
            self._push_fix(packet)

    def state_at(self, stamp_ns: int) -> EgoState:
        """The pose at a stamp: between samples interpolated, after the newest one extrapolated."""
        if not self._states or self.map is None:
            return _identity(stamp_ns)
        return self._describe(stamp_ns, *self._at(stamp_ns))

    def relative(self, from_ns: int, to_ns: int) -> Array:
        """T_ego(to)_ego(from), (4, 4): moves points seen at `from` into the ego frame at `to`."""
        if from_ns == to_ns or not self._states:
            return np.eye(4)
        return inverse(self._pose(to_ns)) @ self._pose(from_ns)

    def _push_imu(self, sample: ImuSample) -> None:
        stamp = sample.header.stamp_ns
        force, rate = np.array(sample.specific_force), np.array(sample.angular_rate)
        if not (np.isfinite(force).all() and np.isfinite(rate).all()):
            self.counters["imu_not_finite"] += 1
            return
        R = self._T_ego_imu[:3, :3]
        current = _Sample(R @ force, R @ rate)
        if not self._states:
            self._leveling = [*self._leveling[-199:], current.force]
            return
        dt = (stamp - self._stamps[-1]) / 1e9
        if dt <= 0:
            self.counters["imu_out_of_order"] += 1
            return
        if dt > _MAX_GAP_S:
            self.counters["imu_gap"] += 1
            self._restart()
            return
        self._step(stamp, current)
        horizon = stamp - int(self.config.history_s * 1e9)
        if self._stamps[0] < horizon:
            keep = bisect.bisect_left(self._stamps, horizon)
            del self._stamps[:keep], self._states[:keep], self._samples[:keep]

    def _step(self, stamp: int, sample: _Sample) -> None:
        state = self._states[-1].copy()
        state.propagate(sample.force, sample.rate, (stamp - self._stamps[-1]) / 1e9)
        self._steps += 1
        if self.config.nonholonomic_mps and self._steps % 10 == 0:
            state.update_wheels(self.config.nonholonomic_mps)
        self._stamps.append(stamp)
        self._states.append(state)
        self._samples.append(sample)

    def _push_fix(self, fix: GnssFix) -> None:
        covariance = np.array(fix.position_covariance).reshape(3, 3)
        numbers = (fix.latitude_deg, fix.longitude_deg, fix.altitude_m, *covariance.flat, *(fix.velocity_enu or ()))
        if fix.fix_type == "none" or not np.isfinite(numbers).all():
            self.counters["fix_unusable"] += 1
            return
        if self.map is None:
            self.map = LocalMap(fix.latitude_deg, fix.longitude_deg, fix.altitude_m)
        position = self.map.to_enu(fix.latitude_deg, fix.longitude_deg, fix.altitude_m)
        measured = None if fix.velocity_enu is None else np.array(fix.velocity_enu)
        course = self._course(fix.header.stamp_ns, position) if measured is None else measured
        self._fix = (fix.header.stamp_ns, position)
        if self._imu_id is None:
            self._follow(fix, position, course)
        elif self._states:
            self._apply(fix, position, measured, covariance)
        else:
            self._align(fix, position, course)

    def _apply(self, fix: GnssFix, position: Array, velocity: Array | None, covariance: Array) -> None:
        """Update at the fix's own time, then propagate again to the newest sample."""
        stamp = fix.header.stamp_ns
        i = bisect.bisect_right(self._stamps, stamp) - 1
        if i < 0:
            self.counters["fix_too_late"] += 1
            return
        if stamp - self._stamps[-1] > _MAX_GAP_S * 1e9:
            self.counters["imu_gap"] += 1
            self._restart()
            return
        lever = np.array(self._rig.gnss[fix.header.sensor_id].lever_arm) - self._T_ego_imu[:3, 3]
        later = list(zip(self._stamps[i + 1 :], self._samples[i + 1 :]))
        state = self._states[i].copy()
        # Between two samples: the fix is moved to the sample before it with the velocity there.
        shift = state.v * ((stamp - self._stamps[i]) / 1e9)
        floor = self.config.position_floor_m**2
        noise = covariance + np.eye(3) * 1e-6
        noise[np.diag_indices(3)] = np.maximum(np.diag(noise), floor)
        accepted = state.update_position(position - shift, lever, noise, _GATE)
        if not accepted:
            self.counters["fix_gated"] += 1
            self._refused_in_a_row += 1
            if self._refused_in_a_row >= self.config.reset_after:
                self.counters["reset"] += 1
                state.covariance[P, P] += np.eye(3) * 1e4
                state.covariance[V, V] += np.eye(3) * 25.0
                state.update_position(position - shift, lever, noise, None)
            else:
                return
        self._refused_in_a_row = 0
        if velocity is not None:
            std = max(fix.velocity_std or 0.3, self.config.velocity_floor_mps)
            if not state.update_velocity(velocity, lever, np.eye(3) * std**2, _GATE):
                self.counters["velocity_gated"] += 1
        self._last_fix_ns = max(self._last_fix_ns, stamp)
        del self._stamps[i + 1 :], self._states[i:], self._samples[i + 1 :]
        self._states.append(state)
        steps = self._steps
        for later_stamp, sample in later:
            self._step(later_stamp, sample)
        self._steps = steps

    def _align(self, fix: GnssFix, position: Array, velocity: Array | None) -> None:
        """Begin: level by gravity, heading by the course over ground."""
        if velocity is None or np.hypot(*velocity[:2]) < self.config.align_speed_mps or len(self._leveling) < 5:
            return
        yaw = float(np.arctan2(velocity[1], velocity[0]))
        R = level_rotation(np.mean(self._leveling[-100:], axis=0), yaw)
        lever = np.array(self._rig.gnss[fix.header.sensor_id].lever_arm) - self._T_ego_imu[:3, 3]
        covariance = np.zeros((15, 15))
        for block, std in ((P, 5.0), (V, 1.0), (THETA, 0.1), (BG, 0.01), (BA, 0.2)):
            covariance[block, block] = np.eye(3) * std**2
        gravity = normal_gravity(fix.latitude_deg, fix.altitude_m)
        state = Navigation(position - R @ lever, velocity, R, covariance, gravity=gravity, noise=self.config.imu)
        self._stamps, self._states = [fix.header.stamp_ns], [state]
        self._samples = [_Sample(np.zeros(3), np.zeros(3))]
        self._last_fix_ns = fix.header.stamp_ns

    def _follow(self, fix: GnssFix, position: Array, velocity: Array | None) -> None:
        """No IMU: the fix is the state; the course is the heading, its change the yaw rate."""
        if velocity is None:
            return
        stamp, speed = fix.header.stamp_ns, float(np.hypot(*velocity[:2]))
        previous = self._states[-1] if self._states else None
        if previous is not None and stamp <= self._stamps[-1]:
            self.counters["fix_out_of_order"] += 1
            return
        moving = speed > 0.5
        if previous is None and not moving:
            return
        yaw = float(np.arctan2(velocity[1], velocity[0]))
        R = level_rotation(np.array([0.0, 0.0, 1.0]), yaw) if moving or previous is None else previous.R
        covariance = np.zeros((15, 15))
        covariance[P, P] = np.array(fix.position_covariance).reshape(3, 3)
        covariance[V, V] = np.eye(3) * (fix.velocity_std or 0.5) ** 2
        covariance[THETA, THETA] = np.eye(3) * (0.5 / max(speed, 1.0)) ** 2
        arm = R @ np.array(self._rig.gnss[fix.header.sensor_id].lever_arm)
        state = Navigation(position - arm, velocity, R, covariance, gravity=9.81, noise=self.config.imu)
        if previous is not None:
            turn = rotation_vector(previous.R.T @ R) / ((stamp - self._stamps[-1]) / 1e9)
            state.angular_rate = np.clip(turn, -1.5, 1.5)
        self._stamps = [*self._stamps[-9:], stamp]
        self._states = [*self._states[-9:], state]
        self._samples = [*self._samples[-9:], _Sample(np.zeros(3), np.zeros(3))]
        self._last_fix_ns = stamp

    def _course(self, stamp: int, position: Array) -> Array | None:
        """Velocity from two fixes, for receivers that give none."""
        if self._fix is None or not 0 < stamp - self._fix[0] < 3e9:
            return None
        return (position - self._fix[1]) / ((stamp - self._fix[0]) / 1e9)

    def _restart(self) -> None:
        self._stamps, self._states, self._samples, self._leveling = [], [], [], []

    def _at(self, stamp_ns: int) -> tuple[Navigation, Array, Array, Array, float]:
        """The estimate before a stamp; position, velocity and rotation at it; seconds beyond the newest."""
        i = bisect.bisect_right(self._stamps, stamp_ns) - 1
        base = self._states[max(i, 0)]
        if i < 0 or i == len(self._states) - 1:
            dt = (stamp_ns - self._stamps[max(i, 0)]) / 1e9
            R = base.R @ from_rotation_vector(base.angular_rate * dt)
            return base, base.p + base.v * dt, base.v, R, max(dt, 0.0)
        after = self._states[i + 1]
        u = (stamp_ns - self._stamps[i]) / (self._stamps[i + 1] - self._stamps[i])
        R = base.R @ from_rotation_vector(u * rotation_vector(base.R.T @ after.R))
        return base, (1 - u) * base.p + u * after.p, (1 - u) * base.v + u * after.v, R, 0.0

    def _pose(self, stamp_ns: int) -> Array:
        _, p, _, R, _ = self._at(stamp_ns)
        return from_rotation_translation(R, p - R @ self._T_ego_imu[:3, 3])

    def _describe(self, stamp_ns: int, base: Navigation, p: Array, v: Array, R: Array, beyond: float) -> EgoState:
        """The ego frame's pose from the IMU's, with the covariance of the last estimate grown by what followed."""
        assert self.map is not None
        arm = R @ self._T_ego_imu[:3, 3]
        J = np.zeros((6, 15))
        J[:3, P], J[:3, THETA], J[3:, THETA] = np.eye(3), skew(arm), np.eye(3)
        J[:3, V] = np.eye(3) * beyond
        pose = J @ base.covariance @ J.T
        pose[:3, :3] += np.eye(3) * (0.5 * beyond**2) ** 2  # an unknown acceleration of 1 m/s^2
        pose[3:, 3:] += np.eye(3) * (0.1 * beyond) ** 2
        velocity = v - R @ np.cross(base.angular_rate, self._T_ego_imu[:3, 3])
        stale = stamp_ns - self._last_fix_ns > 3e9
        source = "gnss" if self._imu_id is None else ("imu" if stale else "imu+gnss")
        latitude, longitude, altitude = self.map.origin
        return EgoState(
            stamp_ns=stamp_ns,
            position=_vec3(p - arm),
            orientation=tuple(quaternion_from_matrix(R).tolist()),  # type: ignore[arg-type]
            velocity=_vec3(velocity),
            angular_rate=_vec3(base.angular_rate),
            covariance=tuple(pose.reshape(-1).tolist()),
            velocity_covariance=tuple(base.covariance[V, V].reshape(-1).tolist()),
            extrapolated_s=beyond,
            source=source,
            origin_latitude_deg=latitude,
            origin_longitude_deg=longitude,
            origin_altitude_m=altitude,
        )


def _vec3(v: Array) -> tuple[float, float, float]:
    x, y, z = v.tolist()
    return x, y, z


def _identity(stamp_ns: int) -> EgoState:
    return EgoState(
        stamp_ns=stamp_ns,
        position=(0.0, 0.0, 0.0),
        orientation=(0.0, 0.0, 0.0, 1.0),
        velocity=(0.0, 0.0, 0.0),
        angular_rate=(0.0, 0.0, 0.0),
        covariance=(0.0,) * 36,
        velocity_covariance=(0.0,) * 9,
        extrapolated_s=0.0,
        source="none",
    )
