"""The driving network: pillars, camera, bird's-eye-view trunk and refinement.

The encoders of the modalities are *summed* onto one canvas, each a map that is exactly zero when its
modality is absent. That sum is what makes the contribution of each modality readable: it is the mean
magnitude of its summand in a cell, as a share of the three. (Of every other cell and row:
all of them would take a tenth of the network's time.)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fusion_rt.models.presets import Preset
from fusion_rt.train.geometry import VIEW_SIDE, scatter_max

LIDAR_PRESENT = 4  # index into the context vector
SPARSE = 2  # the contribution is computed in every SPARSE-th cell
ANSWER = (1, 8, 1, 5)  # of the refinement: score, box deltas, facing, log standard deviations


def conv_bn(
    inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1, relu: bool = True
) -> nn.Sequential:
    """Convolution, batch normalisation and (if asked) ReLU; folded into one convolution at export."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def separable(inputs: int, outputs: int, *, relu: bool = True) -> nn.Sequential:
    """A 3x3 convolution of each channel by itself, then 1x1 across them: an eighth of the products, for
    where the canvas is finest."""
    spatial = nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, 1, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
    )
    return nn.Sequential(spatial, conv_bn(inputs, outputs, kernel=1, relu=relu))


def doubled(x: Tensor) -> Tensor:
    """Twice as wide and high, each cell repeated."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


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
        return canvas.reshape(batch, p.ny, p.nx, rows.shape[1]).permute(0, 3, 1, 2)


class CameraEncoder(nn.Module):
    """Image (B, 3, h, w) -> features (B, C, h / 4, w / 4).

    Down to stride 32 for context, up again to stride 4 for far objects, which are a few pixels wide."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        a, b, c, d, e = preset.camera_widths
        self.stem = nn.Sequential(conv_bn(3, a, stride=2), conv_bn(a, b, stride=2))
        self.down8 = nn.Sequential(conv_bn(b, c, stride=2), conv_bn(c, c))
        self.down16 = nn.Sequential(conv_bn(c, d, stride=2), conv_bn(d, d))
        self.down32 = nn.Sequential(conv_bn(d, e, stride=2), conv_bn(e, e))
        self.up32 = conv_bn(e, d, kernel=1, relu=False)
        self.up16 = conv_bn(d, c, kernel=1, relu=False)
        self.up8 = conv_bn(c, b, kernel=1, relu=False)
        self.out = conv_bn(b, preset.canvas_channels)

    def forward(self, image: Tensor) -> Tensor:
        x4 = self.stem(image)
        x8 = self.down8(x4)
        x16 = self.down16(x8)
        x16 = F.relu(x16 + doubled(self.up32(self.down32(x16))))
        x8 = F.relu(x8 + doubled(self.up16(x16)))
        features: Tensor = self.out(F.relu(x4 + doubled(self.up8(x8))))
        return features


class BevNetwork(nn.Module):
    """Fuses the canvases and reads boxes, features and the next state from them."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        c, f = preset.canvas_channels, preset.feature_channels
        mid, deep = preset.trunk_widths
        self.lidar = nn.Sequential(
            conv_bn(preset.pillar_channels + 1, c, stride=preset.stride), separable(c, c, relu=False)
        )
        self.camera = nn.Conv2d(c, c, 1, bias=False)
        # A cell knows how far it is from the camera: with the distance that the image's features tell, the
        # sum says which cells along a ray the object stands in.
        self.seen = nn.Conv2d(2, c, 1, bias=False)
        self.memory = nn.Conv2d(preset.state_channels, c, 1, bias=False)
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
        self.merge1 = separable(c, f)
        self.hidden = conv_bn(f, f, kernel=1)
        self.heatmap = nn.Conv2d(f, len(preset.classes), 1)
        self.boxes = nn.Conv2d(f, preset.box_channels, 1)
        self.state = nn.Conv2d(f, preset.state_channels, 1)
        nn.init.constant_(self.heatmap.bias, -math.log(99.0))  # type: ignore[arg-type]
        nn.init.normal_(self.seen.weight, std=0.1)
        nn.init.zeros_(modulation.weight)
        nn.init.zeros_(modulation.bias)
        self.mid = mid

    def forward(
        self, pillars: Tensor, camera_bev: Tensor, camera_depth: Tensor, state: Tensor, context: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Returns heatmap logits, boxes, features, next state, contribution (see the model package)."""
        lidar = self.lidar(pillars) * context[:, LIDAR_PRESENT].reshape(-1, 1, 1, 1)
        seen = (10 * camera_depth).clamp(0, 1)  # a cell that is seen is at least 0.1 m away
        far = torch.log1p(camera_depth) / 4
        camera = self.camera(camera_bev) + self.seen(torch.cat([seen, far], dim=1))
        memory = self.memory(state)
        fused = F.relu(lidar + camera + memory + self.bias)

        x1 = self.block1(self.down1(fused))
        gain, offset = self.film(context).reshape(-1, 2 * self.mid, 1, 1).split(self.mid, dim=1)
        x1 = x1 * (1 + gain) + offset
        x2 = self.block2(self.down2(x1))
        y1 = self.merge2(F.relu(x1 + doubled(self.up2(x2))))
        y0 = F.relu(fused + doubled(self.up1(y1)))
        features = self.merge1(y0)
        hidden = self.hidden(features)
        summands = [s[:, :, ::SPARSE, ::SPARSE] for s in (lidar, camera, memory)]
        magnitude = torch.cat([s.abs().mean(1, keepdim=True) for s in summands], dim=1)
        contribution = magnitude / (magnitude.sum(1, keepdim=True) + 1e-6)
        return self.heatmap(hidden), self.boxes(hidden), features, self.next_state(features), contribution

    def next_state(self, features: Tensor) -> Tensor:
        """What the next frame remembers: (B, S, ny, nx), -1..1."""
        return self.state(features).clamp(-1, 1)


class PointEncoder(nn.Module):
    """The points in and around a box: two linear layers with ReLU on each, the largest response of all.

    A point is where it lies in the box (along, across, up from the centre, m); a box is its half length,
    width and height (m) and its class, so that a channel can tell how far points reach beyond a face (as
    LiDAR R-CNN, Li et al. 2021, argues it must). The runtime computes the same in the `roi_points` kernel.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        a, b = preset.point_widths
        self.at = nn.Linear(3, a, bias=False)
        self.box = nn.Linear(3 + len(preset.classes), a)
        self.second = nn.Linear(a, b)
        self.classes = len(preset.classes)

    def forward(self, points: Tensor, box: Tensor, counts: Tensor, sizes: Tensor, kinds: Tensor) -> Tensor:
        """points (N, 3) each in the frame of its box (N,) int64, counts (n,), sizes (n, 3) m, kinds (n,)
        int64. Returns (n, C + 1): the responses, 0 where a box has no point, and log1p(count) / 5."""
        about = self.box(torch.cat([sizes / 2, F.one_hot(kinds, self.classes).to(sizes.dtype)], dim=1))
        values = F.relu(self.second(F.relu(self.at(points) + about[box])))
        return torch.cat([scatter_max(values, box, len(sizes)), torch.log1p(counts)[:, None] / 5], dim=1)


class Refiner(nn.Module):
    """h(E, D(E)): looks again at the features around each decoded box and at the points in it.

    roi (n, 5 * F), view (n, 9 * C), box (n, 16), points (n, P + 1) -> score logit delta (n, 1); box
    deltas (n, 8): along the box (m), across (m), z (m), log l, log w, log h, and of twice the turn the sine
    and the cosine less one, so that none is left or right of a quarter turn; the logit of facing the other
    way (n, 1); changes of the log standard deviations (n, 5). What the camera sees in the box's outline comes
    in beside the fused features, whose cells are as wide as a person.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        a, b = preset.refine_widths
        self.canvases = 5 * preset.feature_channels + VIEW_SIDE**2 * preset.canvas_channels
        inputs = self.canvases + preset.box_context
        self.layers = nn.Sequential(
            nn.Linear(inputs + preset.point_widths[1] + 1, a),
            nn.ReLU(),
            nn.Linear(a, b),
            nn.ReLU(),
            nn.Linear(b, sum(ANSWER)),
        )
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forget_canvases(self) -> None:
        """Look at box and points alone, until training says otherwise."""
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        nn.init.zeros_(first.weight[:, : self.canvases])

    def forward(self, roi: Tensor, view: Tensor, box: Tensor, points: Tensor) -> tuple[Tensor, ...]:
        return self.layers(torch.cat([roi, view, box, points], dim=1)).split(ANSWER, dim=1)


class DrivingNet(nn.Module):
    """All parts; each is exported on its own."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.pillars = PillarEncoder(preset)
        self.camera = CameraEncoder(preset)
        self.bev = BevNetwork(preset)
        self.points = PointEncoder(preset)
        self.refine = Refiner(preset)
