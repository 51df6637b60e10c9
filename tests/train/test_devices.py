"""Training computes where its model is. Without a GPU, traps stand in for one: whatever makes a tensor
without saying where gets one that cannot be computed with, and arrays come and go by `to` and `cpu` alone."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import Tensor

from fusion_rt.errors import ConfigError
from fusion_rt.models.presets import DRIVING_S
from fusion_rt.sim.frame_files import read_scene
from fusion_rt.train.config import TrainConfig
from fusion_rt.train.loop import ALONE, Trainer, train
from fusion_rt.train.predict import predict
from fusion_rt.train.ranks import joined
from fusion_rt.train.samples import SceneBatches, Use, collate, make_sample, placed
from fusion_rt.train.step import TrainingNet

no_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def config(scenes, out, **changes):
    given = {"frames": scenes, "out": out, "steps": 40, "batch": 2, "workers": 0, "threads": 1}
    return TrainConfig(**given | changes)


class Unplaced:
    """A tensor that was made of an array and is not yet on a device."""

    def __init__(self, tensor):
        self.tensor = tensor

    def to(self, device):
        return self.tensor.to(device)


@pytest.fixture
def traps(monkeypatch):
    from_numpy, numpy = torch.from_numpy, Tensor.numpy

    def cpu(tensor):
        down = tensor.view_as(tensor)
        down.is_down = True
        return down

    def only_from_cpu(tensor):
        assert getattr(tensor, "is_down", False), "numpy() of a tensor that may be on a GPU"
        return numpy(tensor)

    monkeypatch.setattr(torch, "from_numpy", lambda array: Unplaced(from_numpy(array)))
    monkeypatch.setattr(Tensor, "cpu", cpu)
    monkeypatch.setattr(Tensor, "numpy", only_from_cpu)
    return torch.device("meta")  # of what is made without a device


def test_the_traps_work(traps):
    with traps:
        assert torch.zeros(1).device.type == torch.tensor([1.0]).device.type == "meta"
    with pytest.raises(TypeError):
        torch.from_numpy(np.zeros(2)) + 1
    with pytest.raises(AssertionError, match="may be on a GPU"):
        torch.ones(2).numpy()
    assert torch.ones(2).cpu().numpy().sum() == 2


@pytest.mark.parametrize("part", ["all", "camera", "points", "look"])
def test_a_loss_is_where_the_model_is(scenes, tmp_path, part, request):
    trainer = Trainer(config(scenes, tmp_path, part=part, unroll=1))
    use = ALONE.get(part) or Use()
    batch = next(iter(SceneBatches(scenes, trainer.preset, batch=2, seed=1, use=use)))
    expected, _ = trainer._loss(batch)
    with request.getfixturevalue("traps"):
        loss, _ = trainer._loss(batch)
        loss.backward()
    assert float(loss.detach()) == float(expected.detach())


def test_a_teacher_is_where_the_model_is(scenes, tmp_path, request):
    Trainer(config(scenes, tmp_path, preset="driving-m")).save(tmp_path / "teacher.pt")
    trainer = Trainer(config(scenes, tmp_path, teacher=tmp_path / "teacher.pt"))
    batch = next(iter(SceneBatches(scenes, trainer.preset, batch=1, seed=1, use=Use())))
    with request.getfixturevalue("traps"):
        loss, parts = trainer._loss(batch)
    assert "teacher_box" in parts
    assert torch.isfinite(loss)


def test_answers_come_down(random_net, scene, request):
    batch = collate([make_sample(scene, Use(), DRIVING_S, None)], DRIVING_S)
    with request.getfixturevalue("traps"):
        (found,) = predict(random_net, batch)
    assert isinstance(found.rows, np.ndarray)


def test_every_tensor_of_a_batch_is_moved(scene):
    batch = collate([make_sample(scene, Use(), DRIVING_S, None)], DRIVING_S)
    moved = placed(batch, torch.device("meta"))
    for part in (moved, moved.now, *moved.past, moved.past[0].inputs):
        tensors = [v for f in fields(part) if isinstance(v := getattr(part, f.name), Tensor)]
        assert tensors
        assert all(t.device.type == "meta" for t in tensors)
    assert moved.gt is batch.gt
    assert moved.now.image.is_contiguous(memory_format=torch.channels_last)


def test_bfloat16_stays_within_the_convolutions(scenes, tmp_path):
    trainer = Trainer(config(scenes, tmp_path))
    batch = next(iter(SceneBatches(scenes, trainer.preset, batch=2, seed=1, use=Use())))
    trainer.model.eval()
    exact, _ = trainer._loss(batch)
    trainer.model.mixed = True
    (outputs, sight, image), (loss, _) = trainer.model(batch), trainer._loss(batch)
    assert {t.dtype for t in (*outputs, sight.features, image)} == {torch.float32}
    assert float(loss.detach()) != float(exact.detach())
    assert float(loss.detach()) == pytest.approx(float(exact.detach()), rel=0.05)
    loss.backward()
    assert all(p.grad is None or p.grad.dtype == torch.float32 for p in trainer.model.parameters())


def test_a_pass_of_no_samples_changes_nothing(tmp_path, write_scene):
    """As with SyncBatchNorm, where another rank has a camera or a longer past."""
    torch.manual_seed(0)
    model = TrainingNet(DRIVING_S).eval()
    model.unroll = 2
    scene = read_scene(write_scene(tmp_path / "a.npz", seed=1))
    batch = collate([make_sample(scene, Use(camera=False), DRIVING_S, None)], DRIVING_S)
    expected, _, image = model(batch)
    assert image is None
    model.most = lambda count: max(count, 3)
    outputs, _, image = model(batch)
    assert image.shape[0] == 0
    for got, value in zip(outputs, expected):
        torch.testing.assert_close(got, value)
    (sum(t.sum() for t in outputs) + image.sum()).backward()
    # The encoder's layers are part of the backward pass, too.
    assert all(p.grad is not None and not p.grad.any() for p in model.net.camera.parameters())


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_none_is_used(scenes, tmp_path):
    with joined("auto") as ranks:
        assert ranks.device.type == "cpu"
    with pytest.raises(ConfigError, match=r"no GPU for local rank 0, torch sees 0 here.*--device cpu"):
        train(config(scenes, tmp_path, device="cuda"), say=lambda line: None)
    with pytest.raises(ConfigError, match="device 'tpu' is not one of auto, cpu, cuda"):
        config(scenes, tmp_path, device="tpu")


@no_gpu
def test_a_gpu_trains_as_a_cpu_does(scenes, tmp_path):
    losses = {}
    for device in ("cpu", "cuda"):
        trainer = train(config(scenes, tmp_path / device, steps=1, device=device), say=lambda line: None)
        batch = next(iter(SceneBatches(scenes, trainer.preset, batch=2, seed=9, use=Use())))
        losses[device] = [trainer.step(batch)["loss"] for _ in range(5)]
    assert losses["cuda"][0] == pytest.approx(losses["cpu"][0], rel=0.1)
    assert losses["cuda"][-1] < losses["cuda"][0]
