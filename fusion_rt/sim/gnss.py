"""A satellite receiver on a known path: positions on WGS-84 with errors that wander."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from msgspec import Struct
from pyproj import Transformer
from pyproj.enums import TransformDirection

from fusion_rt.transforms import Array

_STEP_S = 5e-3


class GnssModel(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Errors of a receiver: `gnss.<sensor_id>` of a simulated drive.

    A fix has white noise and a slow error (first-order Gauss-Markov: multipath, atmosphere). Standard
    deviations are a horizontal axis's; the vertical is `vertical` times as bad. `latency_s` after its
    epoch a fix is delivered.
    """

    rate_hz: float = 5.0
    latency_s: float = 0.0
    white_m: float = 0.15
    slow_m: float = 0.6
    slow_s: float = 60.0  # correlation time
    vertical: float = 1.8
    velocity_mps: float = 0.06
    fix_type: str = "3d"
    satellites: int = 12


class Fix(Struct, frozen=True):
    """latitude and longitude in degrees, altitude above the ellipsoid in m, covariance (3, 3) m^2 and
    velocity (3,) m/s along east, north, up."""

    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    covariance: Array
    velocity_enu: Array


class LocalMap:
    """East, north, up in metres about an origin on WGS-84 (Cartesian, not a projection)."""

    def __init__(self, latitude_deg: float, longitude_deg: float, altitude_m: float) -> None:
        self._transformer = Transformer.from_pipeline(
            "+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad +step +proj=cart +ellps=WGS84"
            f" +step +proj=topocentric +ellps=WGS84 +lon_0={longitude_deg:.12f}"
            f" +lat_0={latitude_deg:.12f} +h_0={altitude_m:.6f}"
        )

    def geodetic(self, position_enu: Array) -> tuple[float, float, float]:
        """Latitude, longitude (degrees) and altitude (m) of a point (3,)."""
        east, north, up = (float(v) for v in position_enu)
        longitude, latitude, altitude = self._transformer.transform(
            east, north, up, direction=TransformDirection.INVERSE
        )
        return float(latitude), float(longitude), float(altitude)

    def enu(self, latitude_deg: float, longitude_deg: float, altitude_m: float) -> Array:
        """(3,) m of a place on WGS-84."""
        return np.array(self._transformer.transform(longitude_deg, latitude_deg, altitude_m))


def measure(
    antenna_at: Callable[[float], Array],
    local_map: LocalMap,
    times_s: Array,
    model: GnssModel,
    rng: np.random.Generator,
) -> Iterator[Fix]:
    """The fix of each of times_s (increasing); antenna_at: the antenna (3,) in the map at a time."""
    axes = np.array([1.0, 1.0, model.vertical])
    slow = rng.normal(0, model.slow_m, 3)
    covariance = np.diag((model.white_m**2 + model.slow_m**2) * axes**2)
    last = None
    for t in times_s:
        if last is not None:
            keep = math.exp(-(float(t) - last) / model.slow_s)
            slow = keep * slow + rng.normal(0, model.slow_m * math.sqrt(1.0 - keep**2), 3)
        last = float(t)
        at = antenna_at(last) + (slow + rng.normal(0, model.white_m, 3)) * axes
        velocity = (antenna_at(last + _STEP_S) - antenna_at(last - _STEP_S)) / (2 * _STEP_S)
        velocity = velocity + rng.normal(0, model.velocity_mps, 3)
        yield Fix(*local_map.geodetic(at), covariance, velocity)
