"""Where the ego vehicle is: GNSS fixes, inertial samples, wheel speeds and the lidar's odometry in, the pose
at any stamp out.

Packets come in order of arrival; a fix may be older than the newest sample and is applied at its own time, or
newer and waits for it. Without IMU the fixes alone give position, course and velocity. The odometry, where it
is enabled, corrects the velocity and the gyroscope's bias, and carries the pose where no IMU does: in the map
where it once was known, else in a frame of its own. Without any of them there is no pose, and the filter says
so: `source` is "none" and the pose is the identity.
"""

from __future__ import annotations

import bisect
from collections import Counter, deque
from collections.abc import Sequence
from math import inf

import numpy as np

from fusion_rt.ego.beginning import begin, resume
from fusion_rt.ego.chronology import Chronology
from fusion_rt.ego.config import EgoConfig
from fusion_rt.ego.course import Course, Motion
from fusion_rt.ego.estimate import ego_state, of_ego_frame, unknown
from fusion_rt.ego.geodesy import LocalMap, normal_gravity
from fusion_rt.ego.measured import Measured, Travel
from fusion_rt.ego.navigation import Navigation
from fusion_rt.ego.reckoning import Reckoning
from fusion_rt.ego.strapdown import Sample
from fusion_rt.ego.wheel_speed import Rolled, WheelSpeeds
from fusion_rt.messages import EgoState, GnssFix, ImuSample, Vec3, WheelSpeed
from fusion_rt.rig import Rig
from fusion_rt.transforms import Array

_MAX_FORCE_MPS2, _MAX_RATE_RADPS = 1e3, 1e2  # a broken sensor, not a vehicle
_MAX_STD_M = 1e4
_MAP_M = 1e5  # so far from its origin the map's axes are no longer east, north and up
_FLAT_STD_M = 100.0  # of a 2d fix's altitude
_I4 = np.eye(4)
_SILENT_S = 0.1  # an IMU that is silent for so long no longer tells the motion better than the lidar


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
        self._wheels = WheelSpeeds(rig, config, self.counters)
        self._gap_ns, self._history_ns = gap_ns, int(config.history_s * 1e9)
        self._recent: deque[tuple[int, Sample]] = deque()  # samples without a gap, newest last
        # Fixes, travels and speeds newer than the newest sample.
        self._waiting: list[tuple[Measured | Travel | Rolled, Motion | None]] = []
        self._newest_fix_ns: int | None = None
        self._far_since_ns: int | None = None
        self._course = Course(config)
        self._navigation: Navigation | None = None
        self._reckoning: Reckoning | None = None
        self._frames = 0  # that odometry has begun
        self._reckoning_refused_ns: int | None = None  # the first of the fixes that it refused in a row

    def push(self, packet: ImuSample | GnssFix | WheelSpeed) -> None:
        """Take a packet; one that cannot be used is counted."""
        if isinstance(packet, GnssFix):
            self._push_fix(packet)
        elif isinstance(packet, WheelSpeed):
            self._push_speed(packet)
        elif packet.header.sensor_id == self._imu_id:
            self._push_imu(packet)

    def travel(self, travel: Travel) -> None:
        """Take what the lidar's odometry says of the motion between two sweeps."""
        reckoning = self._reckoning
        if reckoning is None or reckoning.beyond_s(travel.from_ns) > self.config.extrapolate_s:
            self._frames += 1
            reckoning = self._reckoning = Reckoning(self.config, travel.from_ns, self._frames)
        reckoning.add(travel)
        newest = self._recent[-1][0] if self._recent else None
        if newest is not None and travel.stamp_ns <= newest:
            self._use(travel, None)
        elif self._navigation is not None:
            self._wait((travel, None))
        self._place(reckoning)

    def frame_at(self, stamp_ns: int) -> int | None:
        """The frame that `state_at` is in: 0 the map, else a number of the odometry's own; None without a
        pose. In another frame nothing is where it was."""
        known = self._estimator(stamp_ns)
        if known is None:
            return None
        return known.frame if isinstance(known, Reckoning) and not known.placed else 0

    def state_at(self, stamp_ns: int) -> EgoState:
        """The pose at a stamp: exact between samples, after the newest one extrapolated."""
        known = self._estimator(stamp_ns)
        origin = None if self.map is None else self.map.origin
        arm, lost_s = np.zeros(3), self.config.gnss_lost_after_s
        if isinstance(known, Reckoning):
            source = "gnss+odometry" if known.placed and known.fixed_s(stamp_ns) <= lost_s else "odometry"
            origin = origin if known.placed else None
        elif known is None or origin is None:
            return unknown(stamp_ns)
        elif isinstance(known, Course):
            source = "gnss"
        else:
            arm = self._arm
            lost = stamp_ns - known.fixed_ns > lost_s * 1e9
            travelled = known.travelled_ns
            helped = lost and travelled is not None and stamp_ns - travelled <= lost_s * 1e9
            source = "imu+odometry" if helped else "imu" if lost else "imu+gnss"
        return ego_state(stamp_ns, known.at(stamp_ns), arm, source=source, origin=origin)

    def relative(self, stamps_ns: Sequence[int], to_ns: int) -> Array:
        """T_ego(to)_ego(from) (n, 4, 4) for each stamp `from`: moves points seen then into the ego frame at
        `to`; the identity while `state_at` has no pose."""
        earliest, latest = min(*stamps_ns, to_ns), max(*stamps_ns, to_ns)
        known = self._estimator(earliest, latest) if earliest < latest else None
        if known is None:
            still = np.empty((len(stamps_ns), 4, 4))
            still[:] = _I4
            return still
        return known.relative(stamps_ns, to_ns)

    def _estimator(self, *stamps_ns: int) -> Navigation | Course | Reckoning | None:
        """Who can tell the pose at these stamps and between them: the IMU, while it lives or when all others
        ended as well; then the odometry, where it knows the map or nobody does; then the fixes."""
        reach_s, gap_s = self.config.extrapolate_s, self.config.max_gap_s
        course = max(map(self._course.beyond_s, stamps_ns))
        follows = self._course if course <= reach_s else None
        reckoning = self._reckoning
        carried = inf if reckoning is None else max(map(reckoning.beyond_s, stamps_ns))
        carries = carried <= gap_s and reckoning is not None and (reckoning.placed or follows is None)
        if self._navigation is None:
            return reckoning if carries or (follows is None and carried <= reach_s) else follows
        navigation = max(map(self._navigation.beyond_s, stamps_ns))
        if carries and reckoning is not None and reckoning.placed and navigation > max(_SILENT_S, carried):
            return reckoning
        if navigation <= gap_s or (navigation <= reach_s and follows is None):
            return self._navigation
        return reckoning if carries else follows

    def _place(self, reckoning: Reckoning) -> None:
        """Where the newest sweep was taken, by whoever knows better than the odometry."""
        stamp, navigation = reckoning.newest_ns, self._navigation
        if navigation is not None and navigation.beyond_s(stamp) <= _SILENT_S:
            fixed = stamp - navigation.fixed_ns <= self.config.gnss_lost_after_s * 1e9
            if fixed or navigation.contradicted_since_ns is None:
                known = of_ego_frame(navigation.at(stamp), self._arm)
                reckoning.place(known, fixed_ns=navigation.fixed_ns, level=True)
        elif not reckoning.placed and self._course.beyond_s(stamp) <= self.config.extrapolate_s:
            assert self._newest_fix_ns is not None  # the course is made of fixes
            reckoning.place(self._course.at(stamp), fixed_ns=self._newest_fix_ns, level=False)

    def _wait(self, entry: tuple[Measured | Travel | Rolled, Motion | None]) -> None:
        bisect.insort(self._waiting, entry, key=lambda waiting: waiting[0].stamp_ns)
        del self._waiting[:-32]

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
        verdict = self._clocks[receiver].judge(stamp, vouched=self._vouches(stamp))
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
        self._reckon(measured._replace(lever=lever))
        if self._imu_id is None:
            return
        entry = (measured, self._course.motion())
        if newest is not None and stamp <= newest:
            self._use(*entry)
        elif newest is not None and stamp > newest + self._gap_ns:
            self.counters["fix_ahead_of_imu"] += 1
        else:
            self._wait(entry)

    def _push_speed(self, packet: WheelSpeed) -> None:
        newest = self._recent[-1][0] if self._recent else None
        rolled = self._wheels.take(packet, newest, vouched=self._vouches(packet.header.stamp_ns))
        if rolled is None or newest is None:
            return
        if rolled.stamp_ns <= newest:
            self._use(rolled, None)
        else:
            self._wait((rolled, None))

    def _vouches(self, stamp_ns: int) -> bool:
        """Whether the IMU's clock tells about the same time."""
        newest = self._recent[-1][0] if self._recent else None
        return newest is not None and newest - self._history_ns <= stamp_ns <= newest + self._gap_ns

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
        self._reckoning = None
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

    def _reckon(self, fix: Measured) -> None:
        """A fix, lever from the ego frame, to the odometry where it carries the pose."""
        reckoning, navigation = self._reckoning, self._navigation
        if reckoning is None or not reckoning.placed:
            return
        if reckoning.beyond_s(fix.stamp_ns) > self.config.max_gap_s:
            return
        if navigation is not None and navigation.beyond_s(fix.stamp_ns) <= _SILENT_S:
            return
        if reckoning.apply(fix):
            self._reckoning_refused_ns = None
            return
        self.counters["fix_gated"] += 1
        since = self._reckoning_refused_ns = self._reckoning_refused_ns or fix.stamp_ns
        if fix.stamp_ns - since >= self.config.reset_after_s * 1e9:
            self.counters["reset"] += 1
            self._reckoning_refused_ns = None
            reckoning.placed = False  # the fixes' course tells anew where it is

    def _use(self, measured: Measured | Travel | Rolled, motion: Motion | None) -> None:
        if isinstance(measured, Measured):
            self._use_fix(measured, motion)
        elif self._navigation is None:
            return
        elif isinstance(measured, Travel):
            self._use_travel(self._navigation, measured)
        else:
            self._use_speed(self._navigation, measured)

    def _use_travel(self, navigation: Navigation, travel: Travel) -> None:
        """Navigation that has long contradicted the odometry, without a fix to speak for it, is given up."""
        navigation.travel(travel)
        lost = travel.to_ns - navigation.fixed_ns > self.config.gnss_lost_after_s * 1e9
        if lost and navigation.contradicted_s(travel.stamp_ns) >= self.config.reset_after_s:
            self.counters["odometry_reset"] += 1
            self._navigation = None

    def _use_speed(self, navigation: Navigation, told: Rolled) -> None:
        if navigation.holds(told.stamp_ns):
            navigation.roll(self._wheels.scaled(told, navigation.row_at(told.stamp_ns)))

    def _use_fix(self, fix: Measured, motion: Motion | None) -> None:
        if self._navigation is None:
            self._navigation = self._resume(fix) or self._begin(fix, motion)
            return
        self._navigation.apply(fix)
        if self._wheels.listens and self._navigation.refused_since_ns is None:
            self._wheels.fix(fix, self._navigation.at(fix.stamp_ns).row)
        if self._navigation.refused_s(fix.stamp_ns) >= self.config.reset_after_s:
            self.counters["reset"] += 1
            again = self._begin(fix, motion)
            if again is None:
                self._navigation.believe(fix)
            else:
                self._navigation = again

    def _begin(self, fix: Measured, motion: Motion | None) -> Navigation | None:
        if motion is None:
            return None
        return begin(fix, motion, list(self._recent), self.config, self.counters, self._arm)

    def _resume(self, fix: Measured) -> Navigation | None:
        """From where the odometry has carried the pose since the IMU fell silent."""
        known = self._reckoning
        if known is None or not (known.placed and known.level):
            return None
        if known.beyond_s(fix.stamp_ns) > self.config.max_gap_s:
            return None
        recent = list(self._recent)
        return resume(fix, known.at(fix.stamp_ns), recent, self.config, self.counters, self._arm)


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
