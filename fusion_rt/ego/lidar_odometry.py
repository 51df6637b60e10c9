"""How the vehicle moved from sweep to sweep, by the points alone: KISS-ICP (Vizzo et al., "KISS-ICP: In
Defense of Point-to-Point ICP", 2023).

Points in, the motion since the sweep before out. It knows nothing of the filter: its guess is its own last
motion. One thread, so that equal sweeps give equal motions, to the last bit.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from fusion_rt.ego.config import OdometryConfig
from fusion_rt.ego.measured import Travel
from fusion_rt.errors import ConfigError
from fusion_rt.rig import Rig
from fusion_rt.transforms import Array, interpolate

_NO_TIMES = np.zeros(0)  # the points are of one time already
_CONVERGED = 1e-3  # m and rad: ten times theirs, as good in a quarter less of the time
# Nobody may know the motion at the first sweep: it is not deskewed then, and a metre long or short. The next
# ones find it well enough to be deskewed by it, and the map begins anew with the last of these.
_ROUGH_MOVES, _ROUGH = 2, 10.0
_UNKNOWN_M, _KNOWN_M = 2.0, 0.3  # by how much the guess of a motion may be wrong, before and after that
_AT_LEAST_S = 0.01  # a lidar has no such rate: two sweeps so close tell no motion


class LidarOdometry:
    """One lidar's sweeps. `counters` counts those that were refused, by cause.

    lidar: whose sweeps these are. Raises ConfigError where KISS-ICP is not installed, or the rig has no such
    lidar."""

    def __init__(self, config: OdometryConfig, rig: Rig) -> None:
        if not rig.lidars:
            raise ConfigError("ego.odometry: enabled, but the rig has no lidar")
        self.lidar = config.lidar or next(iter(rig.lidars))
        if self.lidar not in rig.lidars:
            raise ConfigError(
                f"ego.odometry.lidar: {self.lidar!r} is none of the rig's lidars: {', '.join(rig.lidars)}"
            )
        self.counters: Counter[str] = Counter()
        self._config = config
        self._icp: Any = _kiss_icp(config)
        self._stamp_ns: int | None = None
        self._moved, self._moved_s = np.eye(4), 0.1  # the last motion, and in which time
        self._moves = 0  # of this map

    def restart(self) -> None:
        """Nothing from before belongs to what comes."""
        self._begin()

    def push(self, stamp_ns: int, xyz: Array) -> Travel | None:
        """The motion since the sweep before; None for the first one of a map and for one that is refused.

        xyz: (N, 3) float32, m, in the ego frame at stamp_ns, deskewed; N may be 0, and what is not finite is
        left out."""
        config = self._config
        # In this order: a third of the points stand up from the ground. NaN is not above it.
        upright = xyz[xyz[:, 2] > config.ground_m]
        square = np.einsum("ij,ij->i", upright, upright)
        near = upright[(square >= config.min_range_m**2) & (square <= config.max_range_m**2)]
        registered, points = self._icp.voxelize(near.astype(np.float64))
        if len(registered) < config.min_points:
            self.counters["few_points"] += 1
            return None
        since_s = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) / 1e9
        if self._stamp_ns is not None and not _AT_LEAST_S <= since_s <= config.max_gap_s:
            self.counters["gap"] += 1
            self._begin()
        before_ns = self._stamp_ns
        # Sweeps may lack: the last motion is as long as its own time.
        guess = interpolate(np.eye(4), self._moved, since_s / self._moved_s)
        self._icp.last_delta = guess
        self._icp.register_frame(points, _NO_TIMES)
        self._stamp_ns = stamp_ns
        if before_ns is None:
            return None
        T_from_to: Array = self._icp.last_delta
        if not self._plausible(T_from_to, since_s):
            self.counters["implausible"] += 1
            self._begin()  # its map holds a sweep in a wrong place
            return None
        self._moved, self._moved_s = T_from_to, since_s
        self._moves += 1
        rough = _ROUGH if self._moves <= _ROUGH_MOVES else 1.0
        if self._moves == _ROUGH_MOVES:
            self._icp = _kiss_icp(config, _KNOWN_M)
            self._icp.register_frame(points, _NO_TIMES)
        position_std, rotation_std = config.position_std_m * rough, config.rotation_std_rad * rough
        return Travel(before_ns, stamp_ns, T_from_to, position_std, rotation_std)

    def _plausible(self, T_from_to: Array, since_s: float) -> bool:
        """Whether a vehicle moves so: not faster and not more suddenly than it can; NaN is neither."""
        velocity, before = T_from_to[:3, 3] / since_s, self._moved[:3, 3] / self._moved_s
        if not float(np.linalg.norm(velocity)) <= self._config.max_speed_mps:
            return False
        noise = 6.0 * self._config.position_std_m / min(since_s, self._moved_s)
        change = float(np.linalg.norm(velocity - before))
        return self._moves <= _ROUGH_MOVES or change <= self._config.max_change_mps2 * since_s + noise

    def _begin(self) -> None:
        self._icp, self._stamp_ns = _kiss_icp(self._config), None
        self._moved, self._moved_s, self._moves = np.eye(4), 0.1, 0


def _kiss_icp(config: OdometryConfig, guess_m: float = _UNKNOWN_M) -> Any:
    """guess_m: by how much the first guess may be wrong."""
    try:
        from kiss_icp.config import KISSConfig  # an extra
        from kiss_icp.config.config import (
            AdaptiveThresholdConfig,
            DataConfig,
            MappingConfig,
            RegistrationConfig,
        )
        from kiss_icp.kiss_icp import KissICP
    except ImportError as error:
        raise ConfigError(
            f"ego.odometry: lidar odometry is KISS-ICP's: pip install 'fusion-rt[odometry]' ({error})"
        ) from error
    data = DataConfig(deskew=False, min_range=0.0, max_range=config.max_range_m)
    mapping = MappingConfig(voxel_size=config.voxel_m)
    registration = RegistrationConfig(max_num_threads=1, convergence_criterion=_CONVERGED)
    threshold = AdaptiveThresholdConfig(initial_threshold=guess_m)
    return KissICP(
        KISSConfig(data=data, mapping=mapping, registration=registration, adaptive_threshold=threshold)
    )
