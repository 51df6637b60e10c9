"""Fog and rain: how much light they take, by their published measures."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from msgspec import Meta, Struct

LASER_NM, EYE_NM = 905.0, 550.0
CONTRAST = 0.02  # of a black object that is just seen at the visibility (Koschmieder 1924)
DISCERNED = 0.05  # contrast below which an object in an image is not to be told (WMO's optical range)


class Weather(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is in the air, everywhere alike: `weather:` of a simulated drive. Rain wets the ground.

    visibility_m  meteorological visibility in fog; None: no fog
    rain_mm_h     rain rate: 2 light, 10 moderate, 50 violent
    """

    visibility_m: Annotated[float, Meta(ge=5.0, le=50_000.0)] | None = None
    rain_mm_h: Annotated[float, Meta(ge=0.0, le=200.0)] = 0.0

    @property
    def clear(self) -> bool:
        return self.visibility_m is None and self.rain_mm_h == 0.0

    @property
    def wet(self) -> bool:
        return self.rain_mm_h > 0.0

    @property
    def laser_per_m(self) -> float:
        """Extinction at 905 nm, one way."""
        return fog_extinction_per_m(self.visibility_m, LASER_NM) + rain_extinction_per_m(self.rain_mm_h)

    @property
    def light_per_m(self) -> float:
        """Extinction of visible light."""
        return fog_extinction_per_m(self.visibility_m, EYE_NM) + rain_extinction_per_m(self.rain_mm_h)

    @property
    def discerned_m(self) -> float:
        """How far away objects can be told in an image; without end in clear air."""
        return math.inf if self.clear else -math.log(DISCERNED) / self.light_per_m


CLEAR = Weather()


def fog_extinction_per_m(visibility_m: float | None, wavelength_nm: float) -> float:
    """Koschmieder's 3.912 / V at 550 nm, at other wavelengths by Kim, McArthur and Korevaar (2001), who find
    none of them better than another below 500 m. 0 without fog."""
    if visibility_m is None:
        return 0.0
    km = visibility_m / 1000.0
    if km > 50.0:
        slope = 1.6
    elif km > 6.0:
        slope = 1.3
    elif km > 1.0:
        slope = 0.16 * km + 0.34
    else:
        slope = max(km - 0.5, 0.0)
    return -math.log(CONTRAST) / visibility_m * (wavelength_nm / EYE_NM) ** -slope


def rain_extinction_per_m(rain_mm_h: float) -> float:
    """1.076 R^0.67 dB/km (ITU-R P.1814): drops are so large that all wavelengths lose the same."""
    return float(1.076 * rain_mm_h**0.67 * math.log(10.0) / 10.0 / 1000.0)


def sample(rng: np.random.Generator) -> Weather:
    """A weather at random: two in five fog, two in five rain, the rest both; each from slight to heavy."""
    kind = rng.random()
    visibility_m = float(math.exp(rng.uniform(math.log(40.0), math.log(600.0))))
    rain_mm_h = float(math.exp(rng.uniform(math.log(2.0), math.log(50.0))))
    return Weather(
        visibility_m=visibility_m if kind < 0.4 or kind >= 0.8 else None,
        rain_mm_h=rain_mm_h if kind >= 0.4 else 0.0,
    )
