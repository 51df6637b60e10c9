"""The ego's path: smooth, on the ground, in its lane."""

import numpy as np
import pytest

from fusion_rt.sim.path import EgoPath
from fusion_rt.sim.world import World


@pytest.fixture(scope="module")
def driven():
    worlds = (World.generate(seed, behind_m=50.0, ahead_m=200.0) for seed in range(100))
    world = next(w for w in worlds if w.ego.speed > 6.0)
    return world, EgoPath(world, duration_s=8.0, surge=0.06, sway_m=0.15)


def test_starts_where_the_world_has_it_and_keeps_its_lane(driven):
    world, path = driven
    np.testing.assert_allclose(path.pose(0.0)[:3, 3], world.ego_pose(0.0)[:3, 3], atol=0.1)
    centre = world.road.point(np.linspace(-10, 180, 2000), world.ego.d)
    for t in np.linspace(0, 8, 9):
        at = path.pose(t)[:3, 3]
        assert np.linalg.norm(centre[:, :2] - at[:2], axis=1).min() < 0.35
        assert np.abs(centre[:, 2] - at[2]).min() < 0.15


def test_nose_points_along_the_motion(driven):
    _, path = driven
    for t in np.linspace(0, 8, 17):
        forward, velocity = path.pose(t)[:3, 0], path.velocity(t)
        np.testing.assert_allclose(forward[0] * velocity[1], forward[1] * velocity[0], atol=1e-9)
        assert forward @ velocity > 5.0
        step = 1e-4
        difference = (path.pose(t + step)[:3, 3] - path.pose(t - step)[:3, 3]) / (2 * step)
        np.testing.assert_allclose(velocity, difference, atol=1e-6)


def test_acceleration_has_no_steps(driven):
    _, path = driven
    h = 1e-3
    times = np.arange(0.0, 8.0, 0.01)
    acceleration = np.array(
        [(path.pose(t + h)[:3, 3] - 2 * path.pose(t)[:3, 3] + path.pose(t - h)[:3, 3]) / h**2 for t in times]
    )
    assert np.abs(np.diff(acceleration, axis=0)).max() < 0.4  # m/s^2 in 10 ms
    assert np.abs(acceleration).max() < 6.0
