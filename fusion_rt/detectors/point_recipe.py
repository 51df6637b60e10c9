"""Recipes of detectors that look at point clouds, from above.

Their frame is x forward, y left, z up; its origin lies `height_m` above the ground.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from fusion_rt.detectors.recipe import Extent, Positive, Recipe, one_of
from fusion_rt.errors import ConfigError


class Space(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of the world a detector looks at, m; points outside are left out."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float
    z_min: float
    z_max: float

    def __post_init__(self) -> None:
        for axis in "xyz":
            low, high = getattr(self, f"{axis}_min"), getattr(self, f"{axis}_max")
            if not low < high:
                raise ConfigError(f"{axis}_min {low:g} is not below {axis}_max {high:g}")


class BevMap(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="bev_map"):
    """An image of the ground, `bev_map.draw`: (1, channels, rows, columns), rows along x.

    name      of the input
    channels  "height", "intensity", "density", in order
    full      points in a cell from which its density is 1
    """

    name: str
    rows: Extent
    columns: Extent
    channels: tuple[str, ...] = ("intensity", "height", "density")
    full: Annotated[int, Meta(ge=2)] = 64

    def __post_init__(self) -> None:
        for channel in self.channels:
            one_of("channels", channel, ("height", "intensity", "density"))


class Pillars(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="pillars"):
    """Points by pillar, `pillars.group`: names of the inputs, and sizes.

    voxels       (most, points, 4) x y z intensity
    counts       (most,) points in each
    coordinates  (most, 4) batch, z, row along y, column along x
    cell_m       side of a pillar
    most         so many pillars; what is more is left out
    points       so many points in each; what is more is left out
    """

    voxels: str
    counts: str
    coordinates: str
    cell_m: Positive
    most: Annotated[int, Meta(ge=1, le=1 << 17)]
    points: Annotated[int, Meta(ge=1, le=1 << 10)] = 32


class PointRecipe(Recipe, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detector of boxes in space.

    input     what it is given
    space     what it looks at
    height_m  of its origin above the ground: of the lidar that it was trained with
    std       of its boxes: x, y, z (m), size (share), yaw (rad)
    """

    sensor: ClassVar[str] = "lidar"
    input: BevMap | Pillars
    space: Space
    height_m: float = 1.73
    std: tuple[Positive, Positive, Positive, Positive, Positive] = (0.2, 0.2, 0.15, 0.1, 0.1)


class HeatmapOutputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names; all are (1, channels, rows, columns).

    heat       a channel a class
    offset     from the cell's corner, in cells: along columns, along rows
    z          m
    size       three
    direction  sine and cosine
    """

    heat: str
    offset: str
    z: str
    size: str
    direction: str


class BevHeatmapRecipe(PointRecipe, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="bev_heatmap"):
    """Peaks of a map seen from above, as SFA3D's and CenterPoint's: `bev_heatmap.decode`.

    outputs         their names
    rows, columns   of the maps, which cover the space
    rows_along      "x" or "y"
    heat_logits     whether `heat` comes before the sigmoid; offset_logits: likewise
    size_order      of length, width, height: "lwh", "wlh", "hwl", ...
    size_logs       whether they are logarithms
    z_shift_m       added to z; z_bottom: whether that is the bottom face's and not the middle's
    sine_first      whether `direction` is sine, cosine; mirrored: whether it grows clockwise
    most            peaks that are looked at
    """

    outputs: HeatmapOutputs
    rows: Extent
    columns: Extent
    rows_along: str = "y"
    heat_logits: bool = True
    offset_logits: bool = False
    size_order: str = "lwh"
    size_logs: bool = False
    z_shift_m: float = 0.0
    z_bottom: bool = False
    sine_first: bool = True
    mirrored: bool = False
    most: Annotated[int, Meta(ge=1, le=1000)] = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("rows_along", self.rows_along, ("x", "y"))
        one_of("size_order", self.size_order, ("lwh", "lhw", "wlh", "whl", "hlw", "hwl"))


class Anchor(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A box that stands on `z_bottom`, in every cell; length, width, height, m."""

    size: tuple[Positive, Positive, Positive]
    z_bottom: float


class AnchorOutputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names: scores (A * classes), boxes (A * 7), directions (A * 2), A anchors a cell."""

    scores: str
    boxes: str
    directions: str


class AnchorsRecipe(PointRecipe, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="anchors"):
    """Boxes as they differ from anchors, as PointPillars' and SECOND's: `anchors.decode`.

    outputs            their names
    layout             "nchw" or "nhwc"
    rows, columns      of the maps, which cover the space; rows along y
    anchors            of each cell, each with every rotation
    rotations          rad
    direction_offset   a box's yaw is told up to a half turn from this angle on, rad
    """

    outputs: AnchorOutputs
    layout: str = "nchw"
    rows: Extent
    columns: Extent
    anchors: Annotated[tuple[Anchor, ...], Meta(min_length=1)]
    rotations: Annotated[tuple[float, ...], Meta(min_length=1)] = (0.0, 1.57)
    direction_offset: float = 0.7854

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("layout", self.layout, ("nchw", "nhwc"))

    @property
    def in_cell(self) -> int:
        """Anchors in every cell."""
        return len(self.anchors) * len(self.rotations)
