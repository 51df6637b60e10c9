"""A lidar's receiver: how strong an echo is, whether it is found, and what is reported of it."""

from __future__ import annotations

import numpy as np

from fusion_rt.transforms import Array

OVERLAP_M = 5.0  # nearer, the receiver sees less and less of the beam
INTENSITY_GAIN = 1.5  # reported intensity by strength


def echo(strength: Array, distance: Array) -> Array:
    """An echo by the noise (inverse square); strength: the share of light that comes back, distance in m.
    Half are found where strength 0.1 is 75 m away."""
    heard: Array = strength / 0.1 * (75.0 / np.maximum(distance, OVERLAP_M)) ** 2
    return heard


def detected(heard: Array) -> Array:
    """Share of echoes that are found: those that stand above the noise."""
    share: Array = 0.985 * (1.0 - np.exp(-0.7 * heard))
    return share
