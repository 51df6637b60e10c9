"""What worn accelerometers and gyroscopes say in the last three seconds, however they are turned on the body.

A fall is an impact, a body that lies otherwise than it stood, and stillness. Every number here is a norm or
an angle between two of the sensor's own readings, so the way it is worn does not matter. Functions work on
any number of recordings at once: live on one, in training on all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

BIN_S, BINS = 0.05, 60
G = 9.80665
# One bin of one place: mean specific force (3), largest and smallest norm of it in m/s^2, largest angular
# rate rad/s.
FORCE, LARGEST, SMALLEST, RATE, CHANNELS = slice(0, 3), 3, 4, 5, 6
FORCE_FEATURES = (
    *("norm", "largest_0.25s", "largest_1s", "largest_3s", "smallest_1s", "shake_0.5s", "shake_before"),
    *("tilt_3s", "tilt_1.5s", "repeated", "since_largest"),
)
RATE_FEATURES = ("rate", "largest_rate_1s", "turned_1s", "turned_0.5s", "rate_before")
IMPACT = 1.8 * G


def _last(window_s: float) -> slice:
    return slice(BINS - round(window_s / BIN_S), BINS)


def _between(from_s: float, to_s: float) -> slice:
    return slice(BINS - round(from_s / BIN_S), BINS - round(to_s / BIN_S))


def force_features(window: Any) -> Array:
    """window (..., BINS, CHANNELS), oldest first. Returns (..., FORCE_FEATURES) float32, about -2..3."""
    force, largest, smallest = window[..., FORCE], window[..., LARGEST], window[..., SMALLEST]
    norm = np.linalg.norm(force, axis=-1)
    now = force[..., _last(0.25), :].mean(-2)
    peak = largest.argmax(-1)
    columns = [
        norm[..., -1] / G - 1,
        np.log2(largest[..., _last(0.25)].max(-1) / G + 0.1),
        np.log2(largest[..., _last(1.0)].max(-1) / G + 0.1),
        np.log2(largest.max(-1) / G + 0.1),
        smallest[..., _last(1.0)].min(-1) / G - 1,
        np.sqrt(norm[..., _last(0.5)].std(-1) / G),
        np.sqrt(norm[..., _between(3.0, 1.5)].std(-1) / G),
        _angle(now, force[..., _between(3.0, 2.0), :].mean(-2)),
        _angle(now, force[..., _between(1.5, 1.0), :].mean(-2)),
        np.sqrt((largest > IMPACT).sum(-1) / 10.0),
        (BINS - 1 - peak) * BIN_S / 3.0,
    ]
    return np.stack(columns, -1).astype(np.float32)


def rate_features(window: Any) -> Array:
    """window (..., BINS, CHANNELS), oldest first. Returns (..., RATE_FEATURES) float32, about 0..3."""
    rate = window[..., RATE]
    columns = [
        np.sqrt(rate[..., -1]),
        np.sqrt(rate[..., _last(1.0)].max(-1)),
        rate[..., _last(1.0)].sum(-1) * BIN_S,
        rate[..., _last(0.5)].sum(-1) * BIN_S,
        np.sqrt(rate[..., _between(3.0, 1.5)].mean(-1)),
    ]
    return np.stack(columns, -1).astype(np.float32)


def _angle(a: Any, b: Any) -> Any:
    """Radians between (..., 3) and (..., 3); 0 where one is nothing."""
    size = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosine = (a * b).sum(-1) / np.maximum(size, 1e-9)
    return np.where(size > 1e-6, np.arccos(np.clip(cosine, -1, 1)), 0.0)
