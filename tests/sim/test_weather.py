"""Extinction against numbers worked by hand."""

import math

import numpy as np
import pytest

from fusion_rt import config
from fusion_rt.errors import ConfigError
from fusion_rt.sim import weather
from fusion_rt.sim.weather import CLEAR, Weather


@pytest.mark.parametrize(
    ("visibility_m", "slope"),
    [(60.0, 0.0), (500.0, 0.0), (800.0, 0.3), (2000.0, 0.66), (10_000.0, 1.3), (50_000.0, 1.3)],
)
def test_fog_takes_what_koschmieder_and_kim_say(visibility_m, slope):
    assert weather.fog_extinction_per_m(visibility_m, 550.0) == pytest.approx(3.912 / visibility_m, rel=1e-4)
    expected = 3.912 / visibility_m * (905 / 550) ** -slope
    assert weather.fog_extinction_per_m(visibility_m, 905.0) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("rain_mm_h", "db_per_km"), [(1.0, 1.076), (10.0, 5.0329), (30.0, 10.507)])
def test_rain_takes_what_the_itu_says(rain_mm_h, db_per_km):
    through = math.exp(-1000.0 * weather.rain_extinction_per_m(rain_mm_h))
    assert -10 * math.log10(through) == pytest.approx(db_per_km, rel=1e-3)


def test_clear_air_takes_nothing():
    assert CLEAR.clear
    assert (CLEAR.laser_per_m, CLEAR.light_per_m, CLEAR.discerned_m) == (0.0, 0.0, math.inf)
    assert not Weather(rain_mm_h=1.0).clear


def test_what_is_in_the_air_adds_up():
    fog, rain, both = Weather(visibility_m=60), Weather(rain_mm_h=30), Weather(visibility_m=60, rain_mm_h=30)
    assert both.laser_per_m == pytest.approx(fog.laser_per_m + rain.laser_per_m)
    assert fog.discerned_m == pytest.approx(60 * 2.996 / 3.912, rel=1e-3)
    assert both.discerned_m < fog.discerned_m < rain.discerned_m


def test_weathers_at_random_are_of_all_kinds():
    drawn = [weather.sample(np.random.default_rng(seed)) for seed in range(200)]
    assert drawn[3] == weather.sample(np.random.default_rng(3))
    foggy, wet = np.array([w.visibility_m is not None for w in drawn]), np.array([w.wet for w in drawn])
    assert not any(w.clear for w in drawn)
    np.testing.assert_allclose([foggy.mean(), wet.mean(), (foggy & wet).mean()], [0.6, 0.6, 0.2], atol=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("visibility_m: 0", "visibility_m"),
        ("rain_mm_h: -1", "rain_mm_h"),
        ("snow_mm_h: 3", "snow_mm_h: unknown key.*rain_mm_h"),
    ],
)
def test_what_is_no_weather_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        config.parse(text, Weather, "storm")
