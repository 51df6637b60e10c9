"""The speed that wheels tell: wrong by a factor, as tyres are worn and filled, and blind when they creep."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from msgspec import Struct

from fusion_rt.transforms import Array

_STEP_S = 2e-3


class WheelModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Errors of the wheels' speed: `wheels.<sensor_id>` of a simulated drive.

    scale   one standard deviation of the factor, which is drawn at start and stays
    noise   m/s
    creep   m/s; a slower speed is told as 0
    """

    rate_hz: float = 50.0
    latency_s: float = 0.02
    scale: float = 0.01
    noise: float = 0.03
    creep: float = 0.25


def rolling(pose_at: Callable[[float], Array], t_s: float) -> float:
    """Speed along the ego frame's x, m/s, backwards negative; pose_at: T_map_ego (4, 4) at a time."""
    before, now, after = pose_at(t_s - _STEP_S), pose_at(t_s), pose_at(t_s + _STEP_S)
    return float(now[:3, 0] @ (after[:3, 3] - before[:3, 3])) / (2 * _STEP_S)


def measure(
    pose_at: Callable[[float], Array], times_s: Array, model: WheelModel, rng: np.random.Generator
) -> Iterator[float]:
    """What the wheels tell at each of times_s, m/s."""
    scale = 1.0 + rng.normal(0, model.scale)
    for t in times_s:
        speed, noise = rolling(pose_at, float(t)), rng.normal(0, model.noise)
        yield 0.0 if abs(speed) < model.creep else scale * speed + noise
