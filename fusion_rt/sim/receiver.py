"""A lidar's receiver: how strong an echo is, whether it is found, and what is reported of it."""

from __future__ import annotations

import numpy as np

from fusion_rt.transforms import Array

OVERLAP_M = 5.0  # nearer, the receiver sees less and less of the beam
# Reported intensity by strength, at so many metres: as KITTI's HDL-64E, whose near and far echoes read low.
_AT_M = 5.0, 9.0, 12.0, 17.0, 22.0, 27.0, 32.0, 37.0, 45.0, 60.0, 80.0
_GAIN = 1.0, 1.0, 1.2, 1.35, 1.15, 1.0, 0.82, 0.63, 0.4, 0.17, 0.1


def gain(distance: Array) -> Array:
    """Reported intensity, 0..1, by strength, of what is so far away, m."""
    read: Array = np.interp(distance, _AT_M, _GAIN)
    return read


def echo(strength: Array, distance: Array) -> Array:
    """An echo by the noise (inverse square); strength: the share of light that comes back, distance in m.
    Half are found where strength 0.1 is 75 m away."""
    heard: Array = strength / 0.1 * (75.0 / np.maximum(distance, OVERLAP_M)) ** 2
    return heard


def detected(heard: Array) -> Array:
    """Share of echoes that are found: those that stand above the noise."""
    share: Array = 0.985 * (1.0 - np.exp(-0.7 * heard))
    return share
