"""The torch mirrors against plain loops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from fusion_rt.device import CpuDevice
from fusion_rt.models.presets import DRIVING_S as P
from fusion_rt.sim.frame_files import read_scene
from fusion_rt.train.geometry import (
    MOST_POINTS,
    NEAR_M,
    Blocks,
    Sight,
    bev_warp,
    box_points,
    head_cell_centres,
    lift,
    near_boxes,
    point_blocks,
    roi_sample,
    scatter_max,
    view_sample,
)
from fusion_rt.train.samples import Use, collate, make_sample, pillar_inputs


def test_scatter_max_equals_a_loop():
    rng = np.random.default_rng(0)
    values = torch.from_numpy(rng.random((200, 5), dtype=np.float32))
    pillar = torch.from_numpy(rng.integers(0, 30, 200))
    expected = torch.zeros(31, 5)
    for v, p in zip(values, pillar):
        expected[p] = torch.maximum(expected[p], v)
    torch.testing.assert_close(scatter_max(values, pillar, 31), expected)


def test_lift_equals_a_loop():
    features = torch.rand(2, 8, 48, 160, generator=torch.Generator().manual_seed(0))
    projection = torch.tensor([[78.0, -92, 0.6, 10], [20, 1.0, -94, 150], [1, 0.1, 0, -0.2]])
    projections = torch.stack([projection, projection])
    projections[1, 0, 1] = -80
    canvas, depth = lift(features, projections, P)
    centres = head_cell_centres(P)
    rng = np.random.default_rng(1)
    for b, cell in [(int(b), int(c)) for b in range(2) for c in rng.integers(0, 112 * 112, 60)]:
        samples, depths = [], []
        for z in P.z_levels:
            u, v, d = (projections[b] @ torch.tensor([*centres[cell].tolist(), z, 1.0])).tolist()
            if d > 0.1 and 0 <= u / d < 160 and 0 <= v / d < 48:
                at = torch.tensor([[[[2 * u / d / 160 - 1, 2 * v / d / 48 - 1]]]])
                picked = F.grid_sample(features[b : b + 1], at, padding_mode="border", align_corners=False)
                samples.append(picked[0, :, 0, 0])
                depths.append(d)
        expected = torch.stack(samples).mean(0) if samples else torch.zeros(8)
        torch.testing.assert_close(canvas[b, :, cell // 112, cell % 112], expected, atol=1e-4, rtol=1e-4)
        far = float(depth[b, 0, cell // 112, cell % 112])
        assert far == pytest.approx(np.mean(depths) if depths else 0.0, rel=1e-5)


def test_warp_moves_what_was_ahead_nearer():
    state = torch.zeros(1, 1, 112, 112)
    state[0, 0, 40, 30] = 1
    forward = torch.tensor([[[1.0, 0, 2 * 0.64], [0, 1, 0]]])  # ego went two cells ahead
    warped = bev_warp(state, forward, P)
    assert float(warped[0, 0, 40, 28]) == pytest.approx(1, abs=1e-4)
    assert float(warped.sum()) == pytest.approx(1, abs=1e-3)


def test_roi_sample_reads_the_five_points():
    y, x = torch.meshgrid(torch.arange(112.0), torch.arange(112.0), indexing="ij")
    features = torch.stack([x, y])[None]  # the value is the cell's index
    box = torch.tensor([[[20.0, 5.0, 0.5, 4.0, 2.0, 1.5, 0.3]]])
    got = roi_sample(features, box, P).reshape(5, 2)
    expected = (box_points(box)[0, 0] - torch.tensor([P.x_min, P.y_min])) / P.head_cell_m - 0.5
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-4)


def test_view_sample_is_the_kernel_s():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(3, 48, 160, 4)).astype(np.float32)
    ahead = np.float32([[78.0, -92, 0.6, 10], [20, 1.0, -94, 150], [1, 0.1, 0, -0.2]])
    projections = np.stack([ahead, ahead * np.float32([[1], [1.05], [1]]), ahead])
    k, index = 60, [0, 0, 2]  # two images of the first sample, none of the second
    boxes = np.concatenate(
        [
            rng.uniform((-3, -20, -0.5), (60, 20, 2), (3, k, 3)),
            rng.uniform((0.4, 0.4, 0.5), (5, 2.2, 2), (3, k, 3)),
            rng.uniform(-4, 4, (3, k, 1)),
        ],
        axis=2,
    ).astype(np.float32)
    planes = torch.from_numpy(features).permute(0, 3, 1, 2)
    sight = Sight(planes, torch.from_numpy(projections), torch.tensor(index))
    got = view_sample(sight, torch.from_numpy(boxes)).numpy()
    for sample in range(3):
        mine = [i for i, owner in enumerate(index) if owner == sample]
        expected = np.empty((k, 9 * 4), np.float32)
        CpuDevice(1).kernel("view_sample")(features[mine], projections[mine], boxes[sample], expected)
        np.testing.assert_allclose(got[sample], expected, atol=2e-3)
        assert expected.any() == (sample != 1)


def test_pillar_inputs_by_hand():
    points = np.array([[10.0, 0.1, 0.5], [10.1, 0.2, 1.5], [80, 0, 0], [5, 0, 5], [np.nan, 0, 0]], np.float32)
    intensity = np.array([0.2, 0.4, 0, 0, 0], np.float32)
    features, pillar, cell, counts = pillar_inputs(points, intensity, P)
    assert pillar.tolist() == [0, 0]
    assert cell.tolist() == [int((0.1 + 35.84) / 0.32) * 224 + int(10 / 0.32)]
    cx, cy = (31 + 0.5) * 0.32, (112 + 0.5) * 0.32 - 35.84
    expected = [(10 - cx) / 0.32, (0.1 - cy) / 0.32, 0.5, 0.2, -0.05, -0.05, -0.5, np.log(3) / 5]
    np.testing.assert_allclose(features[0], expected, atol=1e-5)
    assert counts.shape == (224, 224)
    assert counts.max() == np.float32(np.log(3) / 5)


def test_the_points_of_each_box_equal_a_loop():
    rng = np.random.default_rng(0)
    clouds = [rng.uniform((0, -30, -1), (70, 30, 3), (n, 3)).astype(np.float32) for n in (60000, 0, 1)]
    boxes = rng.uniform((0, -30, 0, 1, 1, 1, -4), (75, 35, 2, 12, 3, 3, 4), (3, 30, 7)).astype(np.float32)
    lot = [rng.integers(0, 1 << 16, len(cloud)) for cloud in clouds]
    placed = [Blocks(np.column_stack([cloud, n]).astype(np.float32)) for cloud, n in zip(clouds, lot)]
    at, which, counts = near_boxes(placed, torch.from_numpy(boxes))
    for j, box in enumerate(boxes.reshape(-1, 7).astype(np.float64)):
        d = clouds[j // 30] - box[:3]
        cos, sin = np.cos(box[6]), np.sin(box[6])
        local = np.column_stack([d[:, 0] * cos + d[:, 1] * sin, d[:, 1] * cos - d[:, 0] * sin, d[:, 2]])
        inside = (np.abs(local) <= box[3:6] / 2 + NEAR_M).all(1)
        assert counts[j] == inside.sum()
        if inside.sum() > MOST_POINTS:
            inside &= lot[j // 30] < 65536 * MOST_POINTS // inside.sum()
        local = local[inside]
        mine = at[which == j].numpy()
        assert len(mine) == len(local)
        np.testing.assert_allclose(np.sort(mine, axis=0), np.sort(local, axis=0), atol=1e-4)
    assert len(at) > 1000
    assert (counts > MOST_POINTS).any()


def test_points_are_where_they_were(scenes):
    read = [read_scene(path) for path in sorted(scenes.glob("*.npz"))[:2]]
    batch = collate([make_sample(s, Use(), P, None) for s in read], P)
    for scene, blocks in zip(read, point_blocks(batch.now, P), strict=True):
        got = blocks.points
        points = scene.now.points
        u, v = (points[:, 0] - P.x_min) / P.cell_m, (points[:, 1] - P.y_min) / P.cell_m
        inside = (
            (u >= 0)
            & (u < P.nx)
            & (v >= 0)
            & (v < P.ny)
            & (points[:, 2] >= P.z_min)
            & (points[:, 2] < P.z_max)
        )
        expected = points[inside]
        np.testing.assert_allclose(
            *(a[np.lexsort(a[:, :3].round(2).T)][:, :3] for a in (got, expected)), atol=2e-2
        )
        assert np.abs(np.histogram(got[:, 3], 4, (0, 65536))[0] / len(got) - 0.25).max() < 0.03
