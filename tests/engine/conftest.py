"""Small networks with random weights, exported once."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A float and an INT8 export of driving-s with random weights, calibrated on random inputs."""
    import numpy as np

    from fusion_rt.models.presets import DRIVING_S
    from fusion_rt.train.export import export_float, tensor_shapes
    from fusion_rt.train.network import DrivingNet
    from fusion_rt.train.quantize import QUANTISED, quantize_part

    folder = tmp_path_factory.mktemp("package")
    torch.manual_seed(0)
    net = DrivingNet(DRIVING_S).eval()
    for module in net.modules():  # so that folding has something to fold
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.7, 1.3)
            torch.nn.init.uniform_(module.bias, -0.2, 0.2)
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=0.1)
    export_float(net, folder)
    torch.save(net.state_dict(), folder / "net.pt")
    for part in QUANTISED:
        rng = np.random.default_rng(0)
        shapes = tensor_shapes(DRIVING_S)[part][0]
        feeds = [{n: rng.random(s, dtype=np.float32) for n, s in shapes.items()} for _ in range(2)]
        quantize_part(part, folder / f"{part}.onnx", folder / f"{part}.int8.onnx", feeds)
    return folder
