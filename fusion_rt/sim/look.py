"""How a simulated camera sees: light, weather, lens and sensor, drawn widely for domain randomisation."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from fusion_rt.messages import Vec3

Array: TypeAlias = NDArray[Any]


class Look(Struct, frozen=True, kw_only=True):
    """One light, lens and sensor setting; colours are linear blue, green, red.

    sun_direction     unit vector from the ground towards the sun, world frame (z up)
    sun               irradiance of the sun (zero: overcast); a white wall facing it sends as much back
    ambient           irradiance of the sky
    sky_zenith, sky_horizon   radiance straight up and at the horizon
    clouds            0 clear .. 1 covered
    bounce            light that the ground sends up, share of what falls on it
    haze_per_m        extinction; haze has the horizon's colour
    skyline_rad       mean height of far trees and hills above the horizon
    brightness        mean that exposure aims at where there is no sky, 0..1
    white_balance     gain a channel
    gamma             of the tone curve: output = linear ** (1 / gamma)
    saturation        1 leaves colours as they are
    vignette          light lost in the corners, share
    texture           contrast of the procedural textures, 1 = nominal
    shadows           whether shadows are cast
    shot_noise, read_noise   one standard deviation at white and at black, share of full scale
    chroma_noise      share of the noise that differs between channels
    blur_px           one standard deviation of the point spread
    glare_px          width of the glare around over-exposed parts; 0: none
    sharpen           strength of the camera's unsharp mask
    seed              which patch of the noise textures is seen
    """

    sun_direction: Vec3 = (-0.4, 0.5, 0.77)
    sun: float = 3.0
    sun_color: Vec3 = (0.85, 0.95, 1.0)
    ambient: Vec3 = (1.0, 0.9, 0.8)
    sky_zenith: Vec3 = (0.9, 0.55, 0.3)
    sky_horizon: Vec3 = (1.2, 1.1, 1.0)
    clouds: float = 0.3
    bounce: float = 0.2
    haze_per_m: float = 0.001
    skyline_rad: float = 0.02
    brightness: float = 0.3
    white_balance: Vec3 = (1.0, 1.0, 1.0)
    gamma: float = 1.8
    saturation: float = 1.0
    vignette: float = 0.1
    texture: float = 1.0
    shadows: bool = True
    shot_noise: float = 0.01
    read_noise: float = 0.004
    chroma_noise: float = 0.5
    blur_px: float = 0.4
    glare_px: float = 0.0
    sharpen: float = 0.3
    seed: int = 0


def sample(rng: np.random.Generator) -> Look:
    """A look at random: from glaring noon to a covered evening, half of them with cast shadows."""
    azimuth, elevation = rng.uniform(-math.pi, math.pi), math.radians(rng.uniform(12.0, 70.0))
    overcast = rng.random() < 0.25
    clouds = rng.uniform(0.75, 1.0) if overcast else rng.uniform(0.0, 0.8)
    warmth = rng.uniform(0.0, 1.0) * (1.0 - elevation / 1.6)  # low suns are redder
    grey = clouds * rng.uniform(0.6, 1.0)
    zenith = _mix((0.95, 0.55, 0.28), (0.8, 0.78, 0.75), grey)
    horizon = _mix((1.25, 1.15, 1.0), (1.05, 1.05, 1.03), grey)
    balance = rng.normal(0.0, 0.04, 3) + rng.normal(0.0, 0.06) * np.array([1.0, 0.0, -1.0])
    ambient = rng.uniform(0.4, 1.0)
    gain = math.exp(rng.uniform(0.2, 1.5))  # of what is seen of the sky: haze, the sun's surroundings
    return Look(
        sun_direction=(
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ),
        sun=0.0 if overcast else float(rng.uniform(2.0, 9.0)),
        sun_color=(1.0 - 0.55 * warmth, 1.0 - 0.2 * warmth, 1.0),
        ambient=_scaled(_mix((1.15, 0.95, 0.8), (1.0, 1.0, 1.0), grey), ambient),
        sky_zenith=_scaled(zenith, gain),
        sky_horizon=_scaled(horizon, gain),
        clouds=float(clouds),
        bounce=float(rng.uniform(0.05, 0.3)),
        haze_per_m=float(10.0 ** rng.uniform(-4.5, -2.7)),
        skyline_rad=float(rng.uniform(0.0, 0.1)),
        brightness=float(np.clip(rng.normal(0.235, 0.08), 0.09, 0.5)),
        white_balance=tuple(float(v) for v in np.exp(balance)),  # type: ignore[arg-type]
        gamma=float(rng.uniform(1.0, 2.0)),
        saturation=float(rng.uniform(0.65, 1.45)),
        vignette=float(rng.uniform(0.0, 0.35)),
        texture=float(rng.uniform(0.5, 1.5)),
        shadows=bool(not overcast and rng.random() < 0.75),
        shot_noise=float(10.0 ** rng.uniform(-2.7, -1.5)),
        read_noise=float(10.0 ** rng.uniform(-3.0, -1.9)),
        chroma_noise=float(rng.uniform(0.2, 1.0)),
        blur_px=float(rng.choice([0.0, rng.uniform(0.3, 0.9)], p=[0.4, 0.6])),
        glare_px=float(rng.choice([0.0, rng.uniform(2.0, 8.0)], p=[0.5, 0.5])),
        sharpen=float(rng.choice([0.0, rng.uniform(0.2, 1.0)], p=[0.4, 0.6])),
        seed=int(rng.integers(1 << 31)),
    )


def _mix(a: Vec3, b: Vec3, u: float) -> Vec3:
    return (a[0] + u * (b[0] - a[0]), a[1] + u * (b[1] - a[1]), a[2] + u * (b[2] - a[2]))


def _scaled(a: Vec3, gain: float) -> Vec3:
    return (a[0] * gain, a[1] * gain, a[2] * gain)
