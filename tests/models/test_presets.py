"""Every preset is a network that trains, exports and runs."""

import numpy as np
import pytest

from fusion_rt.device import CpuDevice
from fusion_rt.models.presets import DRIVING_M, DRIVING_S, PRESETS
from fusion_rt.perception import Perception
from fusion_rt.percepts import Motion, Sweep, View


@pytest.mark.parametrize("preset", PRESETS.values(), ids=list(PRESETS))
def test_sizes_fit_together(preset):
    assert preset.nx % (4 * preset.stride) == preset.ny % (4 * preset.stride) == 0
    assert preset.image_width % 32 == preset.image_height % 32 == 0
    assert preset.point_widths[0] == 16
    assert preset.point_widths[1] % 64 == 0


def test_m_sees_the_ground_of_s():
    assert DRIVING_M.x_min <= DRIVING_S.x_min
    assert DRIVING_M.y_min <= DRIVING_S.y_min
    assert DRIVING_M.nx * DRIVING_M.cell_m >= DRIVING_S.nx * DRIVING_S.cell_m


def test_m_finds_on_the_cpu_what_torch_finds(larger_net, larger_package, street, as_scene, rig):
    pytest.importorskip("torch")
    from fusion_rt.train.predict import predict
    from fusion_rt.train.samples import Use, collate, make_sample

    model = larger_net
    perception = Perception(larger_package, CpuDevice(1))
    cloud, image = street()
    camera, T = rig.cameras["camera"], rig.lidars["lidar"].T_ego_lidar[None, :3].astype(np.float32)
    sweep = Sweep(cloud, np.zeros(1, np.float32), np.ascontiguousarray(T))
    view = View(perception.see(image, camera), camera.T_camera_ego)
    found = perception.detect([sweep], [view], Motion()).detections

    scene = as_scene(street(), street(), np.eye(4), (0.0, 0.0, 0.0))
    sample = make_sample(scene, Use(memory=False, ego=False), DRIVING_M, None)
    (expected,) = predict(model, collate([sample], DRIVING_M))
    assert len(expected.rows) > 15
    # Each box that is not at an edge of a decision (peak, overlap) is in both lists.
    distance = np.abs(found.boxes[:, None, :6] - expected.rows[None, :, :6]).max(2)
    assert (distance.min(0) < 0.01).mean() > 0.95
    assert (distance.min(1) < 0.01).mean() > 0.95
