"""How many objects are found, by how much of each the image shows: where a camera can add to a lidar."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from fusion_rt.metrics.boxes import overlaps
from fusion_rt.metrics.detection import MIN_OVERLAPS
from fusion_rt.metrics.matching import FrameBoxes, which_are_found
from fusion_rt.transforms import Array

SHARES = (0.0, 0.05, 0.3, 0.6, math.inf)


class InView(Struct, frozen=True, kw_only=True):
    """Objects of which the image shows a share from `low` to below `high`, 0..1, and how many of them are
    found at the working point, BEV, loose."""

    low: float
    high: float | None
    objects: int
    found: int


class InViewRow(Struct, frozen=True, kw_only=True):
    """One class as a set of sensors finds it."""

    sensors: str
    label: str
    bands: tuple[InView, ...]


def by_share(
    frames: Sequence[FrameBoxes], visible: Sequence[Array], *, label: str, threshold: float
) -> tuple[InView, ...]:
    """visible: of each frame (n,) the share that the image shows of its objects."""
    least = MIN_OVERLAPS[label][1]
    found = [which_are_found(f, overlaps(f.truth, f.found)[0], least, threshold) for f in frames]
    counting = [~f.truth_ignored for f in frames]
    objects, hits = (
        np.histogram(np.concatenate([np.zeros(0), *(v[m] for v, m in zip(visible, masks))]), SHARES)[0]
        for masks in (counting, found)
    )
    return tuple(
        InView(low=low, high=high if math.isfinite(high) else None, objects=int(n), found=int(k))
        for (low, high), n, k in zip(itertools.pairwise(SHARES), objects, hits)
    )
