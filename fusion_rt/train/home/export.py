"""From a checkpoint to the package home-s: ONNX and head.yaml."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from fusion_rt.home.network import PERSON, ROOM_ACTIVITIES
from fusion_rt.home.room_features import COLUMNS
from fusion_rt.models.head import MODEL, HeadSpec, describe
from fusion_rt.train.home.network import Deployed, HomeNet
from fusion_rt.train.onnx_file import export_onnx


def export(net: HomeNet, folder: Path, *, version: str, trained_with: str) -> HeadSpec:
    """Writes the package."""
    folder.mkdir(parents=True, exist_ok=True)
    inputs, outputs = net.sizes.shapes()
    export_onnx(Deployed(folded(net)), inputs, outputs, folder / MODEL)
    return describe(
        folder,
        name="home-s",
        version=version,
        inputs=inputs,
        outputs=outputs,
        features={"rooms": COLUMNS},
        labels={
            "counts": ("0", "1", "2", "3", "4+"),
            "activities": ROOM_ACTIVITIES,
            "people": PERSON,
        },
        trained_with=trained_with,
        licence="simulated homes of this project only (fusion_rt.sim.home); the weights are Apache-2.0",
    )


def folded(net: HomeNet) -> HomeNet:
    """A copy in evaluation mode, its normalisations part of its convolutions."""
    net = copy.deepcopy(net).eval()
    fuse = torch.nn.utils.fusion.fuse_conv_bn_eval
    for part in (net.stem, *net.blocks):
        part[-3], part[-2] = fuse(part[-3], part[-2]), nn.Identity()
    net.join, net.norm = fuse(net.join, net.norm), nn.Identity()  # type: ignore[assignment]
    return net
