"""Time to collision: when an object's footprint meets ours if both go on as they do."""

from __future__ import annotations

import math

import numpy as np

from fusion_rt.rig import Vehicle
from fusion_rt.transforms import Array

HORIZON_S, STEP_S = 6.0, 0.05


def time_to_collision(
    centers: Array, yaws: Array, sizes: Array, velocities: Array, ego_velocity: Array, vehicle: Vehicle
) -> list[float | None]:
    """Seconds until the oriented footprints touch, None if not within 6 s; 0.0 where they touch now.

    centers (n, 2) m, yaws (n,), sizes (n, 2) length and width, velocities (n, 2) over ground, all in the ego
    frame; ego_velocity (2,). Two rectangles are apart where one of their four axes separates them.
    """
    if len(centers) == 0:
        return []
    middle = np.array([(vehicle.front_m - vehicle.rear_m) / 2, 0.0])
    half_ego = (vehicle.front_m + vehicle.rear_m) / 2, vehicle.width_m / 2
    between, relative = centers - middle, velocities - ego_velocity
    times: list[float | None] = [None] * len(centers)
    near = _come_near(between, relative, math.hypot(*half_ego) + np.hypot(sizes[:, 0], sizes[:, 1]) / 2)
    if len(near) == 0:
        return times
    yaws, sizes = yaws[near], sizes[near]
    t = np.arange(0.0, HORIZON_S + STEP_S / 2, STEP_S)
    d = between[near, None] + relative[near, None] * t[None, :, None]  # (n, T, 2)
    c, s = np.cos(yaws)[:, None], np.sin(yaws)[:, None]
    half_l, half_w = sizes[:, 0, None] / 2, sizes[:, 1, None] / 2
    ac, as_ = np.abs(c), np.abs(s)
    touch = np.abs(d[..., 0]) <= half_ego[0] + half_l * ac + half_w * as_
    touch &= np.abs(d[..., 1]) <= half_ego[1] + half_l * as_ + half_w * ac
    touch &= np.abs(d[..., 0] * c + d[..., 1] * s) <= half_l + half_ego[0] * ac + half_ego[1] * as_
    touch &= np.abs(d[..., 1] * c - d[..., 0] * s) <= half_w + half_ego[0] * as_ + half_ego[1] * ac
    for i, k, hit in zip(near.tolist(), np.argmax(touch, axis=1).tolist(), touch.any(axis=1).tolist()):
        if hit:
            times[i] = float(t[k])
    return times


def _come_near(between: Array, relative: Array, radii: Array) -> Array:
    """Which of the offsets (n, 2) m that move at (n, 2) m/s come within `radii` (n,) m in time, as indices:
    the rectangles of all others stay apart."""
    x, y = between.T
    vx, vy = relative.T
    closest = -(x * vx + y * vy) / np.maximum(vx * vx + vy * vy, 1e-12)
    closest = np.minimum(np.maximum(closest, 0.0), HORIZON_S)
    distance = np.hypot(x + vx * closest, y + vy * closest)
    near: Array = (distance <= 1.001 * radii).nonzero()[0]  # rounding loses none
    return near
