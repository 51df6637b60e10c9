"""A wider network answers as the narrower one that it began with; a narrower takes the first channels."""

from __future__ import annotations

import pytest
import torch
from msgspec.structs import replace

from fusion_rt.models.presets import DRIVING_S
from fusion_rt.train.begin import begun
from fusion_rt.train.network import DrivingNet

DEEP = replace(DRIVING_S, trunk_widths=(40, 112))
IMAGE = replace(DRIVING_S, camera_widths=(16, 32, 64, 128, 160))
LOOK = replace(DRIVING_S, refine_widths=(160, 96))


def net(preset, seed):
    """With everything drawn: normalisation as after a training, and no layer that begins at zero."""
    torch.manual_seed(seed)
    made = DrivingNet(preset).eval()
    with torch.no_grad():
        for name, value in made.state_dict().items():
            if value.dtype.is_floating_point and not value.any():
                value.normal_(0, 0.05)
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
    return made


def prefixed(made):
    return {f"net.{name}": value for name, value in made.state_dict().items()}


def grown(preset, start):
    made = net(preset, 2)
    own = prefixed(made)
    fitting = begun(own, prefixed(start))
    made.load_state_dict({name[4:]: value for name, value in {**own, **fitting}.items()})
    return made, set(own) - set(fitting)


def bev_inputs():
    p = DRIVING_S
    draw = torch.Generator().manual_seed(3)
    cells = (1, p.canvas_channels, p.head_ny // 4, p.head_nx // 4)
    return (
        torch.rand(1, p.pillar_channels + 1, p.ny // 4, p.nx // 4, generator=draw),
        torch.rand(cells, generator=draw),
        torch.rand(1, 1, *cells[2:], generator=draw) * 60,
        torch.rand(1, p.state_channels, *cells[2:], generator=draw),
        torch.rand(1, p.context, generator=draw),
    )


@torch.no_grad()
def test_a_wider_network_answers_as_the_one_it_began_with():
    small = net(DRIVING_S, 1)
    deep, anew = grown(DEEP, small)
    assert not anew
    for mine, theirs in zip(deep.bev(*bev_inputs()), small.bev(*bev_inputs())):
        torch.testing.assert_close(mine, theirs)
    image = torch.rand(1, 3, 64, 96)
    torch.testing.assert_close(grown(IMAGE, small)[0].camera(image), small.camera(image))
    p = DRIVING_S
    widths = 5 * p.feature_channels, 9 * p.canvas_channels, p.box_context, p.point_widths[1] + 1
    rows = [torch.rand(7, n) for n in widths]
    for mine, theirs in zip(grown(LOOK, small)[0].refine(*rows), small.refine(*rows)):
        torch.testing.assert_close(mine, theirs)


def test_the_new_channels_are_heard_after_a_step():
    deep, _ = grown(DEEP, net(DRIVING_S, 1))
    deep.train()
    heatmap = deep.bev(*(t.repeat(2, 1, 1, 1) if t.ndim == 4 else t.repeat(2, 1) for t in bev_inputs()))[0]
    heatmap.square().sum().backward()
    weight = deep.bev.up2[0].weight
    assert not weight[:, 80:].any()
    assert (weight.grad[:, 80:].abs().sum((0, 2, 3)) > 0).any()


def test_what_lies_side_by_side_begins_anew_where_another_width_moves_it():
    _, anew = grown(replace(DRIVING_S, trunk_widths=(48, 80)), net(DRIVING_S, 1))
    assert anew == {"net.bev.film.2.weight", "net.bev.film.2.bias"}
    _, anew = grown(replace(DRIVING_S, pillar_channels=31), net(DRIVING_S, 1))
    assert anew == {"net.bev.lidar.0.0.weight"}
    _, anew = grown(replace(DRIVING_S, feature_channels=40), net(DRIVING_S, 1))
    assert anew == {"net.refine.layers.0.weight"}


@pytest.mark.parametrize("name", ["net.bev.block2.first.0.weight", "net.bev.block2.first.1.running_mean"])
def test_a_narrower_network_takes_the_first_channels(name):
    wide = net(DEEP, 1)
    narrow, anew = grown(DRIVING_S, wide)
    assert not anew
    theirs = prefixed(wide)[name]
    mine = prefixed(narrow)[name]
    torch.testing.assert_close(mine, theirs[tuple(slice(n) for n in mine.shape)])
