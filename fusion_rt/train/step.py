"""The network on a batch: encode, remember, fuse."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusion_rt.models.presets import Preset
from fusion_rt.train.geometry import Sight, bev_warp, lift
from fusion_rt.train.network import DrivingNet
from fusion_rt.train.samples import Batch, Inputs

# Share of the camera's channels on the canvas that a training sample goes without: simulated images tell
# more than real ones do, and what leans on no single channel of theirs errs less on those.
CAMERA_LOST = 0.2


class TrainingNet(nn.Module):
    """The network and the head that teaches the camera encoder; the head is not exported.

    unroll  through so many passes before the present one gradients go, along the state
    mixed   whether the image encoder and the trunk compute in bfloat16; what they give is float32
    most    the largest such count of all that train together. Where they normalise by the statistics of all
            of them, a layer that one uses must be passed by each, if with no samples"""

    unroll = 0
    mixed = False
    most: Callable[[int], int] = int

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

    def forward(self, batch: Batch) -> tuple[tuple[Tensor, ...], Sight, Tensor | None]:
        """(heatmap, boxes, features, state, contribution) of the present frame, what its cameras see, and the
        image head's output where a sample has a camera."""
        state = self.remember(batch)
        camera = self.see(batch.now.image)
        outputs = self.fuse(batch.now, camera, state)
        return outputs, self.sight(batch.now, camera), None if camera is None else self.image_head(camera)

    def sight(self, inputs: Inputs, camera: Tensor | None) -> Sight:
        """The features of a moment's images, and where they look."""
        if camera is None:
            camera = inputs.image.new_zeros(0, self.preset.canvas_channels, 1, 1)
        return Sight(camera, inputs.P, inputs.image_index)

    def see(self, image: Tensor) -> Tensor | None:
        """The features of images (B', 3, h, w); None where there is none."""
        if not self.most(len(image)):
            return None
        with self._arithmetic(image):
            features: Tensor = self.net.camera(image)
        return features.float()

    def look(self, batch: Batch) -> Tensor:
        """The image head's output alone."""
        output: Tensor = self.image_head(self.see(batch.now.image))
        return output

    def fuse(self, inputs: Inputs, camera: Tensor | None, state: Tensor) -> tuple[Tensor, ...]:
        """All outputs for a moment, its image features and the warped state."""
        pillars, canvas, depth = self.canvases(inputs, camera)
        with self._arithmetic(canvas):
            outputs = self.net.bev(pillars, canvas, depth, state, inputs.context)
        return tuple(t.float() for t in outputs)

    def _arithmetic(self, given: Tensor) -> torch.autocast:
        # Of no samples, SyncBatchNorm tells the others its statistics in the type of its input, and they tell
        # theirs in float32.
        return torch.autocast(given.device.type, torch.bfloat16, enabled=self.mixed and len(given) > 0)

    def canvases(self, inputs: Inputs, camera: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Pillars, lifted camera features and the depth of their cells; zero where a modality is absent."""
        p = self.preset
        batch = inputs.counts.shape[0]
        pillars = self.net.pillars(inputs.features, inputs.pillar, inputs.cell, inputs.counts)
        zeros = inputs.context.new_zeros
        canvas = zeros(batch, p.canvas_channels, p.head_ny, p.head_nx)
        canvas = canvas.to(memory_format=torch.channels_last)
        depth = zeros(batch, 1, p.head_ny, p.head_nx)
        if camera is not None:
            lifted, far = lift(camera, inputs.P, p)
            lifted = F.dropout2d(lifted, CAMERA_LOST, self.training)
            canvas = canvas.index_copy(0, inputs.image_index, lifted)
            depth = depth.index_copy(0, inputs.image_index, far)
        return pillars, canvas, depth

    def remember(self, batch: Batch) -> Tensor:
        """The previous frame's state in the present frame, zero for samples without a memory; each frame of
        the past is looked at with the state of the one before it.

        Gradients reach the layer that writes the last state and the last `unroll` passes, none before."""
        p = self.preset
        shape = batch.now.counts.shape[0], p.state_channels, p.head_ny, p.head_nx
        zeros = state = batch.now.counts.new_zeros(shape)
        for age in range(self.most(len(batch.past)), 0, -1):
            past = batch.past[-age] if age <= len(batch.past) else batch.nobody()
            with torch.set_grad_enabled(torch.is_grad_enabled() and age <= self.unroll):
                features = self.fuse(past.inputs, self.see(past.inputs.image), state[past.index])[2]
            left = self.net.bev.next_state(features)
            state = zeros.index_copy(0, past.index, bev_warp(left, past.T_this_next, p))
        return state
