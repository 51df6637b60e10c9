"""Recipes of detectors that look at images."""

from __future__ import annotations

from typing import Annotated, ClassVar, TypeAlias

from msgspec import Meta, Struct

from fusion_rt.detectors.recipe import Extent, Positive, Probability, Recipe, one_of

Three: TypeAlias = tuple[float, float, float]


class ImageInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The image that a detector wants.

    name           of the input
    width, height  px
    layout         "nchw" or "nhwc"
    colours        "bgr" or "rgb", the order of the channels
    mean, std      the input is (value - mean) / std of values 0..255, in that order of channels
    fit            "stretch" to the size; "letterbox": keep the shape, pad on both sides; "corner": pad right
                   and below
    pad            value 0..255 of what is padded
    tiles          a wide image is looked at in so many overlapping parts, one after the other
    """

    name: str
    width: Extent
    height: Extent
    layout: str = "nchw"
    colours: str = "bgr"
    mean: Three = (0.0, 0.0, 0.0)
    std: tuple[Positive, Positive, Positive] = (255.0, 255.0, 255.0)
    fit: str = "stretch"
    pad: Annotated[int, Meta(ge=0, le=255)] = 114
    tiles: Annotated[int, Meta(ge=1, le=8)] = 1

    def __post_init__(self) -> None:
        one_of("layout", self.layout, ("nchw", "nhwc"))
        one_of("colours", self.colours, ("bgr", "rgb"))
        one_of("fit", self.fit, ("stretch", "letterbox", "corner"))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        size = (self.height, self.width)
        return (1, 3, *size) if self.layout == "nchw" else (1, *size, 3)


class ImageRecipe(Recipe, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A detector of boxes in an image, its input."""

    sensor: ClassVar[str] = "camera"
    image: ImageInput


class GridRecipe(ImageRecipe, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="grid"):
    """One box a cell, as FastestDet's: (1, 5 + classes, rows, columns), `grid.decode` says of what.

    output         its name
    rows, columns  of the grid
    score_power    share of objectness in the logarithm of the score
    """

    output: str
    rows: Extent
    columns: Extent
    score_power: Probability = 0.6


class YoloxRecipe(ImageRecipe, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="yolox"):
    """Anchor-free heads of several strides in one tensor: (1, cells, 5 + classes), `yolox.decode`.

    output   its name
    strides  of the heads, in their order
    decoded  whether the export already made pixels of the boxes
    """

    output: str
    strides: Annotated[tuple[Extent, ...], Meta(min_length=1)] = (8, 16, 32)
    decoded: bool = False

    @property
    def cells(self) -> int:
        """Of all heads."""
        return sum((self.image.height // s) * (self.image.width // s) for s in self.strides)


class BoxOutputs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names: boxes (n, 4), scores (n,), labels (n,), each possibly with a leading 1."""

    boxes: str
    scores: str
    labels: str


class BoxesRecipe(ImageRecipe, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="boxes"):
    """Boxes that the export has already chosen.

    outputs      their names
    form         "xyxy" (left, top, right, bottom), "yxyx", "xywh" (left, top, width, height) or "cxcywh"
    normalised   0..1 of the input's width and height, not px of it
    first_label  the number of the first of `classes`: 1 where 0 is the background
    """

    outputs: BoxOutputs
    form: str = "xyxy"
    normalised: bool = False
    first_label: Annotated[int, Meta(ge=0)] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("form", self.form, ("xyxy", "yxyx", "xywh", "cxcywh"))
