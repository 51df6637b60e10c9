"""The rectangle around a box in an image holds the box, touches it, and is nowhere for what lies behind."""

import itertools

import numpy as np

from fusion_rt.sim.outline import outline

K = np.array([[500.0, 0, 320], [0, 500, 96], [0, 0, 1]])
# A camera at the ego's origin, looking ahead: x right, y down, z forward.
T_CAMERA_EGO = np.array([[0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1.0]])


def test_a_cube_ahead_is_seen_where_its_near_face_is():
    # The near face of a 2 m cube 11 m ahead is 10 m away: 500 px / 10 m * 1 m on either side.
    assert outline(np.array([11.0, 0, 0, 2, 2, 2, 0]), K, T_CAMERA_EGO) == (270, 46, 370, 146)


def test_all_corners_lie_in_the_outline_and_reach_its_sides():
    rng = np.random.default_rng(3)
    sides = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    for _ in range(50):
        box = np.concatenate(
            [rng.uniform((6, -8, -2), (40, 8, 1)), rng.uniform(0.5, 4, 3), rng.uniform(-3, 3, 1)]
        )
        cos, sin = np.cos(box[6]), np.sin(box[6])
        corners = sides * box[3:6] @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) + box[:3]
        seen = (corners @ T_CAMERA_EGO[:3, :3].T) @ K.T
        u, v = seen[:, 0] / seen[:, 2], seen[:, 1] / seen[:, 2]
        left, top, right, bottom = outline(box, K, T_CAMERA_EGO)
        np.testing.assert_allclose((left, top, right, bottom), (u.min(), v.min(), u.max(), v.max()), atol=1)
        assert left <= u.min() <= u.max() <= right
        assert top <= v.min() <= v.max() <= bottom


def test_what_reaches_behind_the_camera_has_no_outline():
    assert outline(np.array([-11.0, 0, 0, 2, 2, 2, 0]), K, T_CAMERA_EGO) is None
    assert outline(np.array([1.0, 0, 0, 2, 2, 2, 0]), K, T_CAMERA_EGO) is None
