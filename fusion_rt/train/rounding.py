"""Quantisation-aware training: convolutions round in training as they do in the INT8 files, and the weights
learn to live with it. Rounding has no slope: the gradient passes it as if it were not there.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from fusion_rt.engine.signed import SIGNED, UNSIGNED
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.quantize import QUANTISED

WEIGHT_LEVELS = 64  # either side of zero: the files' seven bits


def round_convolutions(net: DrivingNet) -> list[str]:
    """From now on these layers round their weights, a scale a channel, and their inputs, one scale; returns
    their names. Weights, their names and what is saved stay as they were."""
    changed = []
    for part, kept in QUANTISED.items():
        for name, layer in getattr(net, part).named_modules():
            # The files name a layer by its path: "/lidar.1.0/lidar.1.0.0/Conv".
            path = f"/{'/'.join(_paths(name))}/"
            if isinstance(layer, nn.Conv2d) and not any(k in path for k in kept):
                layer.forward = partial(_forward, layer)  # type: ignore[method-assign]
                changed.append(f"{part}.{name}")
    return changed


def _paths(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _forward(layer: nn.Conv2d, x: Tensor) -> Tensor:
    return layer._conv_forward(rounded_input(x), rounded_weight(layer.weight), layer.bias)


def rounded_input(x: Tensor) -> Tensor:
    """(B, channels, h, w) to the nearest of 255 levels up to its largest magnitude; the files' is that which
    errs least on the frames that they were calibrated on."""
    if x.numel() == 0:
        return x
    lowest, highest = x.detach().aminmax()
    levels = UNSIGNED if lowest >= 0 else SIGNED
    scale = (torch.maximum(highest, -lowest) / levels).clamp(min=1e-12).reshape(1)
    nothing = torch.zeros(1, dtype=torch.int32, device=x.device)
    bottom = 0 if lowest >= 0 else -levels
    return torch.fake_quantize_per_tensor_affine(x, scale, nothing, bottom, levels)


def rounded_weight(weight: Tensor) -> Tensor:
    """(out, in, h, w) to the nearest of its channel's levels, as the files hold it."""
    scales = (weight.detach().abs().amax(dim=(1, 2, 3)) / WEIGHT_LEVELS).clamp(min=1e-12)
    nothing = torch.zeros(len(scales), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, scales, nothing, 0, -WEIGHT_LEVELS, WEIGHT_LEVELS)
