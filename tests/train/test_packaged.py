import itertools
import shutil

import numpy as np
import onnx
import pytest
import torch
from msgspec.structs import replace

from fusion_rt.errors import ConfigError
from fusion_rt.models.package import ModelPackage
from fusion_rt.models.presets import DRIVING_M
from fusion_rt.train.export import export_float
from fusion_rt.train.loop import TrainConfig, Trainer
from fusion_rt.train.packaged import mean_net, normalise, packaged_net
from fusion_rt.train.samples import SceneBatches
from fusion_rt.train.step import TrainingNet


def answers(model, batch):
    with torch.no_grad():
        outputs, _, _ = model(batch)
    return outputs


@pytest.fixture
def bundled():
    model = TrainingNet((net := packaged_net(ModelPackage.load("driving-s"))).preset)
    model.net = net
    return model.eval()


@pytest.fixture
def batches(scenes, bundled):
    return list(itertools.islice(SceneBatches(scenes, bundled.preset, batch=4, seed=1), 3))


def test_a_package_comes_back_as_it_was(bundled, tmp_path):
    package = ModelPackage.load("driving-s")
    export_float(bundled.net, tmp_path)
    for part in ("camera", "bev", "refine"):
        was, now = (
            {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
            for path in (package.path(part, "f32"), tmp_path / f"{part}.onnx")
        )
        assert was.keys() == now.keys()
        for name, values in was.items():
            np.testing.assert_allclose(now[name], values, rtol=1e-6, atol=1e-7)


def test_to_an_input_that_the_package_had_otherwise_nobody_listens(bundled, tmp_path):
    """As a version is begun with whose second look was given something else."""
    package = ModelPackage.load("driving-s")
    inputs = package.spec.tensors["refine"].inputs
    width = inputs["view"][1]
    weights = bundled.net.refine.layers[0].weight
    before = inputs["roi"][1]
    theirs = torch.cat([weights[:, :before], weights[:, before + 32 :]], dim=1)
    graph = onnx.load(str(package.path("refine", "f32")))
    (first,) = (t for t in graph.graph.initializer if t.name.endswith("layers.0.weight"))
    first.CopyFrom(onnx.numpy_helper.from_array(theirs.detach().numpy(), first.name))
    (view,) = (tensor for tensor in graph.graph.input if tensor.name == "view")
    view.type.tensor_type.shape.dim[1].dim_value = width - 32
    onnx.save(graph, str(tmp_path / "refine.onnx"))
    for part in ("camera", "bev"):
        shutil.copy(package.path(part, "f32"), tmp_path / f"{part}.onnx")
    files = {"f32": {part: f"{part}.onnx" for part in ("camera", "bev", "refine")}}
    spec = replace(package.spec, precisions=files, precision="f32")
    got = packaged_net(ModelPackage(tmp_path, spec, package.pillars, package.points))
    first = got.refine.layers[0].weight
    torch.testing.assert_close(first[:, :before], weights[:, :before])
    assert not first[:, before : before + width].any()
    torch.testing.assert_close(first[:, before + width :], weights[:, before + width :])


def test_the_mean_of_a_network_and_the_package_it_began_with(bundled, batches, tmp_path):
    package = ModelPackage.load("driving-s")
    normalise(bundled, batches[:1])  # its normalisations do something now; its answers are the package's
    mean = mean_net(bundled.net, package)
    given = packaged_net(package).state_dict()
    for name, value in mean.state_dict().items():
        torch.testing.assert_close(value, given[name], rtol=1e-3, atol=1e-4)
    with torch.no_grad():
        for value in bundled.net.parameters():
            value.mul_(1.2)
    moved = mean_net(bundled.net, package).state_dict()
    torch.testing.assert_close(moved["bev.heatmap.weight"], given["bev.heatmap.weight"] * 1.1)
    folded = "bev.block2.first.0.weight"  # of 1.2 times the convolution and 1.2 times the normalisation
    torch.testing.assert_close(moved[folded], given[folded] * (1 + 1.44) / 2, rtol=1e-3, atol=1e-4)
    with pytest.raises(ConfigError, match="preset 'driving-s', not 'driving-m'"):
        mean_net(TrainingNet(DRIVING_M).net, package)


def test_normalising_changes_no_answer(bundled, batches):
    before = [answers(bundled, batch) for batch in batches]
    normalise(bundled, batches)
    assert not bundled.training
    for batch, was in zip(batches, before):
        for mine, theirs in zip(answers(bundled, batch), was):
            torch.testing.assert_close(mine, theirs, atol=2e-3, rtol=1e-3)


def test_what_trains_answers_nearly_as_before(bundled, batches):
    before = answers(bundled, batches[0])[0]
    apart = (answers(bundled.train(), batches[0])[0] - before).abs().mean()
    bundled = TrainingNet(bundled.preset)
    bundled.net = packaged_net(ModelPackage.load("driving-s"))
    normalise(bundled, batches)
    close = (answers(bundled.train(), batches[0])[0] - before).abs().mean()
    assert close < 0.4 * apart


def test_a_training_begins_with_a_package(scenes, tmp_path):
    trainer = Trainer(TrainConfig(frames=scenes, out=tmp_path, steps=1, batch=2))
    anew = trainer.begin_with("driving-s")
    assert {name.partition(".")[0] for name in anew} == {"image_head"}
    (batch,) = itertools.islice(SceneBatches(scenes, trainer.preset, batch=2, seed=1), 1)
    assert np.isfinite(trainer.step(batch)["loss"])


def test_a_package_that_is_not_there_is_told(scenes, tmp_path):
    trainer = Trainer(TrainConfig(frames=scenes, out=tmp_path, steps=1, batch=2))
    with pytest.raises(ConfigError, match="no model package there"):
        trainer.begin_with(tmp_path / "nothing")


def test_a_foreign_model_is_refused(model_package):
    spec = replace(model_package.spec, name="theirs")
    foreign = ModelPackage(model_package.folder, spec, model_package.pillars, model_package.points)
    with pytest.raises(ConfigError, match="'theirs' is not one of driving-s"):
        packaged_net(foreign)
