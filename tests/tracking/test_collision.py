"""Time to collision, as messages tell it, against polygons that are moved in small steps and intersected."""

import cv2
import numpy as np
import pytest
from msgspec.structs import replace

from fusion_rt.rig import Vehicle
from fusion_rt.tracking.objects import tracked_objects
from fusion_rt.tracking.tracks import SPEED, YAW, track_dtype

VEHICLE = Vehicle(front_m=2.7, rear_m=1.8, width_m=1.9)
HORIZON_S, STEP_S = 6.0, 0.05


@pytest.fixture
def times(streams):
    """Of objects at (n, 3) x y yaw, (n, 2) length width, (n,) speeds along yaw; our velocity (2,)."""

    def ask(poses, sizes, speeds, ego_velocity):
        tracks = np.zeros(len(poses), track_dtype(3, 3))
        tracks["state"][:, [0, 1, YAW]], tracks["state"][:, SPEED] = poses, speeds
        tracks["size"][:, :2] = sizes
        about = streams.seen_from(np.eye(4), stamp_ns=0)
        about |= {"vehicle": VEHICLE, "ego": replace(about["ego"], velocity=(*ego_velocity, 0.0))}
        return [message.time_to_collision_s for message in tracked_objects(tracks, **about)]

    return ask


def corners(center, yaw, length, width):
    c, s = np.cos(yaw), np.sin(yaw)
    local = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * (length / 2, width / 2)
    return local @ np.array([[c, s], [-s, c]]) + center


def brute_force(center, yaw, size, velocity, grow):
    """First time at which the polygons overlap, each grown by `grow` m on every side; velocity: relative."""
    ego = corners((0.45, 0.0), 0.0, 4.5 + 2 * grow, 1.9 + 2 * grow)
    for t in np.arange(0.0, HORIZON_S + 1e-9, STEP_S):
        at = np.array(center) + np.array(velocity) * t
        there = corners(at, yaw, size[0] + 2 * grow, size[1] + 2 * grow)
        area, _ = cv2.intersectConvexConvex(ego.astype(np.float32), there.astype(np.float32))
        if area > 1e-6:
            return t
    return None


def test_against_moved_polygons(times):
    rng = np.random.default_rng(3)
    n = 80
    centers = rng.uniform(-25, 25, (n, 2))
    wanted = -centers / rng.uniform(1, 6, (n, 1)) + rng.normal(0, 1.5, (n, 2)) + (1.5, 0.0)
    yaws, speeds = np.arctan2(wanted[:, 1], wanted[:, 0]), np.hypot(*wanted.T)
    backwards = rng.random(n) < 0.3
    yaws, speeds = yaws + np.pi * backwards, np.where(backwards, -speeds, speeds)
    sizes = rng.uniform([0.5, 0.5], [5.0, 2.5], (n, 2))
    got = times(np.column_stack([centers, yaws]), sizes, speeds, (1.5, 0.0))
    hits = 0
    for i in range(n):
        args = (centers[i], yaws[i], sizes[i], wanted[i] - (1.5, 0.0))
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
    ("center", "speed", "ego", "expected"),
    [
        ((30.0, 0.0), 0.0, (10.0, 0.0), 2.55),  # (30 - 2 - 2.7) / 10, rounded up to a step
        ((2.0, 0.0), 0.0, (0.0, 0.0), 0.0),
        ((30.0, 5.0), 0.0, (10.0, 0.0), None),
        ((30.0, 0.0), 10.0, (10.0, 0.0), None),
        ((-30.0, 0.0), 20.0, (10.0, 0.0), 2.65),  # from behind: (30 - 2 - 1.8) / 10
        ((200.0, 0.0), 0.0, (10.0, 0.0), None),  # beyond the horizon
    ],
)
def test_by_hand(times, center, speed, ego, expected):
    got = times(np.array([[*center, 0.0]]), np.array([[4.0, 1.8]]), speed, ego)
    assert got == [pytest.approx(expected) if expected is not None else None]


def test_nobody_there(times):
    assert times(np.zeros((0, 3)), np.zeros((0, 2)), 0.0, (0.0, 0.0)) == []
