"""Whatever changes, a box's points stay in the box and on its pixels."""

from dataclasses import replace

import numpy as np
import pytest

from fusion_rt.sim.outline import outline
from fusion_rt.train import augment
from fusion_rt.train.augment import LidarChange, WorldChange, change_image, change_lidar, change_world


def project(frame, points):
    camera = points @ frame.T_camera_ego[:3, :3].T + frame.T_camera_ego[:3, 3]
    uvw = camera @ frame.K.T
    return uvw[:, :2] / uvw[:, 2:]


def inside(points, box, margin):
    d = points - box[:3]
    cos, sin = np.cos(box[6]), np.sin(box[6])
    local = np.stack([d[:, 0] * cos + d[:, 1] * sin, d[:, 1] * cos - d[:, 0] * sin, d[:, 2]], axis=1)
    return (np.abs(local) <= box[3:6] / 2 + margin).all(1)


@pytest.mark.parametrize("flip", [False, True])
def test_world_change_keeps_lidar_boxes_and_camera_together(frame, flip):
    change = WorldChange(flip=flip, turn_rad=0.3, scale=1.04, lift_m=0.1)
    changed = change_world(frame, change)
    for before, after in zip(frame.boxes, changed.boxes):
        held = inside(frame.points, before, 0.01)
        np.testing.assert_array_equal(inside(changed.points, after, 0.012)[held], True)
    pixels, new = project(frame, frame.boxes[:, :3]), project(changed, changed.boxes[:, :3])
    mirrored = pixels * [-1, 1] + [640, 0] if flip else pixels
    np.testing.assert_allclose(new, mirrored, atol=1e-2)
    if flip:
        np.testing.assert_array_equal(changed.image, frame.image[:, ::-1])


def test_drawn_changes_stay_in_their_ranges():
    changes = [WorldChange.draw(np.random.default_rng(seed)) for seed in range(200)]
    far = [abs(change.turn_rad) > 0.35 for change in changes]
    assert 0.1 < np.mean(far) < 0.3  # three in ten up to 0.9, of which a third stays within
    for change in changes:
        assert abs(change.turn_rad) <= 0.9
        assert 0.96 <= change.scale <= 1.04
        assert abs(change.lift_m) <= 0.15


def test_rings_are_lost_whole(frame):
    lost = np.zeros(512, bool)
    lost[::2] = True
    change = LidarChange(keep=1.0, ring_rad=0.01, lost_rings=lost, gain=0.5)
    changed = change_lidar(frame, change, np.random.default_rng(0))
    assert 0.3 < len(changed.points) / len(frame.points) < 0.7
    p = changed.points
    elevation = np.arctan2(p[:, 2] - 1.73, np.hypot(p[:, 0], p[:, 1]))
    assert not lost[np.floor(elevation / 0.01).astype(int) + 256].any()
    assert changed.intensity.max() <= 0.5


def test_zoom_moves_the_image_with_its_calibration(frame):
    moved = 0
    for seed in range(20):
        changed = change_image(frame, np.random.default_rng(seed))
        assert changed.image.shape == frame.image.shape
        assert changed.image.dtype == np.uint8
        moved += int(not np.array_equal(changed.K, frame.K))
    assert 9 <= moved <= 19  # zoomed, or the calibration a little wrong: three in four


def test_a_calibration_is_wrong_by_some_pixels_at_most(frame):
    middles = project(frame, frame.boxes[:, :3])
    ahead = frame.boxes[:, :3] @ frame.T_camera_ego[2, :3] + frame.T_camera_ego[2, 3] > 2
    shown = ahead & (middles > 0).all(1) & (middles < [640, 192]).all(1)
    off = [
        (
            project(
                replace(frame, K=augment._misjudged(frame.K, 640, np.random.default_rng(seed))),
                frame.boxes[:, :3],
            )
            - middles
        )[shown]
        for seed in range(100)
    ]
    assert 1 < np.std(off) < 3
    assert np.abs(off).max() < 12


def test_light_falls_on_objects_and_leaves_the_rest_alike(frame):
    """Ratios of brightness between objects and what is around them change, in both directions, and nothing
    else moves."""
    grey = replace(frame, image=np.full_like(frame.image, 90))
    found = [outline(box, grey.K, grey.T_camera_ego) for box in grey.boxes]
    outlines = [pixels for pixels in found if pixels is not None]
    colours = []
    ratios = []
    for seed in range(60):
        lit = augment._light(grey.image, outlines, np.random.default_rng(seed)).astype(float)
        assert lit.shape == grey.image.shape
        for left, top, right, bottom in outlines[:4]:
            inside = lit[max(top, 0) : (top + bottom) // 2, max(left, 0) : right]
            beside = lit[max(top, 0) : bottom, max(2 * left - right, 0) : max(left, 0)]
            if min(inside.size, beside.size) > 300:
                ratios.append(inside.mean() / beside.mean())
                colours.append(np.ptp(inside.mean((0, 1)) / beside.mean((0, 1))))
    assert len(ratios) > 60
    assert min(ratios) < 0.7
    assert max(ratios) > 1.4
    assert max(colours) > 0.2


def test_another_grain_is_another_picture_of_the_same(frame):
    for seed in range(20):
        other = augment._grain(frame.image, np.random.default_rng(seed))
        assert other.dtype == np.uint8
        assert other.shape == frame.image.shape
        assert np.abs(other.astype(int) - frame.image).mean() > 1


def test_the_same_seed_gives_the_same_picture(frame):
    one, two = (change_image(frame, np.random.default_rng(5)).image for _ in range(2))
    np.testing.assert_array_equal(one, two)
