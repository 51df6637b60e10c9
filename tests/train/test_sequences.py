"""Scenes of more than two frames: the state goes from one to the next."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fusion_rt.models.presets import DRIVING_S
from fusion_rt.sim.frame_files import read_scene
from fusion_rt.train.config import TrainConfig
from fusion_rt.train.geometry import bev_warp
from fusion_rt.train.loop import Trainer
from fusion_rt.train.samples import SceneBatches, Use, collate, make_sample
from fusion_rt.train.step import TrainingNet


@pytest.fixture
def longer(tmp_path, write_scene):
    return read_scene(write_scene(tmp_path / "three.npz", seed=3, length=3))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = TrainingNet(DRIVING_S)
    torch.nn.init.normal_(model.net.bev.state.weight, std=0.3)
    return model.eval()


def batch_of(*scenes, **use):
    return collate([make_sample(scene, Use(**use), DRIVING_S, None) for scene in scenes], DRIVING_S)


def test_frames_lie_in_their_order(longer, scene):
    (oldest, T_oldest), (previous, T_previous) = longer.past
    assert previous is longer.previous
    np.testing.assert_array_equal(T_previous, longer.T_now_previous)
    for earlier, later, T in ((oldest, previous, T_oldest), (previous, longer.now, T_previous)):
        np.testing.assert_allclose(earlier.boxes[:, :3] + T[:3, 3], later.boxes[:, :3], atol=1e-5)
    assert scene.past == ((scene.previous, scene.T_now_previous),)


def test_two_frames_are_one_memory(scene):
    batch = batch_of(scene, scene)
    (past,) = batch.past
    assert past.index.tolist() == [0, 1]
    assert past.inputs.context[:, 6:8].tolist() == [[0, 0], [0, 0]]
    assert batch.now.context[:, 6:8].tolist() == [[1, 0.5], [1, 0.5]]
    assert batch_of(scene, memory=False).past == ()


@torch.no_grad()
def test_the_state_is_carried(model, longer):
    batch = batch_of(longer)
    first, second = batch.past
    assert first.inputs.context[0, 6:8].tolist() == [0, 0]
    assert second.inputs.context[0, 6:8].tolist() == [1, 0.5]
    state = torch.zeros(1, DRIVING_S.state_channels, DRIVING_S.head_ny, DRIVING_S.head_nx)
    for past in (first, second):
        outputs = model.fuse(past.inputs, model.net.camera(past.inputs.image), state)
        state = bev_warp(outputs[3], past.T_this_next, DRIVING_S)
    torch.testing.assert_close(model.remember(batch), state)
    forgotten = model.remember(batch_of(replace(longer, earlier=())))
    assert (forgotten - state).abs().max() > 1e-3


@torch.no_grad()
def test_scenes_of_all_lengths_go_into_a_batch(model, longer, scene):
    samples = [
        make_sample(s, Use(memory=memory), DRIVING_S, None)
        for s, memory in ((scene, True), (longer, True), (longer, False))
    ]
    batch = collate(samples, DRIVING_S)
    assert [past.index.tolist() for past in batch.past] == [[1], [0, 1]]
    together = model.remember(batch)
    for state, sample in zip(together, samples):
        torch.testing.assert_close(
            state, model.remember(collate([sample], DRIVING_S))[0], atol=1e-5, rtol=1e-4
        )
    assert not together[2].any()


@pytest.mark.parametrize("unroll", [0, 1, 2])
def test_gradients_go_as_far_as_they_are_unrolled(longer, unroll):
    torch.manual_seed(0)
    model = TrainingNet(DRIVING_S)
    model.unroll = unroll
    batch = batch_of(longer)
    images = [past.inputs.image.requires_grad_() for past in batch.past]
    model.remember(batch).sum().backward()
    assert model.net.bev.state.weight.grad is not None
    assert (model.net.bev.memory.weight.grad is not None) == (unroll > 0)
    assert [image.grad is not None for image in images] == [unroll >= 2, unroll >= 1]


def test_a_sensor_is_lost_on_the_way(longer):
    lost = (Use(), Use(lidar=False), Use(camera=False))
    sample = make_sample(longer, Use(), DRIVING_S, np.random.default_rng(0), along=lost)
    (first, _), (second, _) = sample.past
    moments = first, second, sample.now
    assert [len(m.pillars[0]) > 0 for m in moments] == [True, False, True]
    assert [m.image is not None for m in moments] == [True, True, False]
    assert [m.context[4:6].tolist() for m in moments] == [[1, 1], [0, 1], [1, 0]]
    assert sample.image_targets is None


def test_what_is_lost_is_drawn_for_sequences_alone():
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    assert Use().along(2, rng) == (Use(), Use())
    assert rng.bit_generator.state == state
    drawn = [Use().along(4, rng) for _ in range(2000)]
    losing = [uses for uses in drawn if set(uses) != {Use()}]
    assert len(losing) / len(drawn) == pytest.approx(0.3, abs=0.03)
    for uses in losing:
        assert uses[0] == Use()
        assert len(set(uses)) == 2
        assert all(use.lidar or use.camera for use in uses)
    assert 0 < sum(uses[-1] == Use() for uses in losing) < len(losing)


def test_sequences_train(tmp_path, write_scene):
    for i in range(2):
        write_scene(tmp_path / f"{i}.npz", seed=i, length=3)
    config = TrainConfig(frames=tmp_path, out=tmp_path, steps=40, batch=2, unroll=2, workers=0, threads=1)
    trainer = Trainer(config)
    batches = SceneBatches(tmp_path, trainer.preset, batch=2, seed=2, use=Use())
    batch = next(iter(batches))
    assert len(batch.past) == 2
    losses = [trainer.step(batch)["loss"] for _ in range(6)]
    assert losses[-1] < 0.8 * losses[0]
