import numpy as np
import pytest
import torch

from fusion_rt.errors import ConfigError, FusionError
from fusion_rt.train.divergence import Divergence
from fusion_rt.train.loop import TrainConfig, Trainer, learning_rate, train
from fusion_rt.train.samples import SceneBatches, Use


def config(scenes, out, **changes):
    return TrainConfig(
        **{"frames": scenes, "out": out, "steps": 4, "batch": 2, "workers": 0, "threads": 1} | changes
    )


def first_batch(scenes, preset, *, seed=1):
    return next(iter(SceneBatches(scenes, preset, batch=2, seed=seed)))


def test_a_fixed_batch_is_learned(scenes, tmp_path):
    trainer = Trainer(config(scenes, tmp_path, steps=40))
    batch = first_batch(scenes, trainer.preset)
    losses = [trainer.step(batch)["loss"] for _ in range(7)]
    assert losses[-1] < 0.8 * losses[0]


def test_resuming_gives_the_same_weights(scenes, tmp_path):
    whole = train(config(scenes, tmp_path / "whole"), say=lambda _: None)
    half = Trainer(config(scenes, tmp_path / "half"))
    batches = iter(SceneBatches(scenes, half.preset, batch=2, seed=1))
    for _ in range(2):
        half.step(next(batches))
    half.save(tmp_path / "half" / "last.pt")
    lines = []
    resumed = train(config(scenes, tmp_path / "half"), say=lines.append)
    assert "resumed" in lines[0]
    assert resumed.step_count == whole.step_count == 4
    for name, value in whole.average.state_dict().items():
        torch.testing.assert_close(resumed.average.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_checkpoint(scenes, tmp_path):
    trainer = Trainer(config(scenes, tmp_path))
    good = tmp_path / "last.pt"
    trainer.save(good)
    before = good.read_bytes()
    batch = first_batch(scenes, trainer.preset)
    batch.box[0, 0] = float("nan")
    weights = [p.clone() for p in trainer.model.parameters()]
    with pytest.raises(FusionError, match=r"loss became nan at step 0.*lower the learning rate"):
        trainer.step(batch)
    assert good.read_bytes() == before
    assert all(torch.equal(a, b) for a, b in zip(weights, trainer.model.parameters()))


def test_a_network_that_diverged_is_said_as_well(scenes, tmp_path):
    trainer = Trainer(config(scenes, tmp_path))
    with torch.no_grad():
        trainer.model.net.bev.boxes.bias[3:6] = float("nan")
    with pytest.raises(FusionError, match=r"loss became nan at step 0.*lower the learning rate"):
        trainer.step(first_batch(scenes, trainer.preset))


def test_a_loss_that_runs_away_stops_and_keeps_the_checkpoint(scenes, tmp_path):
    """It is finite all the while."""
    trainer = Trainer(config(scenes, tmp_path))
    good = tmp_path / "last.pt"
    trainer.save(good)
    before = good.read_bytes()
    with pytest.raises(FusionError, match=r"step \d+; the last checkpoint in .* is good"):
        train(config(scenes, tmp_path, steps=40, learning_rate=1e7, checkpoint_s=0.0), say=lambda _: None)
    kept = Trainer(config(scenes, tmp_path))
    kept.load(good)
    assert kept.watch.sound
    assert np.isfinite(kept.step(first_batch(scenes, kept.preset))["loss"])
    assert kept.watch.limit < 1e5
    assert good.read_bytes() == before  # the first update already was too much


@pytest.mark.parametrize(
    ("losses", "norm", "says"),
    [
        ([4.0] * 100, 1.0, ""),
        ([4.0] * 20 + [1e6] * 12, 1.0, ""),  # a dozen bad batches
        ([4.0] * 20 + [1e6] * 13, 1.0, "the loss rose from 4 to 1e+06"),
        ([-2.0] * 20 + [90.0] * 30, 1.0, ""),
        ([1e4] + [5.0] * 30, 1.0, ""),  # it began badly
        ([4.0] * 25, float("nan"), "25 updates in a row had no finite gradient"),
        ([4.0] * 24, float("inf"), ""),
    ],
)
def test_what_has_diverged(losses, norm, says):
    watch = Divergence()
    for loss in losses:
        watch.push(loss, norm)
    assert watch.reason == says
    assert watch.sound == (losses[-1] < 1000)


def test_the_rate_rises_and_falls():
    rates = [learning_rate(p, 1.0) for p in (0, 0.03, 0.06, 0.5, 1.0, 1.5)]
    assert rates == pytest.approx([0.1, 0.55, 1.0, learning_rate(0.5, 1.0), 0.01, 0.01])
    assert 0.4 < rates[3] < 0.6


def test_wrong_budgets_and_checkpoints_are_refused(scenes, tmp_path):
    with pytest.raises(ConfigError, match="either `minutes` or `steps`"):
        config(scenes, tmp_path, steps=None)
    with pytest.raises(ConfigError, match="'driving-x' is not one of driving-s"):
        config(scenes, tmp_path, preset="driving-x")
    (tmp_path / "last.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(ConfigError, match="not a checkpoint"):
        train(config(scenes, tmp_path), say=lambda _: None)


def test_never_without_any_modality():
    rng = np.random.default_rng(0)
    uses = [Use.draw(rng) for _ in range(4000)]
    assert all(u.lidar or u.camera for u in uses)
    shares = [np.mean([getattr(u, n) for u in uses]) for n in ("lidar", "camera", "memory")]
    np.testing.assert_allclose(shares, [0.85, 0.75, 0.5], atol=0.03)


def test_the_camera_alone_leaves_the_rest_untouched(scenes, tmp_path):
    trainer = Trainer(config(scenes, tmp_path, part="camera"))
    batches = SceneBatches(
        scenes, trainer.preset, batch=2, seed=1, use=Use(lidar=False, memory=False, ego=False)
    )
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    assert set(trainer.step(next(iter(batches)))) >= {"image_heatmap", "image_depth", "image_kind"}
    changed = {n for n, v in trainer.model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed
    assert all(name.startswith(("net.camera.", "image_head.")) for name in changed)


def test_the_points_alone_leave_the_rest_untouched(scenes, tmp_path):
    trainer = Trainer(config(scenes, tmp_path, part="points", steps=60))
    batches = SceneBatches(
        scenes, trainer.preset, batch=2, seed=1, use=Use(camera=False, memory=False, ego=False)
    )
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    batch = next(iter(batches))
    losses = [trainer.step(batch)["facing"] for _ in range(25)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.05
    changed = {n for n, v in trainer.model.state_dict().items() if not torch.equal(v, before[n])}
    assert {name.rsplit(".", 2)[0] for name in changed} >= {"net.points", "net.refine.layers"}
    assert all(name.startswith(("net.points.", "net.refine.")) for name in changed)
    refine = trainer.model.net.refine
    assert not refine.layers[0].weight[:, : refine.canvases].any()


def test_the_second_look_alone_leaves_the_rest_untouched(scenes, tmp_path):
    trainer = Trainer(config(scenes, tmp_path, part="look"))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    assert set(trainer.step(first_batch(scenes, trainer.preset))) >= {"score", "refine", "facing"}
    changed = {n for n, v in trainer.model.state_dict().items() if not torch.equal(v, before[n])}
    assert changed
    assert all(name.startswith(("net.points.", "net.refine.")) for name in changed)


def test_of_a_part_only_that_is_taken(scenes, tmp_path):
    part = Trainer(config(scenes, tmp_path, part="points", seed=5))
    part.save(tmp_path / "points.pt")
    whole = Trainer(config(scenes, tmp_path, seed=9))
    before = {name: value.clone() for name, value in whole.model.state_dict().items()}
    untouched = whole.begin_with(tmp_path / "points.pt")
    assert len(untouched) > 50
    for name, value in whole.model.state_dict().items():
        assert name.startswith(("net.points.", "net.refine.")) == (name not in untouched)
        torch.testing.assert_close(value, (before if name in untouched else part.average.state_dict())[name])


def test_beginning_with_another_training(scenes, tmp_path):
    first = Trainer(config(scenes, tmp_path))
    first.step(first_batch(scenes, first.preset))
    data = {"average": first.average.state_dict()}
    first.save(tmp_path / "whole.pt")
    second = Trainer(config(scenes, tmp_path, seed=9))
    assert second.begin_with(tmp_path / "whole.pt") == []
    for name, value in second.model.state_dict().items():
        torch.testing.assert_close(value, data["average"][name])
    saved = torch.load(tmp_path / "whole.pt", weights_only=True)
    saved["average"]["net.bev.seen.weight"] = torch.zeros(32, 2, 3, 3)  # of another shape
    del saved["average"]["image_head.bias"]
    torch.save(saved, tmp_path / "older.pt")
    assert second.begin_with(tmp_path / "older.pt") == ["image_head.bias", "net.bev.seen.weight"]
    saved["average"] = {"foreign": torch.zeros(1)}
    torch.save(saved, tmp_path / "foreign.pt")
    with pytest.raises(ConfigError, match=r"foreign\.pt: none of its weights fits"):
        second.begin_with(tmp_path / "foreign.pt")


def test_an_unknown_part_is_refused(scenes, tmp_path):
    with pytest.raises(ConfigError, match="part 'lidar' is not one of all, camera, points, look"):
        config(scenes, tmp_path, part="lidar")
