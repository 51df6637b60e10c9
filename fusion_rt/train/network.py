"""The driving network: pillars, camera, bird's-eye-view trunk and refinement.

The encoders of the modalities are *summed* onto one canvas, each a map that is exactly zero when its
modality is absent. That sum is what makes the contribution of each modality readable: it is the mean
magnitude of its summand in a cell, as a share of the three.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusion_rt.models.presets import Preset
from fusion_rt.train.geometry import scatter_max

LIDAR_PRESENT = 4  # index into the context vector


def conv_bn(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and (if asked) ReLU; folded into one convolution at export."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


class Residual(nn.Module):
    """relu(x + conv(relu(conv(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn(channels, channels)
        self.second = conv_bn(channels, channels, relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)))


class PillarEncoder(nn.Module):
    """The first linear layer of the lidar: per point 8 -> C, ReLU, largest in each pillar.

    The runtime computes the same in the `pillars` kernel from W (8, C) and b (C).
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.linear = nn.Linear(8, preset.pillar_channels)
        self.preset = preset

    def forward(self, features: Tensor, pillar: Tensor, cell: Tensor, counts: Tensor) -> Tensor:
        """features (N, 8), pillar (N,) numbers the occupied pillars, cell (pillars,) where each lies in
        the flattened batch canvas, counts (B, ny, nx) already log1p(count) / 5.
        Returns (B, C + 1, ny, nx)."""
        p = self.preset
        batch = counts.shape[0]
        values = scatter_max(F.relu(self.linear(features)), pillar, len(cell))
        rows = torch.cat([values, counts.reshape(-1)[cell][:, None]], dim=1)
        canvas = rows.new_zeros(batch * p.ny * p.nx, rows.shape[1]).index_copy(0, cell, rows)
        return canvas.reshape(batch, p.ny, p.nx, -1).permute(0, 3, 1, 2)


class CameraEncoder(nn.Module):
    """Image (B, 3, 192, 640) -> features (B, 32, 24, 80)."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        a, b, c, d = preset.camera_widths
        self.stem = nn.Sequential(conv_bn(3, a, stride=2), conv_bn(a, b, stride=2), conv_bn(b, c, stride=2))
        self.deep = nn.Sequential(conv_bn(c, d, stride=2), conv_bn(d, d), conv_bn(d, d))
        self.up = conv_bn(d, c, kernel=1, relu=False)
        self.out = conv_bn(c, preset.canvas_channels, kernel=1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.stem(image)
        deep = F.interpolate(self.up(self.deep(x)), scale_factor=2.0, mode="nearest")
        features: Tensor = self.out(F.relu(x + deep))
        return features


class BevNetwork(nn.Module):
    """Fuses the canvases and reads boxes, features and the next state from them."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        c, f = preset.canvas_channels, preset.feature_channels
        mid, deep = preset.trunk_widths
        self.lidar = nn.Sequential(
            conv_bn(preset.pillar_channels + 1, c, stride=preset.stride), conv_bn(c, c, relu=False)
        )
        self.camera = nn.Conv2d(c, c, 1, bias=False)
        self.seen = nn.Conv2d(1, c, 1, bias=False)
        self.memory = nn.Conv2d(c, c, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(1, c, 1, 1))
        self.down1 = conv_bn(c, mid, stride=2)
        self.block1 = Residual(mid)
        modulation = nn.Linear(32, 2 * mid)
        self.film = nn.Sequential(nn.Linear(preset.context, 32), nn.ReLU(), modulation)
        self.down2 = conv_bn(mid, deep, stride=2)
        self.block2 = Residual(deep)
        self.up2 = conv_bn(deep, mid, kernel=1, relu=False)
        self.merge2 = conv_bn(mid, mid)
        self.up1 = conv_bn(mid, c, kernel=1, relu=False)
        self.merge1 = conv_bn(c, f)
        self.hidden = conv_bn(f, f, kernel=1)
        self.heatmap = nn.Conv2d(f, len(preset.classes), 1)
        self.boxes = nn.Conv2d(f, preset.box_channels, 1)
        self.state = nn.Conv2d(f, c, 1)
        nn.init.constant_(self.heatmap.bias, -math.log(99.0))  # type: ignore[arg-type]
        nn.init.zeros_(modulation.weight)
        nn.init.zeros_(modulation.bias)
        self.mid = mid

    def forward(
        self, pillars: Tensor, camera_bev: Tensor, camera_valid: Tensor, state: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Returns heatmap logits, boxes, features, next state, contribution (see the model package)."""
        lidar = self.lidar(pillars) * context[:, LIDAR_PRESENT].reshape(-1, 1, 1, 1)
        camera = self.camera(camera_bev) + self.seen(camera_valid)
        memory = self.memory(state)
        fused = F.relu(lidar + camera + memory + self.bias)

        x1 = self.block1(self.down1(fused))
        gain, offset = self.film(context).reshape(-1, 2 * self.mid, 1, 1).split(self.mid, dim=1)
        x1 = x1 * (1 + gain) + offset
        x2 = self.block2(self.down2(x1))
        y1 = self.merge2(F.relu(x1 + F.interpolate(self.up2(x2), scale_factor=2.0, mode="nearest")))
        y0 = F.relu(fused + F.interpolate(self.up1(y1), scale_factor=2.0, mode="nearest"))
        features = self.merge1(y0)
        hidden = self.hidden(features)
        magnitude = torch.cat([s.abs().mean(1, keepdim=True) for s in (lidar, camera, memory)], dim=1)
        contribution = magnitude / (magnitude.sum(1, keepdim=True) + 1e-6)
        return self.heatmap(hidden), self.boxes(hidden), features, self.next_state(features), contribution

    def next_state(self, features: Tensor) -> Tensor:
        """What the next frame remembers: (B, C, ny, nx), -1..1."""
        return self.state(features).clamp(-1, 1)


class Refiner(nn.Module):
    """h(E, D(E)): looks again at the features around each decoded box.

    roi (n, 5 * F), box (n, 16) -> score logit delta (n, 1), box deltas (n, 7): along the box (m),
    across (m), z (m), log l, log w, log h, yaw (rad).
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        a, b = preset.refine_widths
        inputs = 5 * preset.feature_channels + preset.box_context
        self.layers = nn.Sequential(
            nn.Linear(inputs, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, 8)
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, roi: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        out = self.layers(torch.cat([roi, box], dim=1))
        return out[:, :1], out[:, 1:]


class DrivingNet(nn.Module):
    """All parts; each is exported on its own."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.pillars = PillarEncoder(preset)
        self.camera = CameraEncoder(preset)
        self.bev = BevNetwork(preset)
        self.refine = Refiner(preset)
