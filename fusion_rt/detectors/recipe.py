"""detector.yaml: what an ONNX file wants, what its outputs mean, and which of its classes are ours.

`family` says how the outputs are laid out; each has a struct in image_recipe.py or point_recipe.py, and a
decoder in a file of its name.
"""

from __future__ import annotations

import difflib
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from fusion_rt.errors import ConfigError

Probability = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Extent = Annotated[int, Meta(ge=1, le=1 << 13)]


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="family"):
    """What every detector has.

    sensor           what it looks at: "camera" or "lidar"
    name             for certificates and tables
    classes          the detector's, in its order
    class_map        the detector's class -> ours, or several of ours that look alike to it; others are
                     dropped
    score_threshold  boxes below it are dropped
    nms_iou          overlap above which the weaker box of a class goes
    sha256           of model.onnx; `fusion-rt model add` writes it
    """

    sensor: ClassVar[str]
    name: Annotated[str, Meta(pattern=r"^[\w.-]+$")]
    classes: tuple[str, ...]
    class_map: dict[str, str | Annotated[tuple[str, ...], Meta(min_length=1)]]
    score_threshold: Probability = 0.3
    nms_iou: Probability = 0.45
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.class_map:
            raise ConfigError("class_map is empty: none of the detector's classes would be used")
        for theirs in self.class_map:
            if theirs not in self.classes:
                raise ConfigError(f"class_map: {theirs!r} is not in `classes`{nearest(theirs, self.classes)}")

    def ours(self, label: str) -> tuple[str, ...]:
        """Which of our classes one of the detector's stands for."""
        named = self.class_map.get(label, ())
        return (named,) if isinstance(named, str) else named

    def mapped(self, classes: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
        """For each of the detector's classes the indices of ours. Raises ConfigError for a class that ours
        do not have."""
        for theirs in self.class_map:
            for name in self.ours(theirs):
                if name not in classes:
                    raise ConfigError(
                        f"class_map.{theirs}: {name!r} is not a class of the model{nearest(name, classes)}"
                    )
        return tuple(tuple(classes.index(name) for name in self.ours(label)) for label in self.classes)


def nearest(name: str, known: tuple[str, ...]) -> str:
    """What to add to an error about a name that is not known."""
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f", did you mean {near[0]!r}?"
    return f"; there are: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"


def one_of(field: str, value: str, known: tuple[str, ...]) -> None:
    """Raises ConfigError unless the value is one of them."""
    if value not in known:
        raise ConfigError(f"{field}: {value!r} is not known{nearest(value, known)}")
