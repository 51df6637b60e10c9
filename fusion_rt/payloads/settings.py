"""How a topic's messages are sent to other hosts, as a scenario says it: {codec: jpeg, quality: 85}."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct


class Raw(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="codec", tag="raw"):
    """As they are."""


class Jpeg(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="codec", tag="jpeg"):
    """Images as JPEG. What the camera gave as JPEG (or PNG) goes as it came, whatever `quality` says."""

    quality: Annotated[int, Meta(ge=1, le=100)] = 85


class H264(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="codec", tag="h264"):
    """Images as one H.264 stream (extra `hosts`): a third of JPEG's bytes or less, for more arithmetic.

    crf         quality: 18 hardly to be told from the original, 23 good, 28 visibly less
    max_mbit_s  a bound on the rate, over about a second, at the cost of quality; null: none
    key_every   at least one in so many frames can be begun with; others that join ask for one at once
    preset      x264's: how much work for how few bytes
    """

    crf: Annotated[int, Meta(ge=0, le=51)] = 23
    max_mbit_s: Annotated[float, Meta(gt=0)] | None = None
    key_every: Annotated[int, Meta(ge=1, le=1000)] = 30
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"] = "ultrafast"


class Points(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="codec", tag="points"):
    """Point clouds as whole multiples of `resolution_m`, compressed: no coordinate is wrong by more than half
    of it. Intensity is kept to 1/510, times to 1/131,070 of the sweep's length, laser numbers exactly."""

    resolution_m: Annotated[float, Meta(ge=1e-4, le=1.0)] = 0.005
    level: Annotated[int, Meta(ge=1, le=19)] = 1


Payload: TypeAlias = Raw | Jpeg | H264 | Points
