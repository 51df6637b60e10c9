"""The network on a batch: encode, remember, fuse."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fusion_rt.models.presets import Preset
from fusion_rt.train.geometry import bev_warp, lift
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.samples import Batch, Inputs


class TrainingNet(nn.Module):
    """The network and the head that teaches the camera encoder; the head is not exported."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.net = DrivingNet(preset)
        classes = len(preset.classes)
        self.image_head = nn.Conv2d(preset.canvas_channels, 2 * classes + 2, 1)
        bias = self.image_head.bias
        assert bias is not None
        nn.init.constant_(bias[:classes], -4.6)
        nn.init.zeros_(bias[classes:])

    def forward(self, batch: Batch) -> tuple[tuple[Tensor, ...], Tensor, Tensor | None]:
        """(heatmap, boxes, features, state, contribution) of the present frame, its lifted image features,
        and the image head's output where a sample has a camera."""
        state = self.remember(batch)
        camera = self.net.camera(batch.now.image) if len(batch.now.image) else None
        outputs, camera_bev = self.fuse(batch.now, camera, state)
        return outputs, camera_bev, None if camera is None else self.image_head(camera)

    def look(self, batch: Batch) -> Tensor:
        """The image head's output alone."""
        output: Tensor = self.image_head(self.net.camera(batch.now.image))
        return output

    def fuse(self, inputs: Inputs, camera: Tensor | None, state: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """All outputs for a moment, its image features and the warped state; and the features lifted."""
        pillars, canvas, depth = self.canvases(inputs, camera)
        outputs: tuple[Tensor, ...] = self.net.bev(pillars, canvas, depth, state, inputs.context)
        return outputs, canvas

    def canvases(self, inputs: Inputs, camera: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Pillars, lifted camera features and the depth of their cells; zero where a modality is absent."""
        p = self.preset
        batch = inputs.counts.shape[0]
        pillars = self.net.pillars(inputs.features, inputs.pillar, inputs.cell, inputs.counts)
        canvas = torch.zeros(batch, p.canvas_channels, p.head_ny, p.head_nx)
        canvas = canvas.to(memory_format=torch.channels_last)
        depth = torch.zeros(batch, 1, p.head_ny, p.head_nx)
        if camera is not None:
            lifted, far = lift(camera, inputs.P, p)
            canvas = canvas.index_copy(0, inputs.image_index, lifted)
            depth = depth.index_copy(0, inputs.image_index, far)
        return pillars, canvas, depth

    def remember(self, batch: Batch) -> Tensor:
        """The previous frame's state in the present frame, zero for samples without a memory.

        Gradients reach the layer that writes the state, not the pass before it."""
        p = self.preset
        zeros = torch.zeros(batch.now.counts.shape[0], p.state_channels, p.head_ny, p.head_nx)
        if batch.previous is None:
            return zeros
        empty = zeros[: len(batch.memory_index)]
        with torch.no_grad():
            camera = self.net.camera(batch.previous.image) if len(batch.previous.image) else None
            features = self.fuse(batch.previous, camera, empty)[0][2]
        state = self.net.bev.next_state(features)
        return zeros.index_copy(0, batch.memory_index, bev_warp(state, batch.T_prev_now, p))
