import math

import numpy as np
import pytest
import torch

from fusion_rt.device import CpuDevice
from fusion_rt.metrics.boxes import bev_iou
from fusion_rt.models.presets import DRIVING_S as P
from fusion_rt.train.boxes import Answer, box_context, decode, refine
from fusion_rt.train.predict import suppress


def test_decode_gives_back_what_was_put_in():
    heatmap = torch.full((1, 3, 112, 112), -9.0)
    regression = torch.zeros(1, 15, 112, 112)
    heatmap[0, 2, 60, 30] = 2.0
    heatmap[0, 0, 10, 5] = 1.0
    heatmap[0, 0, 10, 6] = 0.9 - P.peak_slack  # beside a higher one: no peak
    heatmap[0, 0, 9, 5] = 1.1 - P.peak_slack  # beside one that is hardly higher
    regression[0, :, 60, 30] = torch.tensor(
        [0.25, -0.5, 0.9, 0.5, -0.5, 0.6, math.sin(4.0), math.cos(4.0), 3, -4, -1, -2, -3, -4, 9.0]
    )
    rows = decode(heatmap, regression, P, k=4)
    assert rows.shape == (1, 4, 16)
    best = rows[0, 0].tolist()
    expected = [
        30.75 * 0.64,
        60.0 * 0.64 - 35.84,
        0.9,
        *np.exp([0.5, -0.5, 0.6]),
        2.0 - math.pi,
        3,
        -4,
    ]  # front and back are told later
    assert best[:9] == pytest.approx(expected, abs=1e-4)
    assert best[9:11] == pytest.approx([1 / (1 + math.exp(-2)), 2])
    assert best[11:] == pytest.approx(np.exp([-1, -2, -3, -4, 4]), rel=1e-5)
    assert rows[0, 1, 10] == rows[0, 2, 10] == 0
    assert rows[0, 2, 9] == pytest.approx(1 / (1 + math.exp(-0.6)))
    assert rows[0, 3, 9] < 0.01


def answer(n, **given):
    """Nothing, but for what is given."""
    shapes = {"score": 1, "deltas": 8, "facing": 1, "log_sigma": 5}
    return Answer(
        *(torch.tensor([given[k]]) if k in given else torch.zeros(n, width) for k, width in shapes.items())
    )


def test_refining_by_nothing_changes_nothing():
    rows = 0.8 * torch.rand(5, 16, generator=torch.Generator().manual_seed(0)) + 0.1
    torch.testing.assert_close(refine(rows, answer(5)), rows)
    assert box_context(rows).shape == (5, 16)


def test_refining_moves_along_the_box():
    row = torch.zeros(1, 16)
    row[0, 3:6] = 1
    row[0, 6] = math.pi / 2
    row[0, 9] = 0.5
    row[0, 11:] = 0.2
    moved = refine(
        row,
        answer(
            1,
            score=[1.0],
            deltas=[2.0, 1, 0.1, 0.5, 0, 0, math.sin(0.4), math.cos(0.4) - 1],
            facing=[0.1],
            log_sigma=[0, 0.5, 0, -9, 0],
        ),
    )
    expected = [-1, 2, 0.1, math.exp(0.5), 1, 1, math.pi / 2 + 0.2 - math.pi]
    assert moved[0, :7].tolist() == pytest.approx(expected, abs=1e-5)
    assert moved[0, 11:].tolist() == pytest.approx(
        [0.2, 0.2 * math.exp(0.5), 0.2, math.exp(-6), 0.2], rel=1e-5
    )
    assert float(moved[0, 9]) == pytest.approx(1 / (1 + math.exp(-1)))


def test_overlap_against_known_shapes():
    a = np.array([[50, 20, 0, 4, 2, 1, 0.3]], np.float32)
    same, turned, beside, far = a.copy(), a.copy(), a.copy(), a.copy()
    turned[0, 6] += math.pi
    beside[0, 0] += 2 * math.cos(0.3)
    beside[0, 1] += 2 * math.sin(0.3)
    far[0, 0] += 30
    got = bev_iou(a, np.concatenate([same, turned, beside, far]))[0]
    np.testing.assert_allclose(got, [1, 1, 1 / 3, 0], atol=1e-4)
    cross = bev_iou(np.array([[0, 0, 0, 4, 2, 1, 0.0]]), np.array([[0, 0, 0, 4, 2, 1, math.pi / 2]]))
    assert cross[0, 0] == pytest.approx(4 / 12, abs=1e-4)


def test_suppression_is_within_a_class():
    rows = np.zeros((3, 16), np.float32)
    rows[:, 3:6] = [4, 2, 1.5]
    rows[:, 9] = [0.9, 0.8, 0.7]
    rows[1, 0] = 0.3
    rows[2, 10] = 1
    assert suppress(rows).tolist() == [0, 2]


@pytest.mark.parametrize("n", [0, 1, 50])
def test_the_runtime_s_kernels_do_the_same(n):
    rng = np.random.default_rng(n)
    rows = rng.uniform(0.05, 0.9, (n, 16)).astype(np.float32)
    rows[:, :3] = rng.uniform(-30, 60, (n, 3))
    rows[:, 10] = rng.integers(0, 3, n)
    given = [rng.normal(0, 0.5, (n, width)).astype(np.float32) for width in (1, 8, 1, 5)]
    told, refined = np.empty((n, 16), np.float32), np.empty((n, 16), np.float32)
    device = CpuDevice(1)
    device.kernel("box_context")(rows, told)
    device.kernel("box_refine")(rows, np.float32([(1, 0)] * 3), *given, refined)
    torch.testing.assert_close(
        torch.from_numpy(told), box_context(torch.from_numpy(rows)), atol=1e-5, rtol=1e-5
    )
    expected = refine(torch.from_numpy(rows), Answer(*map(torch.from_numpy, given)))
    torch.testing.assert_close(torch.from_numpy(refined), expected, atol=1e-5, rtol=1e-5)
