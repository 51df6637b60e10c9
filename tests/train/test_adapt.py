"""A few labelled frames teach the second look, and nothing else."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from fusion_rt.device import CpuDevice
from fusion_rt.errors import ConfigError
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep
from fusion_rt.train.adapt import AdaptConfig, _loss, example, fit, write
from fusion_rt.train.packaged import packaged_net

LENGTH = 3.2  # of the cars here; those of the street's boxes are longer


@pytest.fixture(scope="module")
def look(model_package, street, rig):
    perception = Perception(model_package, CpuDevice(1))
    T = np.ascontiguousarray(rig.lidars["lidar"].T_ego_lidar[None, :3], np.float32)
    perception.detect([Sweep(street()[0], np.zeros(1, np.float32), T)], [], Motion())
    return perception.first_look


@pytest.fixture
def frame(look, random_net):
    """The street's six boxes, labelled as short cars, and one that no point is in."""
    rng = np.random.default_rng(0)  # as the street is made
    rng.uniform(size=(3000, 3))
    boxes = np.zeros((7, 7))
    boxes[:6, 0], boxes[:6, 1], boxes[:6, 2] = np.linspace(9, 50, 6), rng.uniform(-8, 8, 6), 0.8
    boxes[6, :3] = (5, 30, 20)
    boxes[:, 3:6] = (LENGTH, 1.8, 1.5)
    cls, judged = np.zeros(7, np.int64), np.ones(len(look.rows), bool)
    return example(look, boxes, cls, judged, random_net.preset)


def test_what_has_no_points_is_not_learned(frame):
    assert frame.boxes.shape == (6, 9)


def test_the_second_look_of_a_package_is_given_back(model_package, tmp_path):
    again = write(
        model_package, packaged_net(model_package), tmp_path / "again", version="9", learned_from="nothing"
    )
    assert again.spec.version == "9"
    assert again.spec.trained_with.endswith("; then nothing")
    for ours, theirs in zip(again.points, model_package.points, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(str(p.path("refine", "f32"))).graph.initializer}
        for p in (model_package, again)
    )
    assert before.keys() == after.keys()
    for name, values in before.items():
        np.testing.assert_array_equal(after[name], values)
    for part in ("camera", "bev"):
        assert again.path(part, "f32").read_bytes() == model_package.path(part, "f32").read_bytes()


def test_lengths_are_learned(model_package, frame):
    net, config = packaged_net(model_package), AdaptConfig(steps=150, learning_rate=1e-2, batch=1)
    before, start = float(_loss(net, frame, 7).detach()), {n: v.clone() for n, v in net.state_dict().items()}
    fit(net, [frame], config)
    halfway = float(_loss(net, frame, 7).detach())
    assert halfway < before - 0.1
    moved = {n for n, v in net.state_dict().items() if not bool((v == start[n]).all())}
    assert all(n.startswith(("points.", "refine.")) and n.endswith("bias") for n in moved)
    net.load_state_dict({n: 2 * v - start[n] if n in moved else v for n, v in net.state_dict().items()})
    learned = float(_loss(net, frame, 7).detach())
    assert learned < before - 0.2


def test_nothing_to_learn_is_said(model_package, look, random_net):
    empty = example(
        look, np.zeros((0, 7)), np.zeros(0, np.int64), np.ones(len(look.rows), bool), random_net.preset
    )
    with pytest.raises(ConfigError, match="there is nothing to learn from"):
        fit(packaged_net(model_package), [empty], AdaptConfig(steps=1))


def test_a_package_is_not_written_over(model_package):
    with pytest.raises(ConfigError, match="name another folder"):
        write(model_package, packaged_net(model_package), model_package.folder, version="2", learned_from="")
