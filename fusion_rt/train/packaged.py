"""The network of a model package, as training wants it: a package has folded the normalisation away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from fusion_rt.errors import ConfigError
from fusion_rt.models.package import ModelPackage
from fusion_rt.models.presets import PRESETS, Preset
from fusion_rt.train.export import tensor_shapes
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.samples import Batch
from fusion_rt.train.step import TrainingNet


def preset_of(package: ModelPackage) -> Preset:
    """Raises ConfigError where the package was not made from a preset of ours."""
    preset = PRESETS.get(package.spec.name)
    if preset is None:
        raise ConfigError(f"{package.folder}: {package.spec.name!r} is not one of {', '.join(PRESETS)}")
    return preset


def packaged_net(package: ModelPackage) -> DrivingNet:
    """A network that answers as the package's float32 files do. Its normalisations change nothing yet:
    `normalise` gives them something to do before it is trained on. To inputs of the second look that the
    package's had not, or had otherwise, it does not listen yet.

    Raises ConfigError where the package was not made from a preset of ours."""
    preset = preset_of(package)
    net = DrivingNet(preset)
    parts = {name: _initializers(package.path(name, "f32")) for name in ("camera", "bev", "refine")}
    state = {f"{part}.{name}": value for part, values in parts.items() for name, value in values.items()}
    first = "refine.layers.0.weight"
    state[first] = _columns(state[first], _input_widths(package.path("refine", "f32")), preset)
    W, b = package.pillars
    p = package.points
    state |= {
        "pillars.linear.weight": _tensor(W.T),
        "pillars.linear.bias": _tensor(b),
        "points.at.weight": _tensor(p.at.T),
        "points.box.weight": _tensor(np.concatenate([p.size, p.kind]).T),
        "points.box.bias": torch.zeros(len(p.kind[0])),  # it stands in each class's row
        "points.second.weight": _tensor(p.second.T),
        "points.second.bias": _tensor(p.bias),
    }
    for conv, norm, module in _normalised(net):
        state |= _only_adds(norm, state.pop(f"{conv}.bias", torch.zeros(module.num_features)), module.eps)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(f"{package.folder}: is not of preset {preset.name!r}: {error}") from error
    return net


def _columns(weight: Tensor, widths: Mapping[str, int], preset: Preset) -> Tensor:
    """The second look's first layer, whose inputs are so wide, for those that ours has: of the same name and
    width."""
    given = dict(zip(widths, weight.split(list(widths.values()), dim=1)))
    ours = tensor_shapes(preset)["refine"][0]
    columns = [
        given[name] if widths.get(name) == shape[-1] else weight.new_zeros(len(weight), shape[-1])
        for name, shape in ours.items()
    ]
    return torch.cat(columns, dim=1)


@torch.no_grad()
def mean_net(net: DrivingNet, package: ModelPackage) -> DrivingNet:
    """The network whose weights lie halfway between a network's and a package's. Where one began with the
    other, it answers worlds like those that both learned from nearly as well as the better one, and others
    often better than either (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").

    Raises ConfigError where the package is of another preset."""
    theirs = packaged_net(package)
    if theirs.preset != net.preset:
        raise ConfigError(f"{package.folder}: preset {theirs.preset.name!r}, not {net.preset.name!r}")
    folded = net.state_dict()
    for conv, norm, module in _normalised(net):
        convolution = net.get_submodule(conv)
        assert isinstance(convolution, nn.Conv2d)
        fused = fuse_conv_bn_eval(convolution, module)
        assert fused.bias is not None
        folded[f"{conv}.weight"] = fused.weight
        folded |= _only_adds(norm, fused.bias, module.eps)
    given = theirs.state_dict()
    theirs.load_state_dict(
        {
            name: value.lerp(given[name], 0.5) if value.dtype.is_floating_point else value
            for name, value in folded.items()
        }
    )
    return theirs.eval()


def _only_adds(norm: str, bias: Tensor, eps: float) -> dict[str, Tensor]:
    """The tensors of a normalisation that adds a bias to its inputs and changes nothing else."""
    n = len(bias)
    return {
        f"{norm}.weight": torch.ones(n),
        f"{norm}.bias": bias,
        f"{norm}.running_mean": torch.zeros(n),
        f"{norm}.running_var": torch.full((n,), 1 - eps),
        f"{norm}.num_batches_tracked": torch.tensor(0),
    }


@torch.no_grad()
def normalise(model: TrainingNet, batches: Iterable[Batch]) -> None:
    """Gives each normalisation the mean and variance that its inputs have over these batches, and scales so
    that the network still answers the same: what a training learns from goes through as if it had always."""
    norms = [module for _, _, module in _normalised(model.net)]
    sums: dict[nn.Module, Tensor] = {m: torch.zeros(3, m.num_features, dtype=torch.float64) for m in norms}

    def add(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double().transpose(0, 1).flatten(1)  # (channels, n)
        sums[module] += torch.stack([torch.full((len(x),), x.shape[1]), x.sum(1), x.square().sum(1)])

    hooks = [module.register_forward_pre_hook(add) for module in norms]
    was, _ = model.training, model.eval()
    for batch in batches:
        model(batch)
    for hook in hooks:
        hook.remove()
    model.train(was)
    for module in norms:
        count, total, square = sums[module]
        if not count.all():  # nothing went through
            continue
        mean = (total / count).float()
        variance = (square / count - (total / count) ** 2).clamp(min=1e-8).float()
        assert module.running_mean is not None
        assert module.running_var is not None
        scale = module.weight / torch.sqrt(module.running_var + module.eps)
        offset = module.bias - scale * module.running_mean
        module.weight.copy_(scale * torch.sqrt(variance + module.eps))
        module.bias.copy_(offset + scale * mean)
        module.running_mean.copy_(mean)
        module.running_var.copy_(variance)


def _normalised(net: DrivingNet) -> list[tuple[str, str, nn.BatchNorm2d]]:
    """Names of each convolution and of the normalisation after it, and that."""
    modules = dict(net.named_modules())
    norms = [(name, m) for name, m in modules.items() if isinstance(m, nn.BatchNorm2d)]
    return [(f"{name.rpartition('.')[0]}.{int(name.rpartition('.')[2]) - 1}", name, m) for name, m in norms]


def _input_widths(path: Path) -> dict[str, int]:
    """Of the inputs of a part, in their order there: model.yaml's may be any."""
    inputs = onnx.load(str(path)).graph.input
    return {tensor.name: tensor.type.tensor_type.shape.dim[-1].dim_value for tensor in inputs}


def _initializers(path: Path) -> dict[str, Tensor]:
    initial = onnx.load(str(path)).graph.initializer
    return {t.name.removeprefix("part."): _tensor(numpy_helper.to_array(t)) for t in initial}


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array, np.float32, order="C"))
