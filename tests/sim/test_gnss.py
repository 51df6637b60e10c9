"""The receiver against pyproj's own geodesic and conversion."""

import numpy as np
from pyproj import Geod, Transformer

from fusion_rt.sim import gnss

ORIGIN = (49.0118, 8.4166, 115.0)


def test_round_trip():
    local = gnss.LocalMap(*ORIGIN)
    for point in ([0, 0, 0], [1234.5, -987.6, 12.3], [-3.0, 4.0, -1.0]):
        np.testing.assert_allclose(local.enu(*local.geodetic(np.array(point))), point, atol=1e-6)


def test_metres_east_and_north_are_the_geodesic():
    local = gnss.LocalMap(*ORIGIN)
    geod = Geod(ellps="WGS84")
    for east, north, azimuth in ((200.0, 0.0, 90.0), (0.0, 200.0, 0.0), (-200.0, 0.0, -90.0)):
        latitude, longitude, _ = local.geodetic(np.array([east, north, 0.0]))
        forward, _, metres = geod.inv(ORIGIN[1], ORIGIN[0], longitude, latitude)
        # At 115 m above the ellipsoid a metre is 18 ppm shorter on it.
        assert abs(metres - 200.0) < 0.01
        assert abs(forward - azimuth) < 0.01


def test_up_is_the_ellipsoid_normal():
    latitude, longitude, altitude = gnss.LocalMap(*ORIGIN).geodetic(np.array([0.0, 0.0, 10.0]))
    np.testing.assert_allclose((latitude, longitude, altitude), (*ORIGIN[:2], 125.0), atol=1e-9, rtol=0)


def test_covariance_is_what_the_errors_have():
    local = gnss.LocalMap(*ORIGIN)
    to_ecef = Transformer.from_crs(4979, 4978, always_xy=True)
    home = np.array(to_ecef.transform(ORIGIN[1], ORIGIN[0], ORIGIN[2]))
    model = gnss.GnssModel(slow_s=0.2)
    fixes = list(
        gnss.measure(lambda t: np.zeros(3), local, np.arange(3000) * 0.2, model, np.random.default_rng(3))
    )
    error = np.array([local.enu(f.latitude_deg, f.longitude_deg, f.altitude_m) for f in fixes])
    np.testing.assert_allclose(error.std(0), np.sqrt(np.diag(fixes[0].covariance)), rtol=0.06)
    far = np.array(to_ecef.transform(fixes[0].longitude_deg, fixes[0].latitude_deg, fixes[0].altitude_m))
    np.testing.assert_allclose(np.linalg.norm(far - home), np.linalg.norm(error[0]), rtol=1e-6)


def test_slow_error_is_correlated_and_velocity_is_the_antenna_s():
    local = gnss.LocalMap(*ORIGIN)
    model = gnss.GnssModel(white_m=0.0, slow_m=1.0, slow_s=100.0, velocity_mps=0.0)
    fixes = list(
        gnss.measure(
            lambda t: np.array([3.0 * t, -4.0 * t, 0.0]),
            local,
            np.arange(20) * 0.2,
            model,
            np.random.default_rng(5),
        )
    )
    error = np.array([local.enu(f.latitude_deg, f.longitude_deg, f.altitude_m) for f in fixes])
    error -= np.outer(np.arange(20) * 0.2, [3.0, -4.0, 0.0])
    assert np.abs(np.diff(error[:, :2], axis=0)).max() < 0.3  # a step has sigma 0.063
    np.testing.assert_allclose(fixes[7].velocity_enu, [3.0, -4.0, 0.0], atol=1e-6)
