"""How far a lidar sees, of a few points whose answer is known."""

import numpy as np
import pytest

from fusion_rt.sim.sight import report, sight


def frame():
    """Free ground ahead, a wall 15 m away on the left, something behind it and something overhead."""
    turn = np.radians(np.arange(-39.5, 40))
    ground = np.array([[d * np.cos(a), d * np.sin(a), 0.0] for a in turn for d in (12.0, 25.0, 25.5)])
    wall = np.array([[15 * np.cos(a), 15 * np.sin(a), 1.0] for a in turn[40:]])
    behind = np.array([[30.0, 20.0, 2.0], [30.0, 45.0, 2.0], [10.0, 20.0, 2.0], [5.0, 0.0, 5.0]])
    points = np.concatenate([ground, wall, behind])
    intensity = np.concatenate(
        [np.full(len(ground), 0.2), np.full(len(wall), 0.5), np.full(len(behind), 0.1)]
    )
    return sight(points, intensity)


def test_directions_ground_and_what_is_behind():
    told = frame()
    # The bridge overhead is no obstacle.
    np.testing.assert_allclose(told.blocked, [0, 0.5, 0.5], atol=1 / 80)
    assert told.behind == 1
    # Up to 20 m only the right half is free; of it one point a degree there, two farther on, none at 30 m.
    np.testing.assert_array_equal(told.ground, [[40, 40], [80, 40], [0, 40]])


def test_brightness_is_of_the_road_and_of_what_stands():
    told = frame()
    total, count = told.standing.sum(0)
    assert count == 40 + 2  # the wall, and what stands at 22 m and at 36 m
    assert total == pytest.approx(40 * 0.5 + 2 * 0.1)
    assert told.road[1].tolist() == pytest.approx([0.2 * told.road[1, 1], 28])  # within 3 m aside at 12 m


def test_the_report_sums_frames_and_says_where_there_are_none():
    text = report([frame(), frame()], [])
    assert "| directions with an obstacle within 20 m | 50 % | - |" in text
    assert "| points of free ground a degree, 20 to 30 m | 2.0 | - |" in text
    assert "| points of free ground a degree, 30 to 40 m | 0.0 | - |" in text
    assert "| intensity of the road, 30 to 50 m | - | - |" in text


def test_a_frame_without_points():
    told = sight(np.zeros((0, 3)), np.zeros(0))
    assert told.blocked.tolist() == [0, 0, 0]
    assert told.ground[:, 0].sum() == 0
