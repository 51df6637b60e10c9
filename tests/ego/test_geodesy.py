"""Against PROJ's geocentric coordinates, differences, and the published values of normal gravity."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyproj import Transformer

from fusion_rt.ego.geodesy import LocalMap, normal_gravity

PLACES = [(49.01, 8.42, 115.0), (-33.86, 151.2, 20.0), (0.0, 0.0, 0.0), (71.2, -179.9, 1500.0)]


def axes(latitude_deg, longitude_deg):
    """Columns east, north, up in geocentric axes, from the definition."""
    phi, lam = np.radians([latitude_deg, longitude_deg])
    up = np.array([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    east = np.cross([0, 0, 1], up) / np.cos(phi)
    return np.stack([east, np.cross(up, east), up], 1)


@pytest.mark.parametrize("origin", PLACES, ids=str)
def test_enu_equals_geocentric_difference(origin):
    to_geocentric = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    latitude, longitude, altitude = origin[0] + 0.03, origin[1] - 0.05, origin[2] + 40
    there = np.array(to_geocentric.transform(longitude, latitude, altitude))
    here = np.array(to_geocentric.transform(origin[1], origin[0], origin[2]))
    expected = axes(*origin[:2]).T @ (there - here)
    np.testing.assert_allclose(LocalMap(*origin).to_enu(latitude, longitude, altitude), expected, atol=1e-6)


@given(
    enu=st.tuples(*[st.floats(-50e3, 50e3)] * 2, st.floats(-500, 5000)),
    latitude_deg=st.floats(-80, 80),
    longitude_deg=st.floats(-180, 180),
)
def test_there_and_back(enu, latitude_deg, longitude_deg):
    local_map = LocalMap(latitude_deg, longitude_deg, 100.0)
    np.testing.assert_allclose(local_map.to_enu(*local_map.to_geodetic(np.array(enu))), enu, atol=1e-5)


def test_many_places_are_as_one_by_one():
    local_map, enu = LocalMap(*PLACES[0]), np.random.default_rng(0).uniform(-1e3, 1e3, (5, 3))
    together = local_map.to_geodetic(enu)
    np.testing.assert_array_equal(together, [local_map.to_geodetic(one) for one in enu])
    assert local_map.to_geodetic(enu[:0]).shape == (0, 3)


def test_numpy_floats_make_the_same_map():
    place = (49.02, 8.43, 100.0)
    np.testing.assert_array_equal(
        LocalMap(*np.array(PLACES[0])).to_enu(*place), LocalMap(*PLACES[0]).to_enu(*place)
    )


def test_axes_point_where_position_grows():
    local_map, (latitude, longitude, altitude), h = LocalMap(*PLACES[0]), (49.5, 9.0, 300.0), 1e-6
    here = local_map.to_enu(latitude, longitude, altitude)
    steps = [
        local_map.to_enu(latitude, longitude + h, altitude) - here,
        local_map.to_enu(latitude + h, longitude, altitude) - here,
        local_map.to_enu(latitude, longitude, altitude + 1.0) - here,
    ]
    expected = np.stack([step / np.linalg.norm(step) for step in steps], 1)
    np.testing.assert_allclose(local_map.axes_at(latitude, longitude), expected, atol=1e-6)
    np.testing.assert_allclose(local_map.axes_at(*PLACES[0][:2]), np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("latitude_deg", "expected"), [(0.0, 9.7803253359), (90.0, 9.8321849379), (-90.0, 9.8321849379)]
)
def test_gravity_has_published_values(latitude_deg, expected):
    assert normal_gravity(latitude_deg, 0.0) == pytest.approx(expected, abs=2e-9)


@pytest.mark.parametrize("altitude_m", [-100.0, 500.0, 2500.0])
def test_gravity_aloft_equals_second_order_series(altitude_m):
    """NIMA TR8350.2, equation 4-3."""
    a, f, m, s2 = 6378137.0, 1 / 298.257223563, 0.00344978650684, np.sin(np.radians(49.0)) ** 2
    series = 1 - 2 / a * (1 + f + m - 2 * f * s2) * altitude_m + 3 / a**2 * altitude_m**2
    expected = normal_gravity(49.0, 0.0) * series
    assert normal_gravity(49.0, altitude_m) == pytest.approx(expected, abs=2e-5)
