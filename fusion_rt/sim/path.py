"""The ego vehicle's way through a world: smooth enough to be felt by an IMU."""

from __future__ import annotations

import math

import numpy as np

from fusion_rt.sim.world import World
from fusion_rt.transforms import Array, from_translation_rpy, rpy_from_matrix

_KNOT_S = 0.2
# Rows: powers 0..3 of the position between two knots; columns: the four control points around it.
_BASIS = (
    np.array([[1.0, 4.0, 1.0, 0.0], [-3.0, 0.0, 3.0, 0.0], [3.0, -6.0, 3.0, 0.0], [-1.0, 3.0, -3.0, 1.0]]) / 6
)


class EgoPath:
    """Along the ego's lane with a little play in speed and in the lane.

    Position, roll and pitch are uniform cubic B-splines in time through the ground's pose every 0.2 s, so
    that acceleration is continuous; the nose points along the motion.
    """

    def __init__(self, world: World, *, duration_s: float, surge: float, sway_m: float) -> None:
        """surge: share by which the speed swings, period 7 s; sway_m: amplitude in the lane, period 9 s."""
        self._start = -2.0
        times = np.arange(self._start - _KNOT_S, duration_s + 2.0, _KNOT_S)
        omega, slow = 2 * math.pi / 7.0, 2 * math.pi / 9.0
        s = world.ego.speed * (times + surge / omega * (1.0 - np.cos(omega * times)))
        d = world.ego.d + sway_m * np.sin(slow * times)
        poses = [world.road.pose(float(a), float(b), 0.0, smooth=True) for a, b in zip(s, d)]
        self._control = np.array([[*T[:3, 3], *rpy_from_matrix(T[:3, :3])[:2]] for T in poses])

    def pose(self, t_s: float) -> Array:
        """T_world_ego (4, 4) at a time from -2 s to 2 s after the end."""
        (x, y, z, roll, pitch), velocity = self._spline(t_s)
        yaw = math.atan2(velocity[1], velocity[0])
        return from_translation_rpy((x, y, z), (roll, pitch, yaw))

    def velocity(self, t_s: float) -> Array:
        """(3,) m/s in the world frame."""
        velocity: Array = self._spline(t_s)[1][:3]
        return velocity

    def _spline(self, t_s: float) -> tuple[Array, Array]:
        """x y z roll pitch and their rates."""
        knot, u = divmod((t_s - self._start) / _KNOT_S, 1.0)
        near = _BASIS @ self._control[int(knot) : int(knot) + 4]
        return np.array([1, u, u * u, u**3]) @ near, np.array([0, 1, 2 * u, 3 * u * u]) @ near / _KNOT_S
