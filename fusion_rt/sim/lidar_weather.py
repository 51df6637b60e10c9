"""What fog and rain do to the echoes of a lidar: weaker ones, lost ones, and some of the air itself.

Every beam reports its strongest echo. That of a surface fades by exp(-2 alpha d) on its way there and back
(Beer-Lambert). That of the air is a soft target's: the power that the lit volume sends back, as that of a
surface of albedo pi beta c tau / 2 (Rasshofer, Spies and Spies 2011), strongest within some metres.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct

from fusion_rt.sim.raycast import Material
from fusion_rt.sim.receiver import detected, echo, gain
from fusion_rt.sim.weather import Weather
from fusion_rt.transforms import Array

RANGE_NOISE_M = 0.018
PULSE_M = 0.9  # c tau / 2 of a pulse of 6 ns: as deep is the volume that answers at once
NEAREST_M = 0.9
FARTHEST_M = 60.0  # of what the air sends back
DROP_RATIO_SR = 18.8  # extinction by backscatter of water drops at 905 nm (O'Connor et al. 2004)
# Shape of the gamma distribution by which the air's echo differs between beams: fog drifts in patches; of
# rain's drops one in thirty lit volumes holds one that is large enough to count.
PATCHES, LARGE_DROPS = 2.0, 0.03
POROUS = (Material.ROAD, Material.PAVEMENT, Material.WALL, Material.CLOTH)
_RANGES_M = np.linspace(NEAREST_M, FARTHEST_M, 400)


class Echoes(Struct, frozen=True):
    """What N beams report: seen (N,) bool: something at all; then distance (N,) m and strength (N,), the
    share of light that came back; airborne (N,) bool: it is the air's."""

    distance: Array
    strength: Array
    seen: Array
    airborne: Array


def through_weather(
    distance: Array,
    strength: Array,
    returned: Array,
    weather: Weather,
    rng: np.random.Generator,
    *,
    range_noise_m: float = RANGE_NOISE_M,
) -> Echoes:
    """What N beams report that in clear air, where `returned`, report `distance` at `strength`.

    distance (N,) m to where each beam ends, inf where it meets nothing; strength (N,): the share of light
    that its surface sends back; returned (N,) bool. The same arguments and generator state give the same
    bits."""
    alpha, n = weather.laser_per_m, len(distance)
    d = np.where(returned, distance, 1.0)
    faded = np.where(returned, strength * np.exp(-2.0 * alpha * d), 0.0)
    # Those that clear air lost are lost already: of the others, as many as the weaker echo leaves.
    left = detected(echo(faded, d)) / np.maximum(detected(echo(strength, d)), 1e-12)
    seen = returned & (rng.random(n) < left)
    heard = np.where(seen, echo(faded, d), 0.0)
    # Photon noise: the variance of a range grows as its echo fades.
    d = d + rng.normal(0.0, 1.0, n) * range_noise_m * np.sqrt(np.expm1(2.0 * alpha * d))
    airborne = np.zeros(n, bool)
    dimmed = np.exp(-2.0 * alpha * _RANGES_M)
    for albedo, shape in _media(weather):
        swing = rng.gamma(shape, 1.0 / shape, n)
        at = _draw_ranges(echo(dimmed, _RANGES_M), rng.random(n))
        loud = echo(albedo * dimmed, _RANGES_M).max() * swing
        stronger = (at < distance) & (loud > heard) & (rng.random(n) < detected(loud))
        d = np.where(stronger, at, d)
        faded = np.where(stronger, albedo * swing * np.exp(-2.0 * alpha * at), faded)
        heard = np.where(stronger, loud, heard)
        airborne |= stronger
    return Echoes(d, faded, seen | airborne, airborne)


def on_points(
    xyz: Array, intensity: Array, weather: Weather, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """A sweep that was taken in clear air, seen through weather: xyz (N, 3) float32 m from the sensor and
    intensity (N,) float32 0..1, and which points are still there, (N,) bool.

    Points that the air answers for lie on their beam, nearer. Beams that reported nothing in clear air are
    not in a sweep, and what surfaces lose by being wet is not known from it: both come of `lidar.sweep`."""
    if weather.clear:
        return xyz, intensity, np.ones(len(xyz), bool)
    distance = np.linalg.norm(xyz, axis=1).astype(np.float64)
    all_of_them = np.ones(len(xyz), bool)
    echoes = through_weather(distance, intensity / gain(distance), all_of_them, weather, rng)
    stretched = xyz * (echoes.distance / np.maximum(distance, 1e-6))[:, None]
    dimmed = np.clip(gain(echoes.distance) * echoes.strength, 0.0, 1.0)
    return stretched.astype(np.float32), dimmed.astype(np.float32), echoes.seen


def wet_reflectivity(reflectivity: Array, material: Array) -> Array:
    """(F,) float32: what wet faces send back. Light is caught below the film of water on porous ones:
    A / (n^2 (1 - A) + A) with n = 1.33 (Angstrom 1925); paint, glass and leaves stay as they are."""
    albedo = np.clip(reflectivity, 0.0, 1.0)
    wet = albedo / (1.33**2 * (1.0 - albedo) + albedo)
    return np.where(np.isin(material, POROUS), wet, reflectivity).astype(np.float32)


def _media(weather: Weather) -> list[tuple[float, float]]:
    """Albedo of the lit volume and shape of its distribution, of fog and of rain."""
    media = []
    if weather.visibility_m is not None:
        # Rasshofer et al. give 0.046 / V for the backscatter of fog at 905 nm.
        media.append((np.pi * 0.046 / weather.visibility_m * PULSE_M, PATCHES))
    if weather.wet:
        rain = Weather(rain_mm_h=weather.rain_mm_h)
        media.append((np.pi * rain.laser_per_m / DROP_RATIO_SR * PULSE_M, LARGE_DROPS))
    return media


def _draw_ranges(density: Array, u: Array) -> Array:
    """(N,) m: ranges of a density over _RANGES_M, for u (N,) in 0..1."""
    total = np.cumsum(density)
    return np.interp(u, total / total[-1], _RANGES_M)
