"""Where the ego vehicle is: GNSS fixes and inertial samples in, the pose at any stamp out.

Packets come in order of arrival; a fix may be older than the newest sample and is applied at its own time, or
newer and waits for it. Without IMU the fixes alone give position, course and velocity; without fixes there is
no pose, and the filter says so: `source` is "none" and the pose is the identity.
"""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np

from fusion_rt.ego.beginning import begin
from fusion_rt.ego.chronology import Chronology
from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.course import Course, Motion
from fusion_rt.ego.estimate import ego_state, unknown
from fusion_rt.ego.geodesy import LocalMap, normal_gravity
from fusion_rt.ego.measured import Measured
from fusion_rt.ego.navigation import Navigation
from fusion_rt.ego.strapdown import Sample
from fusion_rt.messages import EgoState, GnssFix, ImuSample, Vec3
from fusion_rt.rig import Rig
from fusion_rt.transforms import Array

_MAX_FORCE_MPS2, _MAX_RATE_RADPS = 1e3, 1e2  # a broken sensor, not a vehicle
_MAX_STD_M = 1e4
_MAP_M = 1e5  # so far from its origin the map's axes are no longer east, north and up
_FLAT_STD_M = 100.0  # of a 2d fix's altitude


class EgoFilter:
    """One vehicle. Pure: equal packets give equal poses. `counters` counts what was refused, by cause.

    It is taken to drive forwards when it begins: then the course over ground is its heading."""

    def __init__(self, rig: Rig, config: EgoConfig) -> None:
        self.config = config
        self.counters: Counter[str] = Counter()
        self.map: LocalMap | None = None
        self._receivers = {name: np.array(gnss.lever_arm) for name, gnss in rig.gnss.items()}
        self._imu_id = next(iter(rig.imus), None)  # one IMU navigates; others are recorded only
        T_ego_imu = np.eye(4) if self._imu_id is None else rig.imus[self._imu_id].T_ego_imu
        self._rows_ego_imu: list[list[float]] = T_ego_imu[:3, :3].tolist()
        self._arm = T_ego_imu[:3, 3]
        gap_ns = int(config.max_gap_s * 1e9)
        self._imu_clock = Chronology(min_step_ns=200_000, max_step_ns=gap_ns)
        self._clocks = {
            name: Chronology(min_step_ns=10_000_000, max_step_ns=5_000_000_000) for name in self._receivers
        }
        self._gap_ns, self._history_ns = gap_ns, int(config.history_s * 1e9)
        self._recent: deque[tuple[int, Sample]] = deque()  # samples without a gap, newest last
        self._waiting: list[tuple[Measured, Motion | None]] = []  # fixes newer than the newest sample
        self._newest_fix_ns: int | None = None
        self._far_since_ns: int | None = None
        self._course = Course(config)
        self._navigation: Navigation | None = None

    def push(self, packet: ImuSample | GnssFix) -> None:
        """Take a packet; one that cannot be used is counted."""
        if isinstance(packet, GnssFix):
            self._push_fix(packet)
        elif packet.header.sensor_id == self._imu_id:
            self._push_imu(packet)

    def state_at(self, stamp_ns: int) -> EgoState:
        """The pose at a stamp: exact between samples, after the newest one extrapolated."""
        known = self._estimator(stamp_ns)
        if known is None or self.map is None:
            return unknown(stamp_ns)
        if isinstance(known, Course):
            arm, source = np.zeros(3), "gnss"
        else:
            arm = self._arm
            lost = stamp_ns - known.fixed_ns > self.config.gnss_lost_after_s * 1e9
            source = "imu" if lost else "imu+gnss"
        return ego_state(stamp_ns, known.at(stamp_ns), arm, source=source, origin=self.map.origin)

    def relative(self, stamps_ns: Sequence[int], to_ns: int) -> Array:
        """T_ego(to)_ego(from) (n, 4, 4) for each stamp `from`: moves points seen then into the ego frame at
        `to`; the identity while `state_at` has no pose."""
        moving = any(stamp != to_ns for stamp in stamps_ns)
        known = self._estimator(*stamps_ns, to_ns) if moving else None
        if known is None:
            return np.tile(np.eye(4), (len(stamps_ns), 1, 1))
        if isinstance(known, Course):
            return known.relative(stamps_ns, to_ns)
        return known.relative(stamps_ns, to_ns, self._arm)

    def _estimator(self, *stamps_ns: int) -> Navigation | Course | None:
        """Who can tell the pose at all these stamps: the IMU, while it lives or when the fixes ended as
        well."""
        course = max(map(self._course.beyond_s, stamps_ns))
        follows = self._course if course <= self.config.extrapolate_s else None
        if self._navigation is None:
            return follows
        navigation = max(map(self._navigation.beyond_s, stamps_ns))
        if navigation <= self.config.max_gap_s or (
            navigation <= self.config.extrapolate_s and follows is None
        ):
            return self._navigation
        return follows

    def _push_imu(self, packet: ImuSample) -> None:
        stamp = packet.header.stamp_ns
        (fx, fy, fz), (wx, wy, wz) = packet.specific_force, packet.angular_rate
        # Written so that NaN fails as well.
        if not (
            (abs(fx) < _MAX_FORCE_MPS2 and abs(fy) < _MAX_FORCE_MPS2 and abs(fz) < _MAX_FORCE_MPS2)
            and (abs(wx) < _MAX_RATE_RADPS and abs(wy) < _MAX_RATE_RADPS and abs(wz) < _MAX_RATE_RADPS)
        ):
            self.counters["imu_malformed"] += 1
            return
        fixed = self._newest_fix_ns
        verdict = self._imu_clock.judge(
            stamp, vouched=fixed is not None and abs(stamp - fixed) <= self._gap_ns
        )
        if verdict not in ("", "jump"):
            self.counters[f"imu_{verdict}"] += 1
            return
        if verdict or (self._recent and stamp - self._recent[-1][0] > self._gap_ns):
            # Nobody knows what happened meanwhile: dead reckoning begins anew.
            self.counters["imu_gap"] += 1
            self._navigation = None
            self._recent.clear()
            self._waiting.clear()
        # Turned into ego axes, in plain floats.
        a, b, c = self._rows_ego_imu
        sample = (*_dot(a, b, c, fx, fy, fz), *_dot(a, b, c, wx, wy, wz))
        self._recent.append((stamp, sample))
        while self._recent[0][0] < stamp - self._history_ns - 1_500_000_000:
            self._recent.popleft()
        if self._navigation is not None:
            self._navigation.add(stamp, sample)
        while self._waiting and self._waiting[0][0].stamp_ns <= stamp:
            self._use(*self._waiting.pop(0))

    def _push_fix(self, fix: GnssFix) -> None:
        stamp, receiver = fix.header.stamp_ns, fix.header.sensor_id
        if receiver not in self._receivers:
            self.counters["fix_unknown_receiver"] += 1
            return
        if fix.fix_type == "none":
            self.counters["fix_none"] += 1
            return
        if not _is_sound(fix):
            self.counters["fix_malformed"] += 1
            return
        newest = self._recent[-1][0] if self._recent else None
        vouched = newest is not None and newest - self._history_ns <= stamp <= newest + self._gap_ns
        verdict = self._clocks[receiver].judge(stamp, vouched=vouched)
        if verdict not in ("", "jump"):
            self.counters[f"fix_{verdict}"] += 1
            return
        if verdict:
            self.counters["fix_jump"] += 1
            self._course = Course(self.config)
        local_map = self._map_for(fix)
        if local_map is None:
            self.counters["fix_far"] += 1
            return
        self._newest_fix_ns = stamp
        measured = self._measured(fix, local_map)
        moved = (
            None
            if measured.velocity is None
            else (measured.velocity, float(measured.velocity_noise[0, 0]) ** 0.5)
        )
        lever = self._receivers[receiver]
        self._course.add(stamp, measured.position, measured.position_noise, velocity=moved, lever=lever)
        if self._imu_id is None:
            return
        entry = (measured, self._course.motion())
        if newest is not None and stamp <= newest:
            self._use(*entry)
        elif newest is not None and stamp > newest + self._gap_ns:
            self.counters["fix_ahead_of_imu"] += 1
        else:
            bisect.insort(self._waiting, entry, key=lambda waiting: waiting[0].stamp_ns)
            del self._waiting[:-32]

    def _map_for(self, fix: GnssFix) -> LocalMap | None:
        """The map, made at the first fix; None for a fix far outside of it, unless many agree: then the first
        one was wrong, and all begins anew."""
        here = (fix.latitude_deg, fix.longitude_deg, fix.altitude_m)
        if self.map is None:
            self.map = LocalMap(*here)
        if float(np.linalg.norm(self.map.to_enu(*here))) < _MAP_M:
            self._far_since_ns = None
            return self.map
        if self._far_since_ns is None:
            self._far_since_ns = fix.header.stamp_ns
        if fix.header.stamp_ns - self._far_since_ns < self.config.reset_after_s * 1e9:
            return None
        self._far_since_ns = None
        self._navigation, self._course, self.map = None, Course(self.config), LocalMap(*here)
        self._waiting.clear()
        return self.map

    def _measured(self, fix: GnssFix, local_map: LocalMap) -> Measured:
        """The fix in the map, no better than the configuration believes."""
        R = local_map.axes_at(fix.latitude_deg, fix.longitude_deg)
        noise = R @ np.array(fix.position_covariance).reshape(3, 3) @ R.T
        noise = 0.5 * (noise + noise.T)
        if fix.fix_type == "2d":
            noise[2, 2] += _FLAT_STD_M**2
        diagonal = noise.ravel()[::4]
        np.maximum(diagonal + 1e-6, self.config.position_floor_m**2, out=diagonal)
        std = max(fix.velocity_std or 0.3, self.config.velocity_floor_mps)
        return Measured(
            stamp_ns=fix.header.stamp_ns,
            position=local_map.to_enu(fix.latitude_deg, fix.longitude_deg, fix.altitude_m),
            position_noise=noise,
            velocity=None if fix.velocity_enu is None else R @ np.array(fix.velocity_enu),
            velocity_noise=np.eye(3) * std**2,
            lever=self._receivers[fix.header.sensor_id] - self._arm,
            gravity=_vec3(-normal_gravity(fix.latitude_deg, fix.altitude_m) * R[:, 2]),
        )

    def _use(self, fix: Measured, motion: Motion | None) -> None:
        if self._navigation is None:
            self._navigation = self._begin(fix, motion)
            return
        self._navigation.apply(fix)
        if self._navigation.refused_s(fix.stamp_ns) >= self.config.reset_after_s:
            self.counters["reset"] += 1
            again = self._begin(fix, motion)
            if again is None:
                self._navigation.believe(fix)
            else:
                self._navigation = again

    def _begin(self, fix: Measured, motion: Motion | None) -> Navigation | None:
        return None if motion is None else begin(fix, motion, list(self._recent), self.config, self.counters)


def _is_sound(fix: GnssFix) -> bool:
    """Whether the numbers can be those of a place on Earth."""
    covariance = np.array(fix.position_covariance).reshape(3, 3)
    numbers = (fix.altitude_m, *covariance.flat, *(fix.velocity_enu or ()), fix.velocity_std or 0.0)
    if not (abs(fix.latitude_deg) <= 90 and abs(fix.longitude_deg) <= 180 and np.isfinite(numbers).all()):
        return False
    if abs(fix.altitude_m) > _MAP_M or np.abs(covariance).max() > _MAX_STD_M**2:
        return False
    if fix.velocity_enu is not None and np.abs(fix.velocity_enu).max() > _MAX_FORCE_MPS2:
        return False
    lowest = float(np.linalg.eigvalsh(0.5 * (covariance + covariance.T))[0])
    return lowest >= -1e-9 * max(1.0, float(np.abs(covariance).max()))


def _dot(a: list[float], b: list[float], c: list[float], x: float, y: float, z: float) -> Vec3:
    """Each of the rows a, b, c times the vector (x, y, z)."""
    return (
        a[0] * x + a[1] * y + a[2] * z,
        b[0] * x + b[1] * y + b[2] * z,
        c[0] * x + c[1] * y + c[2] * z,
    )


def _vec3(v: Array) -> Vec3:
    x, y, z = v.tolist()
    return x, y, z
