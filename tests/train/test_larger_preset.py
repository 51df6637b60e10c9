"""driving-m leaves training as a package of every precision, which the runtime reads and runs."""

import numpy as np
import pytest

from fusion_rt.device import CpuDevice
from fusion_rt.models.package import ModelPackage
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View
from fusion_rt.train.config import TrainConfig
from fusion_rt.train.loop import Trainer
from fusion_rt.train.write_package import write_package


@pytest.fixture(scope="module")
def exported(larger_net, scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("larger")
    config = TrainConfig(
        frames=scenes, out=folder, preset="driving-m", steps=1, batch=1, threads=1, workers=0, device="cpu"
    )
    trainer = Trainer(config)
    trainer.average.load_state_dict(larger_net.state_dict())
    trainer.save(folder / "last.pt")
    write_package(
        folder / "last.pt", scenes, folder / "model", scenes=1, thresholds=(0.1, 0.1, 0.1), version="test"
    )
    return ModelPackage.load(folder / "model")


def test_it_says_what_it_is(exported):
    assert exported.identity.startswith("driving-m-test-")
    assert set(exported.spec.precisions) == {"f32", "f16", "int8"}
    assert (exported.spec.grid.cell_m, exported.spec.grid.nx, exported.spec.grid.ny) == (0.2, 544, 360)


@pytest.mark.parametrize("precision", ["f32", "f16", "int8"])
def test_every_precision_finds_about_the_same(exported, street, rig, precision):
    perception = Perception(exported, CpuDevice(1), precision=precision)
    cloud, image = street()
    camera, T = rig.cameras["camera"], rig.lidars["lidar"].T_ego_lidar[None, :3].astype(np.float32)
    sweep = Sweep(cloud, np.zeros(1, np.float32), np.ascontiguousarray(T))
    view = View(perception.see(image, camera), camera.T_camera_ego)
    found = perception.detect([sweep], [view], Motion()).detections
    assert len(found.boxes) > 15
    assert np.isfinite(found.boxes).all()
