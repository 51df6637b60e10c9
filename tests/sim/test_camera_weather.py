"""Pictures in fog and rain."""

import numpy as np
import pytest

from fusion_rt.sim import camera, camera_weather, look, meshes
from fusion_rt.sim.raycast import Material, Scene, merge
from fusion_rt.sim.weather import CLEAR, Weather
from fusion_rt.transforms import from_translation_rpy

WIDTH, HEIGHT = 320, 120
K = np.array([[250.0, 0.0, 160.0], [0.0, 250.0, 50.0], [0.0, 0.0, 1.0]])
T_WORLD_CAMERA = from_translation_rpy((0, 0, 1.6), (-np.pi / 2, 0, -np.pi / 2))
FOG, RAIN = Weather(visibility_m=60.0), Weather(rain_mm_h=30.0)


@pytest.fixture(scope="module")
def street():
    """A ground, and black boards 8, 25 and 60 m away beside each other."""
    boards = [
        meshes.box((0.2, 0.08 * d, 0.08 * d), (d, y * d, 1.6), Material.CLOTH, (0, 0, 0)).of(i)
        for i, (d, y) in enumerate(((8.0, 0.3), (25.0, 0.0), (60.0, -0.3)))
    ]
    ground = meshes.box((200.0, 200.0, 0.1), (90.0, 0.0, -0.05), Material.PAVEMENT, (120, 120, 120))
    return Scene(merge([ground, *boards]))


def picture(street, weather, *, glass=None, seed=0):
    rng = np.random.default_rng(seed)
    sight = look.Look(shot_noise=0.0, read_noise=0.0, vignette=0.0)
    return camera.render(street, K, WIDTH, HEIGHT, T_WORLD_CAMERA, sight, rng, weather=weather, glass=glass)


def contrasts(street, weather):
    """Of each board against the sky just above the horizon."""
    image, instance = picture(street, weather)
    sky = image[30:45][instance[30:45] == camera.SKY].mean()
    return np.array([1 - image[instance == i].mean() / sky for i in range(3)])


def test_clear_weather_is_the_same_bytes(street):
    rng = np.random.default_rng(0)
    sight = look.Look(shot_noise=0.0, read_noise=0.0, vignette=0.0)
    without = camera.render(street, K, WIDTH, HEIGHT, T_WORLD_CAMERA, sight, rng)
    clear = picture(street, CLEAR)
    assert [x.tobytes() for x in clear] == [x.tobytes() for x in without]


def test_fog_takes_the_contrast_of_what_is_far(street):
    clear, thin, dense = (contrasts(street, w) for w in (CLEAR, Weather(visibility_m=200.0), FOG))
    assert (clear > 0.5).all()
    assert (np.diff(dense) < 0).all()
    assert (dense < thin).all()
    assert (thin < clear).all()
    # 0.02 is left at the visibility; the tone curve stretches or presses it.
    assert dense[2] < 0.06
    assert dense[0] > 0.3


def test_the_instance_image_knows_no_weather(street):
    np.testing.assert_array_equal(picture(street, FOG)[1], picture(street, CLEAR)[1])


def test_rain_streaks_and_grows_with_its_rate(street):
    rng = np.random.default_rng
    light, heavy = (
        camera_weather._streaks(Weather(rain_mm_h=r), WIDTH, HEIGHT, 250.0, rng(1)) for r in (2.0, 60.0)
    )
    assert heavy.min() == 0.0
    assert heavy.max() <= 1.0
    assert 0 < np.count_nonzero(light) < np.count_nonzero(heavy)
    # They are upright.
    up, aside = (np.abs(np.diff(heavy, axis=axis)).mean() for axis in (0, 1))
    assert up < aside


def test_drops_on_the_glass_blur_what_is_behind(street):
    glass = np.zeros((HEIGHT, WIDTH), np.float32)
    glass[:, : WIDTH // 2] = 1.0
    dry, _ = picture(street, RAIN)
    wet, _ = picture(street, RAIN, glass=glass)
    sharpness = [np.abs(np.diff(x[:, 10:140].astype(float), axis=1)).mean() for x in (dry, wet)]
    assert sharpness[1] < 0.5 * sharpness[0]
    covered = [
        camera_weather.drops_on_glass(Weather(rain_mm_h=r), WIDTH, HEIGHT, np.random.default_rng(3)).sum()
        for r in (2.0, 60.0)
    ]
    assert covered[0] < covered[1]


def test_below_rain_clouds_there_is_no_sun():
    sight = look.Look()
    assert camera_weather.look_in(CLEAR, sight) is sight
    assert camera_weather.look_in(RAIN, sight).sun == 0.0
    hazy = camera_weather.look_in(Weather(visibility_m=2000.0), sight)
    assert 0 < hazy.sun < sight.sun
    assert hazy.ambient > sight.ambient
    assert hazy.haze_per_m == pytest.approx(sight.haze_per_m + 3.912 / 2000, rel=1e-4)


def test_same_state_same_bytes(street):
    assert picture(street, RAIN)[0].tobytes() == picture(street, RAIN)[0].tobytes()
    assert picture(street, RAIN)[0].tobytes() != picture(street, RAIN, seed=1)[0].tobytes()
