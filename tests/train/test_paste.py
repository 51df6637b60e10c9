"""Pasted objects stand free, hide what is behind them and look as they did."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fusion_rt.metrics.boxes import bev_iou, in_box_frame
from fusion_rt.models.presets import DRIVING_S
from fusion_rt.sim.frame_files import read_scene
from fusion_rt.train.paste import _put, cut_out, hidden, paste
from fusion_rt.train.samples import SceneBatches, Use


def held(points, box, margin=0.01):
    return (np.abs(in_box_frame(points, box)) <= box[3:6] / 2 + margin).all(1)


@pytest.fixture
def donor(tmp_path, write_scene):
    return read_scene(write_scene(tmp_path / "donor.npz", seed=11, objects=8, length=3))


@pytest.fixture
def host(tmp_path, write_scene):
    return read_scene(write_scene(tmp_path / "host.npz", seed=12, objects=3, length=3))


def pasted_into(host, donor, *, camera):
    """Of the first seed by which something is pasted."""
    for seed in range(20):
        changed = paste(host, donor, np.random.default_rng(seed), camera=camera)
        if len(changed.now.boxes) > len(host.now.boxes):
            return changed
    raise AssertionError("nothing was pasted")


@pytest.mark.parametrize("camera", [False, True])
def test_a_pasted_object_stands_free_with_its_points(host, donor, camera):
    changed = pasted_into(host, donor, camera=camera)
    for before, after in (
        (host.now, changed.now),
        (host.previous, changed.previous),
        (host.earlier[0][0], changed.earlier[0][0]),
    ):
        n = len(before.boxes)
        np.testing.assert_array_equal(after.boxes[:n], before.boxes)
        assert len(after.cls) == len(after.npoints) == len(after.visible) == len(after.boxes) > n
        iou = bev_iou(after.boxes, after.boxes)
        assert (iou[n:] - np.eye(len(iou))[n:]).max() < 1e-6
        for box, count in zip(after.boxes[n:], after.npoints[n:]):
            inside = held(after.points, box)
            assert count >= 10
            assert np.count_nonzero(inside) >= count
            assert abs(box[2] - box[5] / 2) < 0.1  # on the ground
        assert len(after.intensity) == len(after.points)
        assert (after.image is before.image) == (not camera)


def test_it_keeps_its_range_and_the_side_that_was_seen(host, donor):
    changed = pasted_into(host, donor, camera=False)
    boxes, own = changed.now.boxes[len(host.now.boxes) :], donor.now.boxes
    for box in boxes:
        ranges = np.hypot(own[:, 0], own[:, 1]) - np.hypot(box[0], box[1])
        i = int(np.abs(ranges).argmin())
        assert ranges[i] == pytest.approx(0, abs=1e-3)
        bearing = [b[6] - np.arctan2(b[1], b[0]) for b in (box, own[i])]
        assert np.cos(bearing[0] - bearing[1]) == pytest.approx(1, abs=1e-5)


def test_it_moves_as_fast_as_it_did(host, donor):
    boxes = donor.now.boxes.copy()
    boxes[:, 7:9] = (3.0, 1.0)
    moving = replace(donor, now=replace(donor.now, boxes=boxes))
    changed = pasted_into(host, moving, camera=False)
    now, previous = changed.now.boxes[-1], changed.previous.boxes[-1]
    there = previous[:3] + changed.T_now_previous[:3, 3]  # the host's vehicle does not turn
    assert np.hypot(*now[7:9]) == pytest.approx(np.hypot(3, 1), rel=1e-5)
    np.testing.assert_allclose(now[:2] - there[:2], 0.1 * now[7:9], atol=1e-4)


def test_what_lies_behind_is_hidden():
    wall = np.stack(np.meshgrid([10.0], np.linspace(-1, 1, 60), np.linspace(0, 3, 120)), -1).reshape(-1, 3)
    around = np.array([[20.0, 0, 1.73], [20, 3.5, 1.73], [5, 0, 1.73], [10.1, 0, 1.73], [20, 0, 6]])
    assert hidden(around, wall).tolist() == [True, False, False, False, False]
    assert not hidden(around, wall[:0]).any()
    assert hidden(around[:0], wall).shape == (0,)


def test_the_host_loses_what_it_hides(host, donor):
    cutout = cut_out(donor.now, 0)
    behind = cutout.box.copy()
    behind[:2] *= 2.0
    free = host.now.points[~held(host.now.points, cutout.box, 0.5)]
    points = np.concatenate([free, cutout.points * np.float32([2, 2, 1])])
    alone = replace(
        host.now,
        points=points,
        intensity=np.zeros(len(points), np.float32),
        boxes=behind[None],
        cls=np.array([0]),
        npoints=np.array([len(cutout.points)]),
        visible=np.ones(1, np.float32),
    )
    changed = _put(alone, cutout, camera=False)
    assert changed.npoints[0] < alone.npoints[0]
    assert len(changed.points) < len(points) + changed.npoints[1]
    assert not hidden(changed.points[: -changed.npoints[1]], cutout.points).any()
    assert _put(replace(alone, boxes=cutout.box[None]), cutout, camera=False) is None


def test_the_image_shows_it_where_its_box_is(host, donor):
    marked = cv2.cvtColor(np.full_like(donor.now.image[..., 0], 250), cv2.COLOR_GRAY2RGB)
    changed = pasted_into(host, replace(donor, now=replace(donor.now, image=marked)), camera=True)
    shown = 0
    for frame, before in ((changed.now, host.now), (changed.previous, host.previous)):
        white = (frame.image == 250).all(2) & ~(before.image == 250).all(2)
        for box, visible in zip(frame.boxes[3:], frame.visible[3:]):
            u, v, d = frame.K @ (frame.T_camera_ego[:3] @ np.array([*box[:3], 1]))
            if 0 <= u / d < 640 and 0 <= v / d < 192:
                assert white[int(v / d), int(u / d)]
                assert 0 < visible <= 1
                shown += 1
    assert shown >= 2


def test_the_same_seed_pastes_the_same(host, donor):
    first, second = (paste(host, donor, np.random.default_rng(4), camera=True) for _ in range(2))
    for name in ("points", "intensity", "image", "boxes", "cls", "npoints", "visible"):
        np.testing.assert_array_equal(getattr(first.now, name), getattr(second.now, name))
    nobody = replace(donor, now=replace(donor.now, cls=np.full_like(donor.now.cls, -1)))
    assert paste(host, nobody, np.random.default_rng(0), camera=True) is host


def test_batches_paste_when_they_are_asked_to(scenes):
    def objects(paste):
        batches = iter(SceneBatches(scenes, DRIVING_S, batch=4, seed=1, use=Use(), paste=paste))
        return [len(boxes) for _ in range(3) for boxes, _ in next(batches).gt]

    assert sum(objects(1.0)) > sum(objects(0.0))
    assert objects(1.0) == objects(1.0)
