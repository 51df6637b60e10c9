"""What one frame of a radar says, whatever its make."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.sensors.framing import Cut

NO_POINTS = np.zeros((0, 3), np.float32)
NOTHING = np.zeros(0, np.float32)
RANGE_M = 100.0  # no room is larger: beyond it a number was damaged


class RadarFrame(Struct, frozen=True, kw_only=True):
    """In the sensor's frame: x forward, y left, z up.

    number       the device's own count of frames; None: it has none
    xyz          (N, 3) float32, m; of targets where the device sends no points
    velocity     (N,) float32, m/s along the ray, positive away
    snr_db       (N,) float32; 0 where unknown
    targets      (M, 3) float32, m: what the device's own tracker follows, beside its points
    target_velocity  (M,) float32, m/s along the ray
    refused      points left out: not finite, or farther than RANGE_M
    """

    number: int | None = None
    xyz: NDArray[np.float32] = NO_POINTS
    velocity: NDArray[np.float32] = NOTHING
    snr_db: NDArray[np.float32] = NOTHING
    targets: NDArray[np.float32] = NO_POINTS
    target_velocity: NDArray[np.float32] = NOTHING
    refused: int = 0


class PresenceFrame(Struct, frozen=True, kw_only=True):
    """A radar that only tells whether somebody is there.

    presence    somebody moves or keeps still
    motion      somebody moves
    distance_m  of the nearest; NaN where nobody is
    """

    presence: bool
    motion: bool
    distance_m: float


class Decoder(Protocol):
    """One make of radar: bytes in, frames out. baud: what it has when it leaves the factory; counts: as of a
    Framer."""

    baud: int
    counts: Counter[str]

    def feed(self, data: bytes) -> list[Cut[Any]]:
        """The frames (RadarFrame or PresenceFrame) that are complete with `data`."""


def radial(xyz: NDArray[np.float32], velocity: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of velocities (N, 3) at xyz (N, 3) the part along the ray, (N,) float32, positive away."""
    distance = np.maximum(np.linalg.norm(xyz, axis=1), 1e-6)
    along: NDArray[np.float32] = ((xyz * velocity).sum(axis=1) / distance).astype(np.float32)
    return along
