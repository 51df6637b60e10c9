"""What fog and rain do to a camera's picture: airlight, streaks, drops on the glass before it."""

from __future__ import annotations

import math

import cv2
import msgspec
import numpy as np

from fusion_rt.sim.look import Look
from fusion_rt.sim.weather import Weather
from fusion_rt.transforms import Array

LAYER_M = 100.0  # how high the weather reaches
EXPOSURE_S = 0.002
NEAR_M, FAR_M = 0.4, 4.0  # streaks that are drawn: farther ones are fainter than the noise
SMALLEST_MM = 1.0
STREAK_LIGHT = 1.4  # a drop mirrors more sky than its background (Garg and Nayar 2007)
WIPED_S = 1.0  # so long drops stay on the glass


def look_in(weather: Weather, look: Look) -> Look:
    """The light below fog or rain clouds: the sun's is scattered over the sky, and what is far fades."""
    if weather.clear:
        return look
    through = 0.0 if weather.wet else math.exp(-weather.light_per_m * LAYER_M)
    sun = look.sun * through
    lost = 0.5 * (look.sun - sun) * look.sun_direction[2]  # half of what is scattered goes back up
    zenith = [h + through * (z - h) for z, h in zip(look.sky_zenith, look.sky_horizon)]
    return msgspec.structs.replace(
        look,
        sun=sun if sun > 0.05 else 0.0,
        ambient=tuple(a + lost * c for a, c in zip(look.ambient, look.sun_color)),
        sky_zenith=tuple(zenith),
        haze_per_m=look.haze_per_m + weather.light_per_m,
    )


def veil_sky(radiance: Array, directions: Array, weather: Weather, look: Look) -> None:
    """Airlight before the sky and the hills below it, in place: radiance (3, N) BGR, directions (3, N)."""
    way = LAYER_M / np.maximum(directions[2], 0.05)
    through = np.exp(-weather.light_per_m * way)
    for c in range(3):
        radiance[c] = through * radiance[c] + (1.0 - through) * np.float32(look.sky_horizon[c])


def drops_on_glass(weather: Weather, width: int, height: int, rng: np.random.Generator) -> Array:
    """(h, w) float32, 0..1: where drops cover the view, out of focus; they stay until they are wiped off."""
    cover = np.zeros((height, width), np.float32)
    for _ in range(rng.poisson(2.0 * math.sqrt(weather.rain_mm_h))):
        at = (int(rng.uniform(0, width)), int(rng.uniform(0, height)))
        radius = max(2, round(width * rng.uniform(0.008, 0.035)))
        cv2.circle(cover, at, radius, float(rng.uniform(0.5, 1.0)), thickness=-1, lineType=cv2.LINE_AA)
    return cv2.GaussianBlur(cover, (0, 0), width / 250)


def rain_before(
    radiance: Array, weather: Weather, look: Look, focal_px: float, glass: Array, rng: np.random.Generator
) -> Array:
    """(3, h, w) float32: the picture with falling drops, and through `glass`, as of `drops_on_glass`."""
    _, height, width = radiance.shape
    opacity = _streaks(weather, width, height, focal_px, rng)
    # What a drop on the glass shows is its own fish-eye view: a blur of the surroundings, brighter above.
    out = np.empty_like(radiance)
    for c in range(3):
        plane = radiance[c] + opacity * (np.float32(STREAK_LIGHT * look.sky_horizon[c]) - radiance[c])
        out[c] = plane + glass * (cv2.GaussianBlur(plane, (0, 0), width / 40) - plane)
    return out


def _streaks(weather: Weather, width: int, height: int, focal_px: float, rng: np.random.Generator) -> Array:
    """(h, w) float32, 0..1: drops as they fall during the exposure.

    Sizes by Marshall and Palmer (1948), 8000 exp(-4.1 R^-0.21 D) drops a m^3 and mm, speeds by Atlas,
    Srivastava and Sekhon (1973), 9.65 - 10.3 exp(-0.6 D) m/s, D in mm. They fall straight down: the
    vehicle's own motion is left out."""
    per_mm = 4.1 * weather.rain_mm_h**-0.21
    density = 8000.0 / per_mm * math.exp(-per_mm * SMALLEST_MM)
    volume = width * height / focal_px**2 * (FAR_M**3 - NEAR_M**3) / 3.0
    n = rng.poisson(density * volume)
    depth = np.cbrt(rng.uniform(NEAR_M**3, FAR_M**3, n))
    size_mm = SMALLEST_MM + rng.exponential(1.0 / per_mm, n)
    fallen_m = (9.65 - 10.3 * np.exp(-0.6 * size_mm)) * EXPOSURE_S
    column, row = rng.uniform(0, width, n), rng.uniform(0, height, n)
    length = fallen_m * focal_px / depth
    broad = size_mm / 1000.0 * focal_px / depth
    # A drop hides a pixel for as long as it takes to fall past it, and as much of it as it is broad.
    hidden = np.minimum(size_mm / 1000.0 / fallen_m, 1.0) * np.minimum(broad, 1.0)
    opacity = np.zeros((height, width), np.float32)
    for i in np.argsort(hidden):
        top = (round(column[i]), round(row[i]))
        bottom = (round(column[i]), round(row[i] + length[i]))
        cv2.line(opacity, top, bottom, float(hidden[i]), thickness=max(1, round(broad[i])))
    return opacity
