import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fusion_rt.train.boxes import Answer, refine
from fusion_rt.train.image_targets import UNKNOWN
from fusion_rt.train.losses import _deltas, _reached, _veiled, box_losses, focal, image_losses, proposals


def test_focal_by_hand():
    logits = torch.zeros(1, 1, 1, 3)
    target = torch.tensor([[[[1.0, 0.5, 0.0]]]])
    weight = torch.tensor([[[1.0, 1.0, 0.0]]])
    # Peak: -log(.5) * .25; half-way: -log(.5) * .25 * .5^4; the last cell is ignored.
    expected = math.log(2) * 0.25 * (1 + 0.5**4)
    assert float(focal(logits, target, weight)) == pytest.approx(expected, rel=1e-6)


def test_focal_without_objects_is_finite():
    loss = focal(torch.full((1, 3, 4, 4), -4.6), torch.zeros(1, 3, 4, 4), torch.ones(1, 4, 4))
    assert 0 < float(loss) < 1


def test_box_losses_by_hand():
    target = torch.tensor([[0.1, 0.0, 0.8, 1.4, 0.5, 0.4, 0.0, 1.0, 2.0, 0.0]])
    got = torch.zeros(1, 15)
    got[0, :10] = target[0]
    got[0, 0] += 0.5  # half a cell
    got[0, 6:8] = torch.tensor([1.0, 0.0])  # turned by 45 degrees: by 90 in twice the yaw
    got[0, 8] = 3.0
    box, velocity, sigma = box_losses(got, target, torch.ones(1), torch.ones(1), 0.64)
    assert float(box) == pytest.approx(0.5 + 2.0)
    assert float(velocity) == pytest.approx(1.0)
    # log sigma is 0: x is off by 0.32 m and the axis by an eighth of a turn.
    assert float(sigma) == pytest.approx(math.sqrt(2) * (0.32 + math.pi / 4), abs=1e-5)
    _, none, _ = box_losses(got, target, torch.ones(1), torch.zeros(1), 0.64)
    assert float(none) == 0


def test_sigma_is_least_at_the_error():
    error = 0.3
    log_sigma = torch.linspace(-3, 1, 401)
    target = torch.zeros(401, 10)
    target[:, 7] = 1
    got = torch.zeros(401, 15)
    got[:, 7] = 1
    got[:, 2] = error
    got[:, 12] = log_sigma
    one = torch.ones(1)
    values = [float(box_losses(g[None], t[None], one, one, 0.64)[2]) for g, t in zip(got, target)]
    best = float(log_sigma[int(np.argmin(values))])
    assert math.exp(best) == pytest.approx(math.sqrt(2) * error, rel=0.02)


def image_batch(log_depth, kind):
    heatmap = torch.zeros(1, 3, *kind.shape[1:])
    return SimpleNamespace(image_heatmap=heatmap, image_log_depth=log_depth, image_kind=kind)


def test_unknown_pixels_cost_nothing():
    output = torch.zeros(1, 8, 2, 2)
    output[:, :3] = -4.6
    depth, kind = torch.full((1, 2, 2), float("nan")), torch.full((1, 2, 2), UNKNOWN)
    none = image_losses(output, image_batch(depth, kind))
    assert (float(none["image_depth"]), float(none["image_kind"])) == (0.0, 0.0)
    depth[0, 0, 0], kind[0, 0, 0] = 4.0, 3
    one = image_losses(output, image_batch(depth, kind))
    assert float(one["image_depth"]) == 1.0
    assert float(one["image_kind"]) == pytest.approx(math.log(4))


def test_the_right_kind_costs_least():
    kind = torch.tensor([[[0, 1], [2, 3]]])
    costs = []
    for turn in range(4):
        logits = 5 * torch.nn.functional.one_hot((kind + turn) % 4, 4).permute(0, 3, 1, 2).float()
        output = torch.cat([torch.full((1, 4, 2, 2), -4.6), logits], dim=1)
        costs.append(float(image_losses(output, image_batch(torch.zeros(1, 2, 2), kind))["image_kind"]))
    assert costs[0] < 0.1 < 4 < min(costs[1:])


TRUTH = np.array([[20, 3, 0.8, 4, 1.7, 1.5, 2.5, 1, 0]], np.float32)


def guesses():
    """One 0.2 m off, one of nothing; both with the axis of the truth, not its front."""
    rows = torch.full((1, 2, 16), 0.15)
    rows[0, :, :7] = torch.from_numpy(TRUTH[0, :7])
    rows[0, :, 6] -= math.pi
    rows[0, 0, 0] += 0.2
    rows[0, 1, 0] += 30
    rows[0, :, 10] = 0
    return rows


def test_proposals_know_what_they_should_be():
    rows, truth, weight = proposals(guesses(), [(TRUTH, np.array([0]))], np.random.default_rng(0), jittered=6)
    assert rows.shape == (1, 8, 16)
    assert weight[0].tolist()[:2] == [1.0, 0.0]
    np.testing.assert_allclose(truth[0, 0].numpy(), TRUTH[0, :7])
    assert (weight[0, 2:] == 1).all()
    assert (rows[0, 2:, 6].abs() <= math.pi / 2).all()  # an axis, as it is decoded


def test_the_way_from_a_proposal_to_the_truth():
    rows, truth = guesses(), torch.from_numpy(TRUTH[None, :, :7]).expand(1, 2, 7)
    rows[0, 1, 6] += 1.4  # a second look may turn a box by nearly a quarter
    deltas, facing = _deltas(rows, truth)
    expected = [-0.2 * math.cos(2.5 - math.pi), 0.2 * math.sin(2.5 - math.pi), 0, 0, 0, 0, 0, 0]
    np.testing.assert_allclose(deltas[0, 0].numpy(), expected, atol=1e-5)
    assert facing.tolist() == [[1.0, 1.0]]
    assert deltas[0, 1, 6:].tolist() == pytest.approx([math.sin(-2.8), math.cos(2.8) - 1])
    zeros = torch.zeros(1, 2, 5)
    back = refine(rows, Answer(zeros[..., :1], deltas, facing[..., None], zeros))
    np.testing.assert_allclose(back[0, :, :7].numpy(), truth[0].numpy(), atol=1e-4)


def test_the_score_wanted_is_the_overlap_that_the_refined_box_reaches():
    assert _reached(guesses(), [(TRUTH, np.array([0]))]).tolist() == [[1.0, 0.0]]  # IoU above 0.75
    assert _reached(guesses(), [(TRUTH, np.array([1]))]).tolist() == [[0.0, 0.0]]  # another class
    half = guesses()
    half[0, 0, 0] = 20 + 0.8 * 4 / 3  # moved by a third along the axis seen from above, about
    between = float(_reached(half, [(TRUTH, np.array([0]))])[0, 0])
    assert 0 < between < 1


def test_proposals_without_truth_want_nothing():
    empty = (np.zeros((0, 9), np.float32), np.zeros(0, np.int64))
    rows = torch.rand(1, 3, 16)
    _, _, weight = proposals(rows, [empty], np.random.default_rng(0), jittered=2)
    assert float(weight.sum() + _reached(rows, [empty]).sum()) == 0


def test_views_are_veiled_by_boxes_and_by_channels_and_keep_their_mean():
    view = torch.ones(4000, 9 * 8)
    veiled = _veiled(view, 8, np.random.default_rng(0)).reshape(4000, 9, 8)
    assert (veiled == veiled[:, :1]).all()  # a channel is lost in all parts of a box
    shown = (veiled[:, 0] > 0).float()
    hidden = shown.sum(1) == 0
    assert 0.25 < hidden.float().mean() < 0.35
    assert 0.7 < shown[~hidden].mean() < 0.8
    assert veiled[~hidden].mean() == pytest.approx(1, abs=0.02)
