"""The sizes of a network: one frozen description that training, export and the runtime share."""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace


class Preset(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a driving network sees and how wide it is.

    The pillar canvas has `ny` rows (y) and `nx` columns (x) of `cell_m`; the head's canvas has
    `stride` times larger cells over the same ground, a multiple of four of them each way, which the trunk
    halves twice. Heights are metres above the ground. The roi_points kernel wants 16 and a multiple of 64 as
    `point_widths`.
    """

    name: str
    classes: tuple[str, ...]
    x_min: float
    y_min: float
    cell_m: float
    nx: int
    ny: int
    stride: int
    z_min: float
    z_max: float
    z_levels: tuple[float, ...]
    image_width: int
    image_height: int
    image_mean: tuple[float, float, float]  # RGB, 0..255
    image_std: tuple[float, float, float]
    focal_px: float  # of the camera whose depths the network knows
    camera_stride: int
    pillar_channels: int
    canvas_channels: int
    camera_widths: tuple[int, int, int, int, int]  # at strides 2, 4, 8, 16, 32
    trunk_widths: tuple[int, int]
    feature_channels: int
    state_channels: int
    point_widths: tuple[int, int]  # of what the second look makes of a box's points
    refine_widths: tuple[int, int]
    peak_slack: float = 0.5  # logit: a cell is a peak where no neighbour is higher by more
    context: int = 16
    box_context: int = 16
    box_channels: int = 15

    @property
    def head_nx(self) -> int:
        return self.nx // self.stride

    @property
    def head_ny(self) -> int:
        return self.ny // self.stride

    @property
    def head_cell_m(self) -> float:
        return self.cell_m * self.stride


DRIVING_S = Preset(
    name="driving-s",
    classes=("car", "pedestrian", "cyclist"),
    x_min=0.0,
    y_min=-35.84,
    cell_m=0.32,
    nx=224,
    ny=224,
    stride=2,
    z_min=-1.5,
    z_max=4.5,
    z_levels=(0.4, 1.1, 1.8),
    image_width=960,
    image_height=288,
    image_mean=(123.7, 116.3, 103.5),
    image_std=(58.4, 57.1, 57.4),
    focal_px=372.0,
    camera_stride=4,
    pillar_channels=15,
    canvas_channels=32,
    camera_widths=(16, 32, 64, 96, 128),
    trunk_widths=(40, 80),
    feature_channels=32,
    state_channels=16,
    point_widths=(16, 64),
    refine_widths=(128, 64),
)

# For a GPU: finer cells, ground all around for cameras all around, four times the arithmetic (10.3 GFLOP an
# answer, 1.7 million parameters).
DRIVING_M = replace(
    DRIVING_S,
    name="driving-m",
    x_min=-36.8,
    y_min=-36.0,
    cell_m=0.2,
    nx=544,
    ny=360,
    pillar_channels=31,
    canvas_channels=40,
    camera_widths=(24, 48, 96, 144, 192),
    trunk_widths=(60, 120),
    feature_channels=40,
    state_channels=24,
    point_widths=(16, 128),
    refine_widths=(192, 96),
)

PRESETS = {preset.name: preset for preset in (DRIVING_S, DRIVING_M)}
