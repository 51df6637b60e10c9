"""Against polygons that are moved in small steps and intersected."""

import cv2
import numpy as np
import pytest

from fusion_rt.rig import Vehicle
from fusion_rt.tracking.collision import HORIZON_S, STEP_S, time_to_collision

VEHICLE = Vehicle(front_m=2.7, rear_m=1.8, width_m=1.9)


def corners(center, yaw, length, width):
    c, s = np.cos(yaw), np.sin(yaw)
    local = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (length / 2, width / 2)
    return local @ np.array([[c, s], [-s, c]]) + center


def brute_force(center, yaw, size, velocity, ego_velocity, grow):
    """First time at which the polygons overlap, each grown by `grow` m on every side."""
    ego = corners((0.45, 0.0), 0.0, 4.5 + 2 * grow, 1.9 + 2 * grow)
    for t in np.arange(0.0, HORIZON_S + 1e-9, STEP_S):
        at = np.array(center) + (np.array(velocity) - ego_velocity) * t
        there = corners(at, yaw, size[0] + 2 * grow, size[1] + 2 * grow)
        area, _ = cv2.intersectConvexConvex(ego.astype(np.float32), there.astype(np.float32))
        if area > 1e-6:
            return t
    return None


def test_against_moved_polygons():
    rng = np.random.default_rng(3)
    n = 60
    centers, yaws = rng.uniform(-25, 25, (n, 2)), rng.uniform(-np.pi, np.pi, n)
    sizes = rng.uniform([0.5, 0.5], [5.0, 2.5], (n, 2))
    velocities = -centers / rng.uniform(1, 6, (n, 1)) + rng.normal(0, 1.5, (n, 2))
    ego = np.array([1.5, 0.0])
    got = time_to_collision(centers, yaws, sizes, velocities + ego, ego, VEHICLE)
    hits = 0
    for i in range(n):
        args = (centers[i], yaws[i], sizes[i], velocities[i] + ego, ego)
        # The oracle's float32 corners are good to a millimetre: a touch lies between shrunk and grown boxes.
        early, late = brute_force(*args, grow=0.005), brute_force(*args, grow=-0.005)
        if late is not None:
            assert got[i] is not None
            assert early - 1e-9 <= got[i] <= late + 1e-9
            hits += 1
        elif early is None:
            assert got[i] is None
    assert 15 < hits < n


@pytest.mark.parametrize(
    ("center", "velocity", "ego", "expected"),
    [
        ((30.0, 0.0), (0.0, 0.0), (10.0, 0.0), 2.55),  # (30 - 2 - 2.7) / 10, rounded up to a step
        ((2.0, 0.0), (0.0, 0.0), (0.0, 0.0), 0.0),
        ((30.0, 5.0), (0.0, 0.0), (10.0, 0.0), None),
        ((30.0, 0.0), (10.0, 0.0), (10.0, 0.0), None),
        ((-30.0, 0.0), (20.0, 0.0), (10.0, 0.0), 2.65),  # from behind: (30 - 2 - 1.8) / 10
        ((200.0, 0.0), (0.0, 0.0), (10.0, 0.0), None),  # beyond the horizon
    ],
)
def test_by_hand(center, velocity, ego, expected):
    got = time_to_collision(
        np.array([center]), np.zeros(1), np.array([[4.0, 1.8]]), np.array([velocity]), np.array(ego), VEHICLE
    )
    assert got == [pytest.approx(expected) if expected is not None else None]


def test_nobody_there():
    nothing = np.zeros((0, 2))
    assert time_to_collision(nothing, np.zeros(0), nothing, nothing, np.zeros(2), VEHICLE) == []
