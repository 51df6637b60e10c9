"""Rounding as INT8 does, against arithmetic in numpy."""

import numpy as np
import torch

from fusion_rt.models.presets import DRIVING_S
from fusion_rt.train.config import TrainConfig
from fusion_rt.train.loop import Trainer, train
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.rounding import round_convolutions, rounded_input, rounded_weight


def test_which_layers_round():
    net = DrivingNet(DRIVING_S)
    before = list(net.state_dict())
    changed = round_convolutions(net)
    assert {"camera.stem.0.0", "camera.out.0", "bev.lidar.0.0", "bev.block1.first.0", "bev.camera"} <= set(
        changed
    )
    for kept in ("bev.heatmap", "bev.boxes", "bev.seen"):  # as in the files
        assert kept not in changed
    assert not [name for name in changed if name.startswith("bev.lidar.1.0")]
    assert list(net.state_dict()) == before


def test_weights_have_a_scale_a_channel():
    weight = torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [0.01, 1.0, 30.0, 0.0]
    ).reshape(4, 1, 1, 1)
    steps = np.abs(weight.numpy()).max(axis=(1, 2, 3), keepdims=True) / 64
    expected = np.round(weight.numpy() / np.maximum(steps, 1e-12)) * steps
    np.testing.assert_allclose(rounded_weight(weight), expected, rtol=1e-5, atol=1e-9)


def test_inputs_have_one_scale_and_the_gradient_passes():
    x = torch.linspace(-2, 5, 50).reshape(1, 1, 5, 10).requires_grad_()
    rounded = rounded_input(x)
    np.testing.assert_allclose(
        rounded.detach(), np.round(x.detach().numpy() / (5 / 127)) * (5 / 127), rtol=1e-5, atol=1e-6
    )
    above = torch.linspace(0, 5, 50).reshape(1, 1, 5, 10)
    np.testing.assert_allclose(
        rounded_input(above), np.round(above.numpy() / (5 / 255)) * (5 / 255), rtol=1e-5, atol=1e-6
    )
    rounded.sum().backward()
    assert (x.grad == 1).all()
    assert rounded_input(torch.zeros(0, 3, 4, 4)).shape == (0, 3, 4, 4)
    assert (rounded_input(torch.zeros(1, 1, 2, 2)) == 0).all()


@torch.no_grad()
def test_a_rounded_layer_by_hand():
    net = DrivingNet(DRIVING_S)
    x = torch.randn(1, 32, 6, 6, generator=torch.Generator().manual_seed(2))
    plain = net.bev.camera(x)
    expected = torch.nn.functional.conv2d(rounded_input(x), rounded_weight(net.bev.camera.weight))
    round_convolutions(net)
    torch.testing.assert_close(net.bev.camera(x), expected)
    assert 0 < float((expected - plain).abs().max()) < 0.1 * float(plain.abs().max())


def test_training_with_it(scenes, tmp_path):
    """It learns, and what it saves is an ordinary checkpoint."""
    config = TrainConfig(frames=scenes, out=tmp_path, steps=2, batch=1, workers=0, threads=1, int8=True)
    trainer = train(config, say=lambda line: None)
    assert trainer.step_count == 2
    again = Trainer(TrainConfig(frames=scenes, out=tmp_path, steps=2, batch=1, workers=0, threads=1))
    again.load(tmp_path / "last.pt")
